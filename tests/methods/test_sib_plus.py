"""The variant begins as soft k-means, does not mind the order of classes, and serves every k."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from sib_jax.methods import sib_plus, sinkhorn_kmeans, soft_kmeans
from sib_jax.methods.sib_plus import Settings

FEATURES = 12


def _episode(ways=4, shots=2, queries=5, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((ways, FEATURES))
    of = [np.repeat(np.arange(ways), n) for n in (shots, queries)]
    features = [
        (centres[labels] + rng.standard_normal((len(labels), FEATURES))).astype(np.float32)
        for labels in of
    ]
    return features[0], of[0], features[1]


def _params(steps=3, trained=True):
    params = sib_plus.init(jax.random.key(0), Settings(steps=steps), FEATURES)
    if trained:  # anything but where it starts
        leaves, structure = jax.tree.flatten(params)
        keys = jax.random.split(jax.random.key(1), len(leaves))
        moved = [x + 0.2 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
        params = jax.tree.unflatten(structure, moved)
    return params


@pytest.mark.parametrize("shots", [1, 3])
@pytest.mark.parametrize("steps", [1, 4])
def test_before_training_it_is_soft_k_means(shots, steps):
    episode = _episode(shots=shots)
    found = sib_plus.logits(_params(steps, trained=False), *episode, ways=4)
    wanted = soft_kmeans.logits(soft_kmeans.Settings(steps=steps), *episode, ways=4)
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shots", [1, 3])
def test_with_balanced_assignments_it_begins_as_sinkhorn_k_means(shots):
    episode = _episode(shots=shots)
    found = sib_plus.logits(_params(4, trained=False), *episode, ways=4, iterations=20)
    wanted = sinkhorn_kmeans.logits(sinkhorn_kmeans.Settings(steps=4), *episode, ways=4)
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3)
    counts = np.sum(np.exp(sib_plus.logits(_params(4), *episode, ways=4, iterations=20)), axis=0)
    np.testing.assert_allclose(counts, 5, rtol=1e-4)


def test_the_order_of_classes_and_queries_does_not_matter():
    support, labels, query = _episode()
    order, rows = np.array([2, 0, 3, 1]), np.random.default_rng(1).permutation(len(query))
    wanted = np.asarray(sib_plus.logits(_params(), support, labels, query, ways=4))
    found = sib_plus.logits(_params(), support, np.argsort(order)[labels], query[rows], ways=4)
    np.testing.assert_allclose(found, wanted[rows][:, order], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("ways", "queries"), [(2, 1), (3, 4), (9, 2)])
def test_the_same_parameters_serve_every_number_of_ways(ways, queries):
    support, labels, query = _episode(ways, 1, queries)
    query = query[:queries]  # once a single one
    found = sib_plus.logits(_params(), support, labels, query, ways=ways)
    assert found.shape[1] == ways
    assert np.all(np.isfinite(found))


def test_gradients():
    support, labels, query = _episode(3, 1, 2)

    @jax.jit
    def loss(params, support, query):
        scores = sib_plus.logits(params, support, labels, query, ways=3)
        return jnp.sum(jax.nn.log_softmax(scores)[:, 0])

    with jax.enable_x64(True):
        arguments = jax.tree.map(
            lambda x: jnp.asarray(x, jnp.float64), (_params(2), support, query)
        )
        check_grads(loss, arguments, order=1, modes=["rev"], rtol=1e-4, atol=1e-4, eps=1e-6)


def test_equal_features_are_finite():
    same = np.ones((4, FEATURES), np.float32)

    @jax.jit
    def loss(params):
        zeros = np.zeros((3, FEATURES), np.float32)
        return jnp.sum(sib_plus.logits(params, same, np.arange(4), zeros, ways=4))

    value, gradient = jax.value_and_grad(loss)(_params())
    assert np.isfinite(value)
    assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(gradient))


def test_a_query_listens_to_all_others_but_itself():
    similarity = jnp.log(jnp.array([[9.0, 1, 3], [2, 9, 2], [1, 4, 9]]))
    wanted = [[0, 0.25, 0.75], [0.5, 0, 0.5], [0.2, 0.8, 0]]
    np.testing.assert_allclose(sib_plus._neighbours(similarity), wanted, rtol=1e-6)
    np.testing.assert_array_equal(sib_plus._neighbours(similarity[:1, :1]), [[0]])
