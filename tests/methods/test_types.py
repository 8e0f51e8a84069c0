"""Types of numbers, in every method that reads features: parameters of a file beside any others."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sib_jax.methods import METHODS, Classes
from sib_jax.tasks.episode import Episode

WAYS, FEATURES = 3, 4
SMALL = {
    "alpha_tim": {"steps": 3},
    "matching": {"full_context": True},
    "meta_lstm": {"hidden": 2},
    "snail": {"filters": 2, "keys": (2, 2, 2), "values": (2, 2, 2), "shots": 2},
}


def _method(name):
    entry = METHODS[name]
    return entry.make(entry.settings(**SMALL.get(name, {})), WAYS)


def _episode(dtype):
    rng = np.random.default_rng(0)
    support, query = (rng.normal(size=(n, FEATURES)).astype(dtype) for n in (6, 5))
    return Episode(support, np.arange(6) % WAYS, query, np.arange(5) % WAYS)


NAMES = [n for n in METHODS if n != "sib" and _method(n).reads == "features"]


@pytest.mark.parametrize("name", NAMES)
def test_single_and_double_precision_go_together(name):
    method = _method(name)
    classes = Classes((FEATURES,), 4, np.eye(4, dtype=np.float32))
    single = jax.jit(lambda key: method.init(key, classes))(jax.random.key(0))
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(single))
    logits = jax.jit(method.logits)
    wanted = logits(single, _episode(jnp.float32), jax.random.key(1))
    with jax.enable_x64(True):
        double = jax.tree.map(lambda x: np.asarray(x, np.float64), single)
        jax.eval_shape(logits, single, _episode(np.float32), jax.random.key(1))
        for params, dtype in ((double, np.float32), (single, np.float64)):
            found = logits(params, _episode(dtype), jax.random.key(1))
            np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3)
