"""Matching and prototypical networks, against the numbers in tests/parity (see its README)."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from sib_jax.methods import matching, prototypical
from sib_jax.methods.matching import Matching
from sib_jax.methods.prototypical import Prototypical

PARITY = Path(__file__).parents[1] / "parity"
CLOSE = {"rtol": 4e-5, "atol": 4e-5}
WAYS = 5
BOTH = [(prototypical, Prototypical), (matching, Matching)]


def _random_episode(shots=(2, 1, 3), features=6, seed=0):
    support_key, query_key = jax.random.split(jax.random.key(seed))
    labels = jnp.repeat(jnp.arange(len(shots)), jnp.asarray(shots), total_repeat_length=sum(shots))
    support = jax.random.normal(support_key, (sum(shots), features))
    return support, labels, jax.random.normal(query_key, (4, features))


@pytest.mark.parametrize(("module", "params_of"), BOTH)
def test_agrees_with_the_official_code(module, params_of):
    name = module.__name__.rpartition(".")[2]
    arrays = {k: jnp.asarray(v) for k, v in np.load(PARITY / f"{name}.npz").items()}
    params = params_of(arrays["param/scale_cls"][0])
    batched = jax.jit(jax.vmap(lambda *episode: module.logits(params, *episode, ways=WAYS)))
    found = batched(arrays["support"], arrays["support_labels"], arrays["query"])
    np.testing.assert_allclose(found, arrays["scores"], **CLOSE)


def test_prototypical_network_with_scale_d_is_the_summed_squared_distance():
    support, labels, query = _random_episode()
    params = Prototypical(jnp.asarray(float(support.shape[1])))
    found = prototypical.logits(params, support, labels, query, ways=3)
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
        return jnp.sum(matching.logits(params, support, labels, query, ways=4))

    found = matching.logits(params, support, labels, query, ways=4)
    np.testing.assert_allclose(found[:, 3], np.log(1e-7), rtol=1e-6)
    assert jnp.all(jnp.isfinite(jax.grad(total)(support)))


@pytest.mark.parametrize(("module", "params_of"), BOTH)
def test_gradients(module, params_of):
    support, labels, query = _random_episode()

    @jax.jit
    def log_probabilities(params, support):
        return jax.nn.log_softmax(module.logits(params, support, labels, query, ways=3))

    given = (params_of(jnp.asarray(3.0)), support)
    check_grads(log_probabilities, given, order=1, modes=["rev"], rtol=2e-2, atol=2e-2, eps=1e-3)
