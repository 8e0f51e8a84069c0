"""The public functions as users call them: with and without jit, under vmap, scan and grad.

Arguments are traced or constants that a jitted function closes over, from NumPy or from JAX.
"""

import re
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

import sib_jax
from sib_jax import Episode
from sib_jax.config import check, default

WAYS, FEATURES, SHOTS, QUERIES, EPISODES = 5, 8, 2, 3, 4
INNER = {"steps": 2, "step_size": 0.05}
ROOT = Path(__file__).resolve().parents[1]


def _episodes():
    """Four episodes of NumPy arrays, stacked."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(WAYS), SHOTS), np.repeat(np.arange(WAYS), QUERIES)
    centres = rng.standard_normal((EPISODES, WAYS, FEATURES))

    def features(of):
        noise = rng.standard_normal((EPISODES, len(of), FEATURES))
        return (centres[:, of] + noise).astype(np.float32)

    tiled = [np.tile(of.astype(np.int32), (EPISODES, 1)) for of in labels]
    return Episode(features(labels[0]), tiled[0], features(labels[1]), tiled[1])


def _one(index=0):
    return jax.tree.map(lambda x: x[index], _episodes())


def _params(posterior="point"):
    return sib_jax.init(
        jax.random.key(0), ways=WAYS, features=FEATURES, posterior=posterior, initial_std=0.1
    )


def _theta0(params, episode):
    return sib_jax.initial_posterior(params, episode.support, episode.support_labels, ways=WAYS)


def _adapted(params, episode):
    key = jax.random.key(1)
    return sib_jax.adapt(params, _theta0(params, episode), episode.query, key=key, **INNER)


def _logits(params, episode):
    return sib_jax.logits(params, _adapted(params, episode), episode.query)


def _elbo(params, episode):
    labels = episode.query_labels
    theta = _theta0(params, episode)
    return sib_jax.elbo(params, theta, episode.query, labels, key=jax.random.key(2))


def _loss(params, episode):
    return sib_jax.negative_elbo(params, episode, key=jax.random.key(1), **INNER)[0]


def _everything(params, episode):
    """What each of them gives."""
    functions = (_theta0, _adapted, _logits, _elbo, _loss)
    return {function.__name__: function(params, episode) for function in functions}


class EveryFunction(chex.TestCase):
    """What each function gives does not depend on how it is called."""

    def _same(self, got, wanted):
        chex.assert_trees_all_close(got, wanted, rtol=2e-4, atol=2e-5)

    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.parameters("point", "gaussian")
    def test_traced_arguments(self, posterior):
        params = _params(posterior)
        wanted = _everything(params, jax.tree.map(jnp.asarray, _one()))
        self._same(self.variant(_everything)(params, _one()), wanted)

    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.parameters("numpy", "jax")
    def test_constants_that_a_function_closes_over(self, library):
        of = {"numpy": np.asarray, "jax": jnp.asarray}[library]
        params, episode = _params(), jax.tree.map(of, _one())
        wanted = _everything(params, _one())
        self._same(self.variant(lambda p: _everything(p, episode))(params), wanted)

    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.parameters("point", "gaussian")
    def test_vmap_over_episodes(self, posterior):
        params = _params(posterior)
        wanted = [_everything(params, _one(i)) for i in range(EPISODES)]
        found = self.variant(jax.vmap(_everything, (None, 0)))(params, _episodes())
        self._same(found, jax.tree.map(lambda *x: jnp.stack(x), *wanted))

    @chex.variants(with_jit=True, without_jit=True)
    def test_scan_over_episodes(self):
        params = _params("gaussian")

        def total(params, episodes):
            add = lambda sum_, e: (sum_ + _loss(params, e), None)  # noqa: E731
            return jax.lax.scan(add, jnp.zeros(()), episodes)[0]

        wanted = sum(_loss(params, _one(i)) for i in range(EPISODES))
        self._same(self.variant(total)(params, jax.tree.map(jnp.asarray, _episodes())), wanted)

    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.parameters("point", "gaussian")
    def test_gradients_of_a_batch_are_the_mean_of_single_ones(self, posterior):
        params = _params(posterior)

        def mean(params, episodes):
            return jnp.mean(jax.vmap(_loss, (None, 0))(params, episodes))

        gradient = jax.jit(jax.grad(_loss))
        single = [gradient(params, _one(i)) for i in range(EPISODES)]
        wanted = jax.tree.map(lambda *g: jnp.mean(jnp.stack(g), axis=0), *single)
        found = self.variant(jax.grad(mean))(params, _episodes())
        chex.assert_trees_all_close(found, wanted, rtol=2e-3, atol=1e-4)

    @chex.variants(with_jit=True, without_jit=True)
    def test_sample_and_init(self):
        labels = np.repeat(np.arange(7), 6)
        features = np.random.default_rng(0).standard_normal((42, FEATURES)).astype(np.float32)
        table = sib_jax.feature_table(features, labels)
        draw = lambda key: sib_jax.sample(key, table, ways=3, shots=1, queries=2)  # noqa: E731
        self._same(self.variant(draw)(jax.random.key(5)), draw(jax.random.key(5)))
        make = lambda key: sib_jax.init(key, ways=WAYS, features=FEATURES)  # noqa: E731
        self._same(self.variant(make)(jax.random.key(0)), make(jax.random.key(0)))


def test_another_episode_is_no_other_trace():
    function = jax.jit(chex.assert_max_traces(_everything, 1))
    for i in range(EPISODES):
        function(_params(), _one(i))


def test_lists_are_arrays_too():
    episode = _one()
    found = sib_jax.initial_posterior(
        _params(), episode.support.tolist(), episode.support_labels.tolist(), ways=WAYS
    )
    chex.assert_trees_all_close(found, _theta0(_params(), episode), rtol=1e-5)


def test_labels_out_of_range_are_told_where_they_are_known():
    episode = _one()
    bad = episode._replace(support_labels=jnp.asarray(episode.support_labels) + 1)
    with pytest.raises(ValueError, match=r"must lie in 0..4 for ways=5, got 1..5"):
        jax.jit(lambda p: _theta0(p, bad))(_params())


def test_a_posterior_of_other_ways_is_refused():
    episode = _one()
    three = sib_jax.PointMass(jnp.ones((3, FEATURES)))
    with pytest.raises(ValueError, match=r"of 3 ways, but the gradient network .* is for 5"):
        sib_jax.adapt(_params(), three, episode.query, **INNER)


def test_the_readme_snippet_runs():
    """Every Python block of the README, in order, with the names that it takes as given."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    rng = np.random.default_rng(0)
    episode = Episode(
        rng.standard_normal((5, 640)).astype(np.float32),
        np.arange(5),
        rng.standard_normal((10, 640)).astype(np.float32),
        np.tile(np.arange(5), 2),
    )
    names = {
        "support": episode.support,
        "support_labels": episode.support_labels,
        "query": episode.query,
        "episode": episode,
        "key": jax.random.key(1),
        "config": default(),
    }
    for block in blocks:
        exec(block, names)
    check(names["config"])
    assert names["logits"].shape == (10, 5)
    assert np.isfinite(names["loss"])
