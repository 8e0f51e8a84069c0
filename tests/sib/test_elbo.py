import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sib_jax
from sib_jax import Gaussian, PointMass
from sib_jax.sib import elbo
from sib_jax.sib.inner_loop import Inner

WAYS, FEATURES, QUERIES = 2, 3, 6


_elbo = jax.jit(sib_jax.elbo, static_argnames="samples")


def _setup(posterior="gaussian"):
    params = sib_jax.init(
        jax.random.key(0),
        ways=WAYS,
        features=FEATURES,
        posterior=posterior,
        prior="gaussian",
        initial_std=0.3,
    )
    rng = np.random.default_rng(0)
    query = rng.standard_normal((QUERIES, FEATURES)).astype(np.float32)
    labels = np.arange(QUERIES) % WAYS
    mean = rng.standard_normal((WAYS, FEATURES)).astype(np.float32)
    return params, query, labels, mean


def test_the_bound_of_a_point_mass_is_log_likelihood_plus_log_prior():
    params, query, labels, mean = _setup("point")
    unit = lambda x: np.asarray(x) / np.linalg.norm(x, axis=1, keepdims=True)  # noqa: E731
    scores = 10 * unit(query) @ unit(mean).T
    log_likelihood = sum(
        s[y] - np.log(np.exp(s).sum()) for s, y in zip(scores, labels, strict=True)
    )
    log_prior = np.sum(-0.5 * np.asarray(mean) ** 2 - 0.5 * np.log(2 * np.pi))
    bound, parts = _elbo(params, PointMass(mean), query, labels)
    np.testing.assert_allclose(bound, log_likelihood + log_prior, rtol=1e-5)
    np.testing.assert_allclose(parts, (log_likelihood, -log_prior), rtol=1e-5)


def test_the_bound_lies_below_the_log_evidence():
    # log p(y | x) by brute force: the mean likelihood over many draws from the prior.
    params, query, labels, mean = _setup()
    draws = np.random.default_rng(1).standard_normal((100_000, WAYS, FEATURES))  # as the prior
    unit = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)  # noqa: E731
    scores = 10 * np.einsum("nd,skd->snk", unit(np.float64(query)), unit(draws))
    log_p = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
    evidence = np.log(np.mean(np.exp(log_p[:, np.arange(QUERIES), labels].sum(1))))
    key = jax.random.key(3)
    for scale in (0.1, 1.0):
        for log_std in (-1.0, 0.0):
            q = Gaussian(scale * mean, np.full((WAYS, FEATURES), log_std, np.float32))
            bound, _ = _elbo(params, q, query, labels, key=key, samples=4000)
            assert bound < evidence


def test_beta_weighs_the_kl_term():
    params, query, labels, mean = _setup()
    q = Gaussian(mean, np.full((WAYS, FEATURES), -1, np.float32))
    key = jax.random.key(0)
    bound, (log_likelihood, kl) = _elbo(params, q, query, labels, key=key, beta=0.25)
    np.testing.assert_allclose(bound, log_likelihood - 0.25 * kl, rtol=1e-6)
    assert kl > 0


def test_without_prior_the_loss_is_the_cross_entropy():
    params, query, labels, _ = _setup("point")
    params = params._replace(prior=None)
    episode = sib_jax.Episode(query[:2], np.asarray([0, 1]), query, labels)
    loss, aux = jax.jit(lambda p: sib_jax.negative_elbo(p, episode, steps=2, step_size=0.1))(params)
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
    q = Gaussian(mean, np.full((WAYS, FEATURES), -1, np.float32))
    _, (found, _) = _elbo(params, q, query, labels, key=jax.random.key(4), samples=4000)
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
    episode = sib_jax.Episode(query[:2], np.asarray([0, 1]), query, labels)
    inner, key = Inner(0, 0.0), jax.random.key(5)
    answer = jax.jit(elbo.predict, static_argnums=2)(params, episode, inner, key)
    samples, spreads = jax.jit(elbo.samples, static_argnums=(2, 4)), []
    for log_std in (-12.0, -3.0, -2.0):
        start = params.init_net._replace(log_std=np.full(FEATURES, log_std, np.float32))
        found = samples(params._replace(init_net=start), episode, inner, key, 300)
        assert found.shape == (300, QUERIES, WAYS)
        spreads.append(np.mean(np.std(found, axis=0)))
        if log_std == -12:
            np.testing.assert_allclose(found[7], answer, atol=1e-3)
    np.testing.assert_allclose(spreads[2] / spreads[1], np.e, rtol=0.2)  # cosines are nearly linear
