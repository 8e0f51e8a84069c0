"""Values and gradients over a table of what backbones, settings and users may give: finite.

Scales of features, eta and degenerate episodes are traced values of one compiled function for each
row; the rows cover every pair of posterior, classifier, setting, dtype, ways and T.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sib_jax
from sib_jax import Episode

FEATURES, BASE = 8, 4
SCALES = np.array([0, 1e-20, 1e-10, 1e-4, 1, 1e3, 1e6])
ETAS = np.array([0, 1e-3, 10])
# posterior, classifier, setting, dtype of the features, ways, T
ROWS = [
    ("point", "cosine", "standard", "float32", 2, 1),
    ("point", "cosine", "lwof", "float16", 1, 50),
    ("point", "dot", "standard", "bfloat16", 1, 1),
    ("point", "cosine", "standard", "bfloat16", 200, 0),
    ("point", "dot", "lwof", "float32", 2, 0),
    ("gaussian", "cosine", "standard", "float16", 2, 50),
    ("gaussian", "cosine", "lwof", "bfloat16", 2, 1),
    ("gaussian", "dot", "lwof", "float16", 200, 1),
    ("gaussian", "dot", "standard", "float32", 1, 0),
    ("gaussian", "dot", "standard", "bfloat16", 2, 50),
    ("point", "cosine", "standard", "float32", 200, 50),
    ("gaussian", "cosine", "standard", "float16", 1, 0),
]


def made(posterior, classifier, setting, ways):
    prior = "mixture" if setting == "lwof" else "gaussian" if posterior == "gaussian" else None
    return sib_jax.init(
        jax.random.key(0),
        ways=ways,
        features=FEATURES,
        posterior=posterior,
        prior=prior,
        classifier=classifier,
        components=BASE,
    )


def episode(features, ways, setting):
    """One support example and one query of each class; as many queries of base classes."""
    support, query = features[:ways], features[ways : 2 * ways]
    labels = jnp.arange(ways)
    if setting == "standard":
        return Episode(support, labels, query, labels)
    query = jnp.concatenate([query, features[2 * ways :]])
    of_base = ways + jnp.arange(ways) % BASE
    return Episode(support, labels, query, jnp.concatenate([labels, of_base]), jnp.arange(BASE))


@functools.lru_cache
def compiled(setting, dtype, ways, steps):
    """Loss and gradients for all scales and etas: [scales, etas], of float32 features [3k, d]."""

    def loss(params, features, scale, eta):
        scaled = (features * scale).astype(dtype)
        return sib_jax.negative_elbo(
            params,
            episode(scaled, ways, setting),
            steps=steps,
            step_size=eta,
            key=jax.random.key(1),
            beta=1e-3,
        )[0]

    each = jax.value_and_grad(loss)
    over = jax.vmap(jax.vmap(each, (None, None, None, 0)), (None, None, 0, None))
    return jax.jit(over)


def run(posterior, classifier, setting, dtype, ways, steps, scales=SCALES):
    params = made(posterior, classifier, setting, ways)
    features = np.random.default_rng(0).normal(size=(3 * ways, FEATURES)).astype(np.float32)
    function = compiled(setting, dtype, ways, steps)
    return function(params, features, scales.astype(np.float32), ETAS.astype(np.float32))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(map(str, row)))
def test_finite(row):
    values, gradients = run(*row)
    print(values)
    bad = {
        jax.tree_util.keystr(k): np.argwhere(
            ~np.isfinite(g).reshape(*g.shape[:2], -1).all(-1)
        ).tolist()
        for k, g in jax.tree_util.tree_leaves_with_path(gradients)
    }
    print({k: v for k, v in bad.items() if v})
    assert np.isfinite(values).all()
    assert not any(bad.values())
