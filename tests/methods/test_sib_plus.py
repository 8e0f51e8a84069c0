"""The variant begins as soft k-means, does not mind the order of classes, and serves every k."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from differences import agrees_with_differences

from sib_jax.methods import sib_plus, sinkhorn_kmeans, soft_kmeans
from sib_jax.methods.sib_plus import Settings

FEATURES = 12
_logits = jax.jit(sib_plus.logits, static_argnames=("ways", "iterations"))


def _episode(ways=4, shots=2, queries=5, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((ways, FEATURES))
    of = [np.repeat(np.arange(ways), n) for n in (shots, queries)]
    features = [
        (centres[labels] + rng.standard_normal((len(labels), FEATURES))).astype(np.float32)
        for labels in of
    ]
    return features[0], of[0], features[1]


@functools.cache
def _params(steps=3, trained=True):
    init = jax.jit(sib_plus.init, static_argnums=(1, 2))
    params = jax.tree.map(np.asarray, init(jax.random.key(0), Settings(steps=steps), FEATURES))
    if trained:  # anything but where it starts
        rng = np.random.default_rng(1)
        move = lambda x: x + 0.2 * rng.standard_normal(x.shape).astype(x.dtype)  # noqa: E731
        params = jax.tree.map(move, params)
    return params


@pytest.mark.parametrize(("shots", "steps"), [(1, 4), (3, 1)])
def test_before_training_it_is_soft_k_means(shots, steps):
    episode = _episode(shots=shots)
    found = _logits(_params(steps, trained=False), *episode, ways=4)
    soft = functools.partial(soft_kmeans.logits, soft_kmeans.Settings(steps=steps), ways=4)
    wanted = jax.jit(soft)(*episode)
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3)


def test_with_balanced_assignments_it_begins_as_sinkhorn_k_means():
    episode = _episode(shots=3)
    found = _logits(_params(4, trained=False), *episode, ways=4, iterations=20)
    sinkhorn = functools.partial(sinkhorn_kmeans.logits, sinkhorn_kmeans.Settings(steps=4), ways=4)
    np.testing.assert_allclose(found, jax.jit(sinkhorn)(*episode), rtol=1e-3, atol=1e-3)
    counts = np.sum(np.exp(_logits(_params(4), *episode, ways=4, iterations=20)), axis=0)
    np.testing.assert_allclose(counts, 5, rtol=1e-4)


def test_the_order_of_classes_and_queries_does_not_matter():
    support, labels, query = _episode()
    order, rows = np.array([2, 0, 3, 1]), np.random.default_rng(1).permutation(len(query))
    wanted = np.asarray(_logits(_params(), support, labels, query, ways=4))
    found = _logits(_params(), support, np.argsort(order)[labels], query[rows], ways=4)
    np.testing.assert_allclose(found, wanted[rows][:, order], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("ways", "queries"), [(2, 1), (9, 2)])
def test_the_same_parameters_serve_every_number_of_ways(ways, queries):
    support, labels, query = _episode(ways, 1, queries)
    query = query[:queries]  # once a single one
    found = _logits(_params(), support, labels, query, ways=ways)
    assert found.shape[1] == ways
    assert np.all(np.isfinite(found))


def test_gradients():
    support, labels, query = _episode(3, 1, 2)

    def loss(params, support, query):
        scores = sib_plus.logits(params, support, labels, query, ways=3)
        return jnp.sum(jax.nn.log_softmax(scores)[:, 0])

    with jax.enable_x64(True):
        arguments = jax.tree.map(np.float64, (_params(2), support, query))
        agrees_with_differences(loss, arguments, eps=1e-6, rtol=1e-4, atol=1e-4)


def test_equal_features_are_finite():
    same = np.ones((4, FEATURES), np.float32)

    def loss(params):
        zeros = np.zeros((3, FEATURES), np.float32)
        return jnp.sum(sib_plus.logits(params, same, np.arange(4), zeros, ways=4))

    value, gradient = jax.jit(jax.value_and_grad(loss))(_params())
    assert np.isfinite(value)
    assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(gradient))


def test_a_query_listens_to_all_others_but_itself():
    similarity = jnp.log(jnp.array([[9.0, 1, 3], [2, 9, 2], [1, 4, 9]]))
    wanted = [[0, 0.25, 0.75], [0.5, 0, 0.5], [0.2, 0.8, 0]]
    np.testing.assert_allclose(sib_plus._neighbours(similarity), wanted, rtol=1e-6)
    np.testing.assert_array_equal(sib_plus._neighbours(similarity[:1, :1]), [[0]])
