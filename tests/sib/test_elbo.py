import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sib_jax
from sib_jax import Gaussian, PointMass
from sib_jax.sib import elbo
from sib_jax.sib.inner_loop import Inner

WAYS, FEATURES, QUERIES = 2, 3, 6


def _setup(posterior="gaussian"):
    params = sib_jax.init(
        jax.random.key(0),
        ways=WAYS,
        features=FEATURES,
        posterior=posterior,
        prior="gaussian",
        initial_std=0.3,
    )
    query = jax.random.normal(jax.random.key(1), (QUERIES, FEATURES))
    labels = jnp.arange(QUERIES) % WAYS
    mean = jax.random.normal(jax.random.key(2), (WAYS, FEATURES))
    return params, query, labels, mean


def test_the_bound_of_a_point_mass_is_log_likelihood_plus_log_prior():
    params, query, labels, mean = _setup("point")
    unit = lambda x: np.asarray(x) / np.linalg.norm(x, axis=1, keepdims=True)  # noqa: E731
    scores = 10 * unit(query) @ unit(mean).T
    log_likelihood = sum(
        s[y] - np.log(np.exp(s).sum()) for s, y in zip(scores, labels, strict=True)
    )
    log_prior = np.sum(-0.5 * np.asarray(mean) ** 2 - 0.5 * np.log(2 * np.pi))
    bound, parts = sib_jax.elbo(params, PointMass(mean), query, labels)
    np.testing.assert_allclose(bound, log_likelihood + log_prior, rtol=1e-5)
    np.testing.assert_allclose(parts, (log_likelihood, -log_prior), rtol=1e-5)


def test_the_bound_lies_below_the_log_evidence():
    # log p(y | x) by brute force: the mean likelihood over many draws from the prior.
    params, query, labels, mean = _setup()
    keys = jax.random.split(jax.random.key(3), 2)
    draws = jax.random.normal(keys[0], (100_000, WAYS, FEATURES))  # the prior is standard normal

    def log_likelihood(w):
        scores = jax.nn.log_softmax(sib_jax.logits(params, PointMass(w), query))
        return jnp.sum(jnp.take_along_axis(scores, labels[:, None], axis=1))

    evidence = jax.nn.logsumexp(jax.lax.map(log_likelihood, draws, batch_size=1000)) - jnp.log(1e5)
    for scale in (0.1, 1.0):
        for log_std in (-1.0, 0.0):
            q = Gaussian(scale * mean, jnp.full((WAYS, FEATURES), log_std))
            bound, _ = sib_jax.elbo(params, q, query, labels, key=keys[1], samples=4000)
            assert bound < evidence


def test_beta_weighs_the_kl_term():
    params, query, labels, mean = _setup()
    q = Gaussian(mean, jnp.full((WAYS, FEATURES), -1.0))
    key = jax.random.key(0)
    bound, (log_likelihood, kl) = sib_jax.elbo(params, q, query, labels, key=key, beta=0.25)
    np.testing.assert_allclose(bound, log_likelihood - 0.25 * kl, rtol=1e-6)
    assert kl > 0


def test_without_prior_the_loss_is_the_cross_entropy():
    params, query, labels, _ = _setup("point")
    params = params._replace(prior=None)
    episode = sib_jax.Episode(query[:2], jnp.asarray([0, 1]), query, labels)
    loss, aux = sib_jax.negative_elbo(params, episode, steps=2, step_size=0.1)
    scores = np.float64(sib_jax.logits(params, aux.posterior, query))
    expected = sum(np.log(np.exp(s).sum()) - s[y] for s, y in zip(scores, labels, strict=True))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert aux.kl == 0
    np.testing.assert_allclose(aux.accuracy, np.mean(scores.argmax(1) == labels), rtol=1e-6)


def test_a_gaussian_needs_a_key():
    params, query, labels, mean = _setup()
    with pytest.raises(ValueError, match="pass key="):
        sib_jax.elbo(params, Gaussian(mean, mean), query, labels)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"samples": 0}, ValueError, "samples must be at least 1, got 0"),
        ({"samples": 2.0}, TypeError, "samples must be a whole number, got 2.0"),
        ({"beta": -1.0}, ValueError, "beta must be 0 or more, got -1.0"),
    ],
)
def test_settings_that_mean_nothing(options, error, message):
    params, query, labels, mean = _setup()
    q = Gaussian(mean, jnp.zeros((WAYS, FEATURES)))
    with pytest.raises(error, match=message):
        sib_jax.elbo(params, q, query, labels, key=jax.random.key(0), **options)


def test_an_unknown_summary_is_told_without_base_classes_too():
    params, query, labels, _ = _setup("point")
    episode = sib_jax.Episode(query[:2], [0, 1], query, labels)
    with pytest.raises(
        ValueError, match="unknown base_summary 'mean'; known are none, max, logsumexp"
    ):
        sib_jax.negative_elbo(params, episode, steps=1, step_size=0.1, base_summary="mean")


def test_the_bound_of_a_gaussian_is_the_mean_over_its_samples():
    params, query, labels, mean = _setup()
    q = Gaussian(mean, jnp.full((WAYS, FEATURES), -1.0))
    _, (found, _) = sib_jax.elbo(params, q, query, labels, key=jax.random.key(4), samples=4000)
    draws = np.random.default_rng(0).normal(mean, np.exp(-1), (4000, WAYS, FEATURES))
    unit = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)  # noqa: E731
    scores = 10 * np.einsum("nd,skd->snk", unit(np.float64(query)), unit(draws))
    log_p = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
    of_samples = log_p[:, np.arange(QUERIES), np.asarray(labels)].sum(1)
    deviation = np.sqrt(2 / 4000) * of_samples.std()
    assert abs(found - of_samples.mean()) < 4 * deviation


def test_base_logits_are_of_the_same_queries():
    params, query, labels, mean = _setup("point")
    with pytest.raises(ValueError, match="one row for each of 6 queries, got 5"):
        sib_jax.elbo(params, PointMass(mean), query, labels, base_logits=jnp.zeros((5, 2)))


def test_samples_of_a_narrow_posterior_are_the_answer_and_of_a_wide_one_are_spread():
    params, query, labels, _ = _setup()
    params = params._replace(prior=None)
    episode = sib_jax.Episode(query[:2], jnp.asarray([0, 1]), query, labels)
    inner, key = Inner(0, 0.0), jax.random.key(5)
    answer = elbo.predict(params, episode, inner, key)
    spreads = []
    for log_std in (-12.0, -3.0, -2.0):
        start = params.init_net._replace(log_std=jnp.full(FEATURES, log_std))
        found = elbo.samples(params._replace(init_net=start), episode, inner, key, 300)
        assert found.shape == (300, QUERIES, WAYS)
        spreads.append(jnp.mean(jnp.std(found, axis=0)))
        if log_std == -12:
            np.testing.assert_allclose(found[7], answer, atol=1e-3)
    np.testing.assert_allclose(spreads[2] / spreads[1], np.e, rtol=0.2)  # cosines are nearly linear
