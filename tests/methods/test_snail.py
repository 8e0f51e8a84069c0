"""SNAIL, against a PyTorch implementation on whole sequences (see tests/parity)."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sib_jax.methods import METHODS, Classes, snail
from sib_jax.methods.snail import Attention, Dense, Linear, Places, Snail
from sib_jax.tasks.episode import Episode

PARITY = Path(__file__).parents[1] / "parity"


@pytest.fixture(scope="module")
def arrays():
    return dict(np.load(PARITY / "snail.npz"))


@pytest.fixture(scope="module")
def params(arrays):
    def linear(name):
        weights = arrays[f"param/{name}.weight"]
        if weights.ndim == 3:  # a convolution of two places: [filters, c, 2]
            weights = np.concatenate([weights[:, :, 0], weights[:, :, 1]], axis=1)
        return Linear(jnp.asarray(weights.T), jnp.asarray(arrays[f"param/{name}.bias"]))

    def attention(i):
        names = ("query", "keys", "values")
        return Attention(*(linear(f"attention{i}.linear_{name}") for name in names))

    def convolutions(i):
        names = [f"tc{i}.dense_blocks.{j}.casualconv" for j in range(3)]
        return tuple(Dense(linear(f"{name}1.conv1d"), linear(f"{name}2.conv1d")) for name in names)

    attentions = tuple(attention(i) for i in (1, 2, 3))
    return Snail(attentions, (convolutions(1), convolutions(2)), linear("fc"))


@pytest.fixture(scope="module")
def places(arrays):
    """All sequences share their first places."""
    sequences = arrays["sequences"]
    return Places(jnp.asarray(sequences[0, :-1]), jnp.asarray(sequences[:, -1]))


run = jax.jit(snail.run)


def test_agrees_with_whole_sequences_in_pytorch(arrays, params, places):
    found = run(params, places)
    close = {"rtol": 1e-4, "atol": 1e-5}
    np.testing.assert_allclose(found.query, arrays["scores"][:, -1], **close)
    for scores in arrays["scores"]:
        np.testing.assert_allclose(found.support, scores[:-1], **close)


def test_nothing_looks_ahead(params, places):
    """Changing a place changes its own scores and maybe later ones, never earlier ones."""
    before = run(params, places)
    for place in range(6):
        changed = places._replace(support=places.support.at[place].add(1.0))
        after = run(params, changed)
        np.testing.assert_array_equal(after.support[:place], before.support[:place])
        assert np.all(np.any(after.support[place:] != before.support[place:], axis=1)[0])
        assert np.all(np.any(after.query != before.query, axis=1))
    other = run(params, places._replace(query=places.query + 1.0))
    np.testing.assert_allclose(other.support, before.support, rtol=1e-6, atol=1e-6)


def test_queries_do_not_see_one_another(params, places):
    query = jnp.stack([places.query[0], places.query[1] + 1.0, places.query[3], places.query[2]])
    one, other = (run(params, places._replace(query=q)).query for q in (places.query, query))
    np.testing.assert_allclose(other[0], one[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(other[2:], one[:1:-1], rtol=1e-5, atol=1e-5)
    assert float(jnp.abs(other[1] - one[1]).max()) > 0.01


def test_attention_is_a_mean_of_what_came_before(params, places):
    _, shared, own = jax.jit(snail.attend)(params.attentions[0], places)
    np.testing.assert_allclose(shared.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(own.sum(1), 1, rtol=1e-5)
    assert np.all(np.triu(shared, 1) == 0)


def test_order_of_the_support_set_is_drawn_by_the_key():
    """The same examples in another order have the same scores on average, and not for one key."""
    method = snail.make(snail.Settings(4, (2, 2, 2), (2, 2, 2), shots=1), 3)
    params = jax.jit(method.init, static_argnums=1)(jax.random.key(0), Classes((5,), 6))
    rng = np.random.default_rng(0)
    support, query = (jnp.asarray(rng.normal(size=(3, 5)), jnp.float32) for _ in range(2))
    labels, turned = jnp.arange(3), jnp.asarray([2, 0, 1])
    keys = jax.random.split(jax.random.key(1), 2000)

    @jax.jit
    def mean(support, labels):
        episode = Episode(support, labels, query, labels)
        found = jax.vmap(lambda key: method.logits(params, episode, key))(keys)
        return found.mean(0), found.std(0)

    (one, spread), (other, _) = mean(support, labels), mean(support[turned], labels[turned])
    assert float(spread.min()) > 0
    np.testing.assert_allclose(one, other, atol=6 * float(spread.max()) * (2 / 2000) ** 0.5)


def test_three_attentions_are_needed():
    with pytest.raises(ValueError, match="three sizes each"):
        METHODS["snail"].make(snail.Settings(keys=(1, 2)), 5)
