"""1 and 8 devices give the same training: each number in a process of its own."""

import functools
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from sib_jax.runtime import devices

PROGRAM = """
import json, sys
import jax, numpy as np
jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))
from sib_jax.config import default
from sib_jax.experiment import meta_train, settings
from sib_jax.experiment.evaluate import answers
from sib_jax.methods import Classes
from sib_jax.runtime import devices
from sib_jax.tasks.setting import Sources
from sib_jax.tasks.table import feature_table

rng = np.random.default_rng(0)
labels = np.repeat(np.arange(8), 20)
centres = rng.standard_normal((8, 16))

def table():
    noise = rng.standard_normal((160, 16))
    return feature_table((centres[labels] + noise).astype(np.float32), labels)

train, base = table(), table()

def case(setting, posterior):
    config = default(setting=setting)
    config.queries = 5
    config.posterior = posterior
    (head,) = settings.read(config).heads
    method, setting, (lesson,) = head.method, head.setting, head.learns_from
    weights = rng.standard_normal((8, 16)).astype(np.float32)
    params = method.init(jax.random.key(0), Classes((16,), 8, weights))
    optimizer = meta_train.make_optimizer(head.training.optimizer, method)
    state = meta_train.start_state(lesson, optimizer, params, train)
    run = meta_train.compile_steps((lesson,), optimizer, head.training.batch)
    state = run(state, train, jax.random.key(0), 0, 10)
    (found,) = answers(
        method, state.model, setting, Sources(train, base),
        tasks=12, key=jax.random.key(1), batch=12,
    )
    return {
        "sums": [float(s) for s in state.sums.values()],
        "params": [np.asarray(leaf).ravel().tolist() for leaf in jax.tree.leaves(state.model)],
        "accuracy": found.accuracy.tolist(),
    }

found = {f"{s} {p}": case(s, p) for s, p in json.loads(sys.argv[2])}
mesh = devices.episode_mesh(8)
at_once = devices.shared(train, mesh).features.addressable_shards
places = {shard.data.unsafe_buffer_pointer() for shard in at_once}
print(json.dumps({"devices": mesh.shape["episode"], "copies": len(places), **found}))
"""
CASES = [("lwof", "gaussian")]  # which has all that the standard setting has


@functools.cache
def trained(devices):
    """What each case gives on so many devices."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(devices), json.dumps(CASES)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["devices"] == devices
    assert found["copies"] == 1  # of the table, in memory
    return found


@pytest.mark.parametrize("setting", CASES, ids=" ".join)
def test_more_devices_train_like_one(setting):
    one, more = (trained(n)[" ".join(setting)] for n in (1, 8))
    np.testing.assert_allclose(more["sums"], one["sums"], rtol=1e-4)
    for a, b in zip(more["params"], one["params"], strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4)
    assert len(more["accuracy"]) == 12  # of 16, where 8 devices take as many each
    np.testing.assert_allclose(more["accuracy"], one["accuracy"], atol=0.05)


def test_what_stands_in_two_places_is_put_on_the_devices_once():
    array = np.arange(6.0)
    one, two = devices.shared((array, {"again": array}), devices.episode_mesh(1))
    assert one is two["again"]
    np.testing.assert_array_equal(one, array)
