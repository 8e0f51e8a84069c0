"""Values and gradients over a table of what backbones, settings and users may give: finite.

Scales of features and eta are traced values of one compiled function for each row; the rows cover
every pair of posterior, classifier, setting, dtype, ways and T. An episode has one query a class.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sib_jax
from sib_jax import Episode

FEATURES, BASE = 8, 4
SCALES = np.array([0, 1e-20, 1e-10, 1e-4, 1, 1e3, 1e6])
ETAS = np.array([0, 1e-3, 10])
# posterior, classifier, setting, dtype of the features, ways, T: every pair of values is in a row.
ROWS = [
    ("gaussian", "cosine", "standard", "float16", 2, 50),
    ("point", "cosine", "lwof", "bfloat16", 1, 1),
    ("point", "dot", "standard", "float32", 64, 0),
    ("gaussian", "dot", "lwof", "float32", 2, 1),
    ("gaussian", "dot", "lwof", "bfloat16", 64, 50),
    ("gaussian", "dot", "lwof", "float16", 1, 0),
    ("point", "cosine", "standard", "float16", 64, 1),
    ("point", "cosine", "standard", "float32", 1, 50),
    ("point", "cosine", "standard", "bfloat16", 2, 0),
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
        hidden=16,
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
def test_finite_values_have_finite_gradients(row):
    values, gradients = run(*row)
    leaves = [g.reshape(*g.shape[:2], -1) for g in map(np.asarray, jax.tree.leaves(gradients))]
    finite = np.isfinite(np.concatenate(leaves, axis=2)).all(axis=2)
    # Where a loss is not finite, training ends and names the step: nothing is poisoned in silence.
    np.testing.assert_array_equal(finite, np.isfinite(values))
    # Features that are none any more, infinite in half precision, are refused where they are read.
    there = np.finfo(np.float16).max / 8 >= SCALES if row[3] == "float16" else SCALES >= 0
    if row[1] == "dot":  # which may diverge: its steps grow with the square of the features
        assert np.isfinite(values[np.ix_(SCALES <= 1, ETAS <= 1e-3)]).all()
        assert np.isfinite(values[there, 0]).all()
    else:
        assert np.isfinite(values[there]).all()


def test_every_pair_of_values_is_in_a_row():
    values = [sorted({row[i] for row in ROWS}, key=str) for i in range(len(ROWS[0]))]
    assert [len(of_column) for of_column in values] == [2, 2, 2, 3, 3, 3]
    for (i, a), (j, b) in itertools.combinations(enumerate(values), 2):
        assert {(row[i], row[j]) for row in ROWS} == set(itertools.product(a, b))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_as_good_as_its_digits(dtype):
    """float16 of scale 1e3 had the loss of features that are all zero: squares overflowed."""
    row = ("point", "cosine", "standard")
    exact, _ = run(*row, "float32", 2, 0)
    found, _ = run(*row, dtype, 2, 0)
    digits = 10 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(found[4:6], exact[4:6], rtol=digits)
    assert abs(found[5, 0] - found[0, 0]) > 0.1


@pytest.mark.parametrize("prior", [None, "gaussian"])  # the fast form and the general one
def test_float32_has_its_digits(prior):
    params = sib_jax.init(jax.random.key(0), ways=3, features=FEATURES, prior=prior, hidden=16)
    features = np.random.default_rng(1).normal(size=(6, FEATURES))

    def gradients(dtype):
        def loss(params):
            of = episode(jnp.asarray(features, dtype), 3, "standard")
            return sib_jax.negative_elbo(params, of, steps=4, step_size=1e-2, beta=1e-3)[0]

        cast = jax.tree.map(lambda x: np.asarray(x, dtype), params)
        return jax.tree.map(np.asarray, jax.jit(jax.value_and_grad(loss))(cast))

    value, gradient = gradients("float32")
    with jax.enable_x64(True):
        exact, exact_gradient = gradients("float64")
    assert exact.dtype == np.float64
    np.testing.assert_allclose(value, exact, rtol=1e-5)
    for found, wanted in zip(
        jax.tree.leaves(gradient), jax.tree.leaves(exact_gradient), strict=True
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())
