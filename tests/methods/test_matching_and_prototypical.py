"""Matching and prototypical networks, against the numbers in tests/parity (see its README)."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from differences import agrees_with_differences

from sib_jax.methods import matching, prototypical
from sib_jax.methods.matching import Matching
from sib_jax.methods.prototypical import Prototypical

PARITY = Path(__file__).parents[1] / "parity"
CLOSE = {"rtol": 4e-5, "atol": 4e-5}
WAYS = 5
BOTH = [(prototypical, Prototypical), (matching, Matching)]


def _random_episode(shots=(2, 1, 3), features=6, seed=0):
    rng = np.random.default_rng(seed)
    draw = lambda n: rng.standard_normal((n, features)).astype(np.float32)  # noqa: E731
    return draw(sum(shots)), np.repeat(np.arange(len(shots)), shots), draw(4)


@pytest.mark.parametrize(("module", "params_of"), BOTH)
def test_agrees_with_the_official_code(module, params_of):
    name = module.__name__.rpartition(".")[2]
    arrays = dict(np.load(PARITY / f"{name}.npz"))
    params = params_of(arrays["param/scale_cls"][0])
    batched = jax.jit(jax.vmap(lambda *episode: module.logits(params, *episode, ways=WAYS)))
    found = batched(arrays["support"], arrays["support_labels"], arrays["query"])
    np.testing.assert_allclose(found, arrays["scores"], **CLOSE)


def test_prototypical_network_with_scale_d_is_the_summed_squared_distance():
    support, labels, query = _random_episode()
    params = Prototypical(jnp.asarray(float(support.shape[1])))
    found = jax.jit(lambda p: prototypical.logits(p, support, labels, query, ways=3))(params)
    means = np.stack([np.mean(support[labels == k], axis=0) for k in range(3)])
    want = -np.sum(np.square(np.asarray(query)[:, None] - means[None]), axis=-1)
    np.testing.assert_allclose(found, want, rtol=1e-5)


def test_matching_network_gives_probabilities_that_sum_to_one():
    found = matching.logits(Matching(jnp.asarray(10.0)), *_random_episode(), ways=3)
    np.testing.assert_allclose(jnp.sum(jnp.exp(found), axis=1), 1, rtol=1e-6)


def test_matching_network_is_bounded_for_a_class_without_examples():
    support, labels, query = _random_episode()
    params = Matching(jnp.asarray(1000.0))

    def total(support):
        found = matching.logits(params, support, labels, query, ways=4)
        return jnp.sum(found), found

    gradient, found = jax.jit(jax.grad(total, has_aux=True))(support)
    np.testing.assert_allclose(found[:, 3], np.log(1e-7), rtol=1e-6)
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize(("module", "params_of"), BOTH)
def test_gradients(module, params_of):
    support, labels, query = _random_episode()

    weights = np.random.default_rng(1).standard_normal((4, 3)).astype(np.float32)

    def weighted(params, support):
        scores = module.logits(params, support, labels, query, ways=3)
        return jnp.sum(weights * jax.nn.log_softmax(scores))

    given = (params_of(np.float32(3)), support)
    agrees_with_differences(weighted, given, eps=1e-3, rtol=2e-2, atol=2e-2)
