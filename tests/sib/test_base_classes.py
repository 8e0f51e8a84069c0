"""SIB beside base classes: which weights take part, what xi sees, what the loss is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sib_jax
from sib_jax import Mixture
from sib_jax.sib import base_classes, distributions, elbo
from sib_jax.sib.inner_loop import Inner
from sib_jax.tasks import without_forgetting
from sib_jax.tasks.accuracy import accuracies

CLASSES, FEATURES, WAYS = 8, 6, 3


_loss = jax.jit(
    sib_jax.negative_elbo, static_argnames=("steps", "step_size", "beta", "base_summary")
)
_predict = jax.jit(elbo.predict, static_argnums=2)


def _params(posterior="point", summary_size=1):
    return sib_jax.init(
        jax.random.key(1),
        ways=WAYS,
        features=FEATURES,
        posterior=posterior,
        prior="mixture",
        components=CLASSES,
        initial_std=0.1,
        summary_size=summary_size,
    )


@pytest.fixture
def episode():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), 12)
    table = sib_jax.feature_table(rng.standard_normal((96, FEATURES)).astype(np.float32), labels)
    return without_forgetting.sample_training(
        jax.random.key(0), table, ways=WAYS, shots=2, queries=4
    )


def test_at_t0_the_weights_are_class_means_and_the_base_classes_own(episode):
    params = _params()
    found = _predict(params, episode, Inner(0, 0.0, base_summary="max"))
    support, labels = np.asarray(episode.support), np.asarray(episode.support_labels)
    support = support / np.linalg.norm(support, axis=1, keepdims=True)
    start = np.stack([support[labels == k].mean(0) for k in range(WAYS)])
    weights = np.concatenate([start, np.asarray(params.prior.means)[episode.base]])
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    query = np.asarray(episode.query)
    cosine = query / np.linalg.norm(query, axis=1, keepdims=True) @ weights.T
    np.testing.assert_allclose(found, 10 * cosine, rtol=1e-4, atol=1e-4)


def test_the_learned_bias_stands_between_novel_and_base_classes(episode):
    params, inner = _params(), Inner(0, 0.0, base_summary="max")
    given = params._replace(classifier=params.classifier._replace(bias=jnp.asarray(-5.0)))
    found, without = (
        accuracies(_predict(p, episode, inner), episode.query_labels, WAYS) for p in (given, params)
    )
    # Cosines differ by 2 at most, so no query is called novel any more; within each kind of
    # classes nothing changes.
    for name in ("novel", "base"):
        np.testing.assert_allclose(found[name], without[name], atol=1e-6)
    np.testing.assert_allclose(found["both"], without["base"] / 2, atol=1e-6)


@pytest.mark.parametrize("posterior", ["point", "gaussian"])
def test_query_labels_do_not_reach_the_posterior(episode, posterior):
    params = _params(posterior)
    other = episode._replace(query_labels=np.roll(episode.query_labels, 5))
    run = lambda e: _loss(  # noqa: E731
        params, e, steps=4, step_size=0.1, key=jax.random.key(0), base_summary="max"
    )
    (loss, aux), (other_loss, other_aux) = run(episode), run(other)
    jax.tree.map(np.testing.assert_array_equal, aux.posterior, other_aux.posterior)
    assert loss != other_loss


def test_the_loss_is_the_bound_over_all_classes(episode):
    params = _params()
    loss, aux = _loss(params, episode, steps=2, step_size=0.05, beta=0.3, base_summary="logsumexp")
    means, query, theta = (
        np.asarray(x) for x in (params.prior.means, episode.query, aux.posterior.mean)
    )
    means = means[episode.base]
    unit, theta, of_base = (
        x / np.linalg.norm(x, axis=1, keepdims=True) for x in (query, theta, means)
    )
    scale, bias = map(float, params.classifier)
    scores = scale * np.concatenate([bias + unit @ theta.T, unit @ of_base.T], axis=1)
    scores -= np.log(np.exp(scores).sum(1, keepdims=True))
    expected = -scores[np.arange(len(unit)), episode.query_labels].sum()
    prior = Mixture(means, params.prior.log_std)
    expected += 0.3 * np.sum(jax.jit(distributions.kl)(aux.posterior, prior))
    np.testing.assert_allclose(loss, expected, rtol=1e-4)


@pytest.mark.parametrize("kind", base_classes.SUMMARIES)
def test_the_gradient_network_sees_of_the_base_classes_what_was_asked_for(episode, kind):
    params = _params(summary_size=0 if kind == "none" else 1)

    def adapted(means):
        changed = params._replace(prior=params.prior._replace(means=means))
        # Without a KL term only the summary can carry the base weights to theta.
        _, aux = _loss(changed, episode, steps=2, step_size=0.1, beta=0.0, base_summary=kind)
        return aux.posterior.mean

    means = np.asarray(params.prior.means)
    one, other = adapted(means), adapted(np.flip(means, axis=1))
    assert np.array_equal(one, other) == (kind == "none")
    logits = np.random.default_rng(5).standard_normal((7, 4)).astype(np.float32)
    expected = {"logsumexp": np.log(np.sum(np.exp(logits), 1)), "max": np.max(logits, 1)}
    if kind != "none":
        found = base_classes.summarize(logits, kind)[:, 0]
        np.testing.assert_allclose(found, expected[kind], rtol=1e-5)


def test_parameters_without_base_classes_are_refused(episode):
    params = sib_jax.init(jax.random.key(0), ways=WAYS, features=FEATURES)
    with pytest.raises(ValueError, match="prior='mixture'"):
        sib_jax.negative_elbo(params, episode, steps=0, step_size=0.0)


def test_a_summary_that_the_gradient_network_was_not_made_for_is_refused(episode):
    with pytest.raises(ValueError, match=r"reads 0 further numbers.*summary has shape"):
        sib_jax.negative_elbo(
            _params(summary_size=0), episode, steps=1, step_size=0.1, base_summary="max"
        )


@pytest.mark.parametrize(
    ("base", "error", "message"),
    [
        ([0, CLASSES], ValueError, r"must be in 0..7, the prior's components, got 0..8"),
        ([-1, 0], ValueError, r"must be in 0..7, the prior's components, got -1..0"),
        ([1, 1], ValueError, "must be distinct, but one is given twice"),
        ([], ValueError, "the episode's base is empty: leave base=None"),
        ([0.0, 1.0], TypeError, r"must be integers \[b\], the components .* got float"),
    ],
)
def test_base_classes_that_are_no_components(episode, base, error, message):
    labels = np.zeros(len(episode.query), int)
    given = episode._replace(base=base, query_labels=labels)
    with pytest.raises(error, match=message):
        sib_jax.negative_elbo(_params(), given, steps=1, step_size=0.1, base_summary="max")


def test_a_list_of_base_classes_goes_through_jit(episode):
    labels = np.zeros(len(episode.query), int)
    params, options = _params(), {"steps": 1, "step_size": 0.1, "base_summary": "max"}
    found, wanted = (
        _loss(params, episode._replace(base=base, query_labels=labels), **options)[0]
        for base in ([0, 1], np.array([0, 1]))
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_base_weights_of_no_class_are_refused():
    with pytest.raises(ValueError, match=r"base_weights are empty: shape \(0, 6\)"):
        sib_jax.init(
            jax.random.key(0), ways=3, features=6, prior="mixture", base_weights=np.zeros((0, 6))
        )
