import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sib_jax
from sib_jax.sib import init_net

WAYS, FEATURES = 3, 6


def _params(kind, **options):
    return sib_jax.init(jax.random.key(0), ways=WAYS, features=FEATURES, init_net=kind, **options)


def _features(seed, count):
    return np.random.default_rng(seed).standard_normal((count, FEATURES)).astype(np.float32)


def test_class_means_with_unequal_numbers_of_examples():
    features = _features(0, 6)
    labels = np.array([2, 0, 0, 1, 0, 2])
    unit = np.asarray(features) / np.linalg.norm(features, axis=1, keepdims=True)
    expected = np.stack([unit[labels == c].mean(0) for c in range(WAYS)])
    params = _params("support")
    coefficient = jnp.arange(1.0, FEATURES + 1)
    params = params._replace(init_net=params.init_net._replace(coefficient=coefficient))
    found = sib_jax.initial_posterior(params, features, jnp.asarray(labels), ways=WAYS)
    np.testing.assert_allclose(found.mean, expected * np.asarray(coefficient), rtol=1e-5)
    assert isinstance(found, sib_jax.PointMass)


def test_a_class_without_example_is_zero_not_nan():
    found = init_net.class_means(_features(0, 2), jnp.asarray([0, 0]), WAYS)
    np.testing.assert_array_equal(found[1:], 0)


def test_permuted_classes_permute_the_posterior():
    features, labels = _features(0, 6), np.asarray([0, 0, 1, 1, 2, 2])
    permutation = np.asarray([2, 0, 1])
    params = _params("support", posterior="gaussian")
    before = sib_jax.initial_posterior(params, features, labels, ways=WAYS)
    after = sib_jax.initial_posterior(params, features, permutation[labels], ways=WAYS)
    np.testing.assert_allclose(after.mean[permutation], before.mean, rtol=1e-6)


def test_from_queries_it_is_their_mean_weighted_by_how_near_they_are_to_each_seed():
    params = _params("query", posterior="gaussian")
    net, query = jax.tree.map(np.float64, params.init_net), _features(1, 12)
    net = net._replace(coefficient=np.arange(1.0, FEATURES + 1), log_sharpness=np.log(3.0))
    seeds, unit = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (net.seeds, query))
    near = np.exp(3 * seeds @ unit.T)
    wanted = near / near.sum(1, keepdims=True) @ unit * net.coefficient
    params = params._replace(init_net=jax.tree.map(np.float32, net))
    found = sib_jax.initial_posterior(params, None, None, ways=WAYS, query=query)
    np.testing.assert_allclose(found.mean, wanted, rtol=1e-4, atol=1e-6)
    assert found.log_std.shape == (WAYS, FEATURES)


def test_global_needs_neither_support_nor_query():
    params = _params("global", posterior="gaussian", initial_std=0.1)
    found = sib_jax.initial_posterior(params, None, None, ways=WAYS)
    np.testing.assert_array_equal(found.mean, params.init_net.mean)
    np.testing.assert_allclose(found.log_std, np.log(0.1), rtol=1e-6)


@pytest.mark.parametrize("kind", ["query", "global"])
def test_zero_shot_tasks_are_adapted(kind):
    params = _params(kind)
    query = _features(1, 12)
    start = sib_jax.initial_posterior(
        params, jnp.zeros((0, FEATURES)), jnp.zeros(0, int), ways=WAYS, query=query
    )
    end = sib_jax.adapt(params, start, query, steps=2, step_size=1e-2)
    assert not np.allclose(start.mean, end.mean)


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match=r"support set is empty.*init_net='query'"):
        sib_jax.initial_posterior(_params("support"), None, None, ways=WAYS)
    with pytest.raises(ValueError, match="pass query="):
        sib_jax.initial_posterior(_params("query"), None, None, ways=WAYS)
    features = _features(0, 2)
    for kind in ("query", "global"):
        with pytest.raises(ValueError, match=f"ways is {WAYS + 1}, but .* are for {WAYS}"):
            sib_jax.initial_posterior(_params(kind), None, None, ways=WAYS + 1, query=features)
    with pytest.raises(ValueError, match="query has features of length"):
        sib_jax.initial_posterior(_params("query"), None, None, ways=WAYS, query=features[:, :1])
    with pytest.raises(ValueError, match=r"0\.\.2 for ways=3, got 0\.\.3"):
        sib_jax.initial_posterior(_params("support"), features, jnp.asarray([0, 3]), ways=WAYS)
    with pytest.raises(TypeError, match="integers"):
        sib_jax.initial_posterior(_params("support"), features, jnp.asarray([0.0, 1.0]), ways=WAYS)
    with pytest.raises(ValueError, match=r"one label for each of 2 rows; .* \(3,\)"):
        sib_jax.initial_posterior(_params("support"), features, jnp.asarray([0, 1, 2]), ways=WAYS)
    with pytest.raises(ValueError, match="unknown init_net 'memory'"):
        _params("memory")
