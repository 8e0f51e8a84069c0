"""The public functions as users call them: with and without jit, under vmap, scan and grad.

Arguments are traced or constants that a jitted function closes over, from NumPy or from JAX.
"""

import functools
import inspect
import re
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sib_jax
from sib_jax import Episode
from sib_jax.config import check, default

WAYS, FEATURES, SHOTS, QUERIES, EPISODES = 5, 8, 2, 3, 4
INNER = {"steps": 4, "step_size": 0.05}
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
        jax.random.key(0),
        ways=WAYS,
        features=FEATURES,
        posterior=posterior,
        prior="gaussian",
        initial_std=0.1,
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


def _same(found, wanted):
    chex.assert_trees_all_close(found, wanted, rtol=2e-4, atol=2e-5)


def _stacked(trees):
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


# What each function gives does not depend on how it is called.
with_and_without_jit = pytest.mark.parametrize(
    "variant", [jax.jit, lambda function: function], ids=["with jit", "without jit"]
)
# Without jit, every operation is a program of its own: a Gaussian takes the same way there.
each_way = pytest.mark.parametrize(
    ("posterior", "variant"),
    [("point", jax.jit), ("gaussian", jax.jit), ("point", lambda function: function)],
    ids=["point with jit", "gaussian with jit", "point without jit"],
)


@functools.cache
def _jitted(function):
    return jax.jit(function)


@with_and_without_jit
@pytest.mark.parametrize("posterior", ["point", "gaussian"])
def test_traced_arguments(posterior, variant):
    params = _params(posterior)
    wanted = _everything(params, jax.tree.map(jnp.asarray, _one()))
    function = _jitted(_everything) if variant is jax.jit else _everything
    _same(function(params, _one()), wanted)


@with_and_without_jit
@pytest.mark.parametrize("library", [np, jnp], ids=["numpy", "jax"])
def test_constants_that_a_function_closes_over(library, variant):
    params, episode = _params(), jax.tree.map(library.asarray, _one())
    wanted = _everything(params, _one())
    _same(variant(lambda p: _everything(p, episode))(params), wanted)


@each_way
def test_vmap_over_episodes(posterior, variant):
    params = _params(posterior)
    wanted = [_jitted(_everything)(params, _one(i)) for i in range(EPISODES)]
    _same(variant(jax.vmap(_everything, (None, 0)))(params, _episodes()), _stacked(wanted))


@with_and_without_jit
def test_scan_over_episodes(variant):
    params = _params("gaussian")

    def total(params, episodes):
        add = lambda sum_, e: (sum_ + _loss(params, e), None)  # noqa: E731
        return jax.lax.scan(add, jnp.zeros(()), episodes)[0]

    wanted = sum(_jitted(_loss)(params, _one(i)) for i in range(EPISODES))
    _same(variant(total)(params, jax.tree.map(jnp.asarray, _episodes())), wanted)


_gradient = jax.grad(_loss)


@each_way
def test_gradients_of_a_batch_are_the_mean_of_single_ones(posterior, variant):
    params = _params(posterior)

    def mean(params, episodes):
        return jnp.mean(jax.vmap(_loss, (None, 0))(params, episodes))

    single = [_jitted(_gradient)(params, _one(i)) for i in range(EPISODES)]
    wanted = jax.tree.map(lambda g: np.mean(g, axis=0), _stacked(single))
    found = variant(jax.grad(mean))(params, _episodes())
    chex.assert_trees_all_close(found, wanted, rtol=2e-3, atol=1e-4)


def test_sample_and_init_with_jit():
    labels = np.repeat(np.arange(7), 6)
    features = np.random.default_rng(0).standard_normal((42, FEATURES)).astype(np.float32)
    table = sib_jax.feature_table(features, labels)
    draw = lambda key: sib_jax.sample(key, table, ways=3, shots=1, queries=2)  # noqa: E731
    make = lambda key: sib_jax.init(key, ways=WAYS, features=FEATURES)  # noqa: E731
    for function, key in ((draw, jax.random.key(5)), (make, jax.random.key(0))):
        _same(jax.jit(function)(key), function(key))


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
    found, wanted = (
        sib_jax.adapt(_params(), found, query, steps=1, step_size=0.1)
        for query in (episode.query.tolist(), episode.query)
    )
    chex.assert_trees_all_close(found, wanted, rtol=1e-5)


def test_labels_out_of_range_are_told_where_they_are_known():
    episode = _one()
    bad = episode._replace(support_labels=jnp.asarray(episode.support_labels) + 1)
    with pytest.raises(ValueError, match=r"must be in 0..4 for ways=5, got 1..5"):
        jax.jit(lambda p: _theta0(p, bad))(_params())


def test_a_posterior_of_other_ways_is_refused():
    episode = _one()
    three = sib_jax.PointMass(jnp.ones((3, FEATURES)))
    with pytest.raises(ValueError, match=r"has 3 ways, but the gradient network .* is for 5"):
        sib_jax.adapt(_params(), three, episode.query, **INNER)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        (
            {"support": (6, FEATURES), "support_labels": np.repeat(np.arange(3), 2)},
            ValueError,
            r"support_labels holds 3 of the 5 classes of ways=5; without an example: 3, 4",
        ),
        ({"query": (15, 7)}, ValueError, "query has features of length 7, .* are for 8"),
        ({"support": (10, 7)}, ValueError, "support has features of length 7, .* are for 8"),
        ({"query": (4, 15, FEATURES)}, ValueError, r"query must be \[n, d\], .*\(4, 15, 8\)"),
        ({"query_labels": np.arange(3)}, ValueError, r"one label for each of 15 rows; .* \(3,\)"),
        (
            {"query_labels": np.repeat(np.arange(5), 3) + 1},
            ValueError,
            "query_labels must be in 0..4 for ways=5, got 1..5",
        ),
        (
            {"query": np.ones((0, FEATURES)), "query_labels": []},
            ValueError,
            "the episode has no queries",
        ),
        ({"query_labels": ["cat"] * 15}, TypeError, "query_labels must be integers in 0..4"),
        ({"support_labels": ["cat"] * 10}, TypeError, "support_labels must be integers in 0..4"),
        ({"query_labels": np.ones(15)}, TypeError, "query_labels must be integers .* float64"),
    ],
)
def test_an_episode_that_does_not_fit_is_told_so(changed, error, message):
    """Called as it is and as constants inside jit; shapes are told for traced arrays too."""
    of_shape = {k: np.ones(v, np.float32) if type(v) is tuple else v for k, v in changed.items()}
    episode = _one()._replace(**of_shape)
    with pytest.raises(error, match=message):
        _loss(_params(), episode)
    with pytest.raises(error, match=message):
        jax.jit(lambda p: _loss(p, episode))(_params())
    if all(type(v) is tuple for v in changed.values()):
        with pytest.raises(error, match=message):
            jax.jit(_loss)(_params(), episode)


def test_an_episode_of_lists_has_the_same_loss():
    lists = Episode(*(None if x is None else x.tolist() for x in _one()))
    chex.assert_trees_all_close(_loss(_params(), lists), _loss(_params(), _one()), rtol=1e-5)


def test_a_loss_wants_labels_of_the_queries():
    with pytest.raises(ValueError, match="the episode has no query_labels"):
        _loss(_params(), _one()._replace(query_labels=None))


def test_a_tuple_is_no_episode():
    with pytest.raises(TypeError, match=r"must be a sib_jax\.Episode\(.*; got tuple"):
        _loss(_params(), tuple(_one()))


@pytest.mark.parametrize("jitted", [False, True])
@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"ways": 2, "shots": 2, "queries": 2}, r"shots \+ queries is 2 \+ 2, .* has 3 images"),
        ({"ways": 4, "shots": 1, "queries": 1}, "ways is 4, but must be 1 to 3"),
        ({"ways": 2, "shots": -1, "queries": 2}, "shots must be at least 0, got -1"),
        (
            {"ways": 2, "shots": 1, "queries": 1, "query_classes": "Balanced"},
            "query_classes must be balanced, missing, or dirichlet.*; got 'Balanced'",
        ),
        (
            {"ways": 2, "shots": 1, "queries": 1, "query_classes": "dirichlet:-1"},
            "query_classes must be .*; got 'dirichlet:-1'",
        ),
        (
            {"ways": 2, "shots": 1, "queries": 1, "support_classes": "even"},
            "support_classes must be balanced or uneven; got 'even'",
        ),
        (
            {"ways": 1, "shots": 1, "queries": 1, "query_classes": "missing"},
            "the one class needs queries",
        ),
    ],
)
def test_an_episode_that_the_table_cannot_fill_is_refused(jitted, asked, message):
    labels = np.repeat(np.arange(3), [5, 3, 6])
    table = sib_jax.feature_table(np.ones((14, FEATURES), np.float32), labels)
    draw = functools.partial(sib_jax.sample, **asked)
    with pytest.raises(ValueError, match=message):
        (jax.jit(draw) if jitted else draw)(jax.random.key(0), table)


@pytest.mark.parametrize(
    ("features", "labels", "error", "message"),
    [
        (np.ones((0, 2)), np.zeros(0, int), ValueError, "at least one image"),
        (np.ones(2), [0, 1], ValueError, r"must be \[images, d\], got shape \(2,\)"),
        ([["a"], ["b"]], [0, 1], TypeError, "features must be numbers"),
        ([[1.0], [np.nan]], [0, 1], ValueError, "1 of 2 images are NaN .* the first in row 1"),
        (jnp.asarray([[jnp.inf], [1]]), [0, 1], ValueError, "the first in row 0"),
        (np.ones((2, 1)), ["cat", "dog"], TypeError, "np.unique"),
        (np.ones((2, 1)), [0.0, 1.0], TypeError, "labels must be integers"),
        (np.ones((2, 1)), [-1, 0], ValueError, "ascend from 0"),
    ],
)
def test_a_table_of_what_cannot_be_one_is_refused(features, labels, error, message):
    with pytest.raises(error, match=message):
        sib_jax.feature_table(features, labels)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"hidden": 0}, ValueError, "hidden must be at least 1, got 0"),
        ({"summary_size": 0.5}, TypeError, r"summary_size must be a whole number, got 0\.5"),
        ({"initial_std": None}, TypeError, "initial_std must be a number, got None"),
        ({"initial_std": 0}, ValueError, "initial_std must be above 0, got 0"),
        ({"prior_std": -1.0}, ValueError, r"prior_std must be above 0, got -1\.0"),
        ({"base_weights": [[1.0]]}, ValueError, r"base_weights must be \[components, 2\]"),
        ({"base_weights": [[1.0, 0.0]], "prior": None}, ValueError, "but prior is None"),
    ],
)
def test_parameters_of_what_cannot_be_are_refused(changed, error, message):
    with pytest.raises(error, match=message):
        sib_jax.init(jax.random.key(0), **{"ways": 2, "features": 2, "prior": "mixture", **changed})


@pytest.mark.parametrize("init_net", ["support", "query", "global"])
@pytest.mark.parametrize("prior", [None, "gaussian", "mixture"])
@pytest.mark.parametrize("classifier", ["cosine", "dot"])
def test_no_parameter_is_of_weak_type(init_net, prior, classifier):
    """It would be of a strong one after the first step, which would compile the second."""
    kinds = {"init_net": init_net, "prior": prior, "classifier": classifier}
    for posterior in ("point", "gaussian"):
        params = sib_jax.init(
            jax.random.key(0), ways=2, features=3, posterior=posterior, components=4, **kinds
        )
        assert not any(leaf.weak_type for leaf in jax.tree.leaves(params))


def test_lists_of_labels_go_through_jit():
    params = sib_jax.init(jax.random.key(0), ways=WAYS, features=FEATURES)
    support, query = np.eye(WAYS, FEATURES), np.ones((2, FEATURES))

    def loss(support_labels, query_labels):
        episode = sib_jax.Episode(support, support_labels, query, query_labels)
        return sib_jax.negative_elbo(params, episode, steps=1, step_size=0.1)[0]

    labels = list(range(WAYS)), [0, 1]
    np.testing.assert_allclose(jax.jit(loss)(*labels), loss(*labels), rtol=1e-5)


def test_double_precision_is_of_all_or_nothing():
    with jax.enable_x64(True):
        weights = np.ones((3, FEATURES), np.float32)
        params = sib_jax.init(
            jax.random.key(0), ways=WAYS, features=FEATURES, prior="mixture", base_weights=weights
        )
        assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float64)}
        table = sib_jax.feature_table(np.ones((30, FEATURES)), np.repeat(np.arange(6), 5))
        sib_jax.sample(jax.random.key(0), table, ways=WAYS, shots=2, queries=3)  # without a warning


def test_base_weights_may_be_lists():
    weights = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    params = sib_jax.init(
        jax.random.key(0), ways=2, features=2, prior="mixture", base_weights=weights
    )
    np.testing.assert_array_equal(params.prior.means, weights)


def test_logits_and_bound_take_lists_and_refuse_what_does_not_fit():
    params, episode = _params(), _one()
    posterior = _theta0(params, episode)
    lists = episode.query.tolist(), episode.query_labels.tolist()
    chex.assert_trees_all_close(
        sib_jax.logits(params, posterior, lists[0]),
        sib_jax.logits(params, posterior, episode.query),
    )
    chex.assert_trees_all_close(
        sib_jax.elbo(params, posterior, *lists),
        sib_jax.elbo(params, posterior, episode.query, episode.query_labels),
    )
    with pytest.raises(ValueError, match=r"query_labels must be in 0..4 for ways=5, got 1..5"):
        sib_jax.elbo(params, posterior, episode.query, episode.query_labels + 1)
    with pytest.raises(ValueError, match="query has features of length 7"):
        sib_jax.logits(params, posterior, np.ones((3, 7)))


def test_a_table_takes_lists_and_the_labels_that_the_message_advises():
    _, labels = np.unique(["cat", "cat", "dog"], return_inverse=True)
    table = sib_jax.feature_table([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], labels)
    assert table.counts.tolist() == [2, 1]
    assert table.features.tolist() == [[1, 2], [3, 4], [5, 6]]


def test_numbers_that_decide_shapes_must_be_whole_and_known():
    with pytest.raises(TypeError, match=r"ways must be a whole number, got 5\.0"):
        sib_jax.init(jax.random.key(0), ways=5.0, features=4)
    with pytest.raises(TypeError, match=r"ways must be a whole number, got True"):
        sib_jax.init(jax.random.key(0), ways=True, features=4)
    params = sib_jax.init(jax.random.key(0), ways=np.int64(5), features=4)
    assert params.ways == 5
    table = sib_jax.feature_table(np.ones((4, 4)), [0, 0, 1, 1])
    with pytest.raises(TypeError, match="shots must be a whole number"):
        sib_jax.sample(jax.random.key(0), table, ways=2, shots="1", queries=1)
    posterior = sib_jax.PointMass(jnp.ones((5, 4)))

    def adapt(steps):
        return sib_jax.adapt(params, posterior, jnp.ones((3, 4)), steps=steps, step_size=0.1)

    with pytest.raises(TypeError, match=r"step_size must be a number, got '0\.1'"):
        sib_jax.adapt(params, posterior, jnp.ones((3, 4)), steps=1, step_size="0.1")
    half = sib_jax.adapt(params, posterior, jnp.ones((3, 4)), steps=1, step_size=jnp.bfloat16(0.1))
    assert half.mean.shape == (5, 4)
    with pytest.raises(TypeError, match=r"steps decides shapes .* static_argnames"):
        jax.jit(adapt)(2)
    advised = jax.jit(adapt, static_argnames="steps")(2)
    np.testing.assert_allclose(advised.mean, adapt(2).mean, rtol=1e-5)


def test_a_posterior_is_no_array():
    params = sib_jax.init(jax.random.key(0), ways=2, features=4)
    mean, query = jnp.ones((2, 4)), jnp.ones((3, 4))
    for read in (
        lambda: sib_jax.logits(params, mean, query),
        lambda: sib_jax.adapt(params, mean, query, steps=1, step_size=0.1),
        lambda: sib_jax.elbo(params, mean, query, [0, 1, 0]),
    ):
        with pytest.raises(TypeError, match=r"such as sib_jax.PointMass\(mean\); got"):
            read()


def test_defaults_of_the_functions_are_those_of_the_experiments():
    config = default()
    init = inspect.signature(sib_jax.init).parameters
    for name in ("posterior", "classifier", "initial_std", "prior_std"):
        assert init[name].default == config[name], name
    assert (init["prior"].default or "none") == config.prior
    betas = {
        inspect.signature(f).parameters["beta"].default
        for f in (sib_jax.adapt, sib_jax.negative_elbo, sib_jax.elbo)
    }
    assert betas == {1.0}


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
