import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sib_jax.sib import distributions
from sib_jax.sib.distributions import Gaussian, Mixture, PointMass

_kl = jax.jit(distributions.kl)
_gradient = jax.jit(jax.grad(distributions.kl))
_log_density = jax.jit(distributions.log_density)


def _random(seed, d=4):
    rng = np.random.default_rng(seed)
    mean, log_std = rng.standard_normal((2, d)).astype(np.float32)
    return Gaussian(mean, np.float32(0.3) * log_std)


def _monte_carlo_kl(q, p, samples=200_000):
    """E_q[log q - log p] from the textbook densities, in float64."""
    rng = np.random.default_rng(0)
    mean, std = np.float64(q.mean), np.exp(np.float64(q.log_std))
    w = mean + std * rng.standard_normal((samples, len(mean)))

    def log_normal(w, mean, std):
        z = (w - mean) / std
        return np.sum(-0.5 * z**2 - np.log(std) - 0.5 * np.log(2 * np.pi), -1)

    if isinstance(p, Mixture):
        parts = [
            log_normal(w, np.float64(m), np.exp(np.float64(p.log_std))) for m in np.asarray(p.means)
        ]
        log_p = np.logaddexp.reduce(parts) - np.log(len(parts))
    else:
        log_p = log_normal(w, np.float64(p.mean), np.exp(np.float64(p.log_std)))
    difference = log_normal(w, mean, std) - log_p
    return difference.mean(), 4 * difference.std() / np.sqrt(samples)


def test_kl_between_gaussians_is_the_monte_carlo_expectation():
    q, p = _random(0), _random(1)
    expected, error = _monte_carlo_kl(q, p)
    assert abs(float(_kl(q, p)) - expected) < error


def test_kl_to_a_mixture_is_an_upper_bound_and_tight_where_components_lie_apart():
    q = _random(0)
    apart = np.random.default_rng(2).standard_normal((8, 4)).astype(np.float32) / 2
    near = Mixture(q.mean[None] + apart, np.zeros(4, np.float32))
    expected, error = _monte_carlo_kl(q, near)
    assert float(_kl(q, near)) > expected - error

    far = Mixture(np.stack([q.mean, q.mean + 100, q.mean - 100]), np.zeros(4, np.float32))
    expected, error = _monte_carlo_kl(q, far)
    assert abs(float(_kl(q, far)) - expected) < error + 1e-4


def test_kl_to_a_mixture_of_one_is_the_kl_to_it():
    q, p = _random(0), _random(1)
    mixture = Mixture(p.mean[None], p.log_std)
    np.testing.assert_allclose(_kl(q, mixture), _kl(q, p), rtol=1e-6)


def test_components_may_have_scales_of_their_own():
    rng = np.random.default_rng(4)
    means = rng.standard_normal((2, 5, 4)).astype(np.float32)
    scales = rng.uniform(-1, 1, (5, 4)).astype(np.float32)
    q = Gaussian(means[0, :3], np.full((3, 4), -0.5, np.float32))
    chosen = [3, 0, 4]
    found = _kl(q, Mixture(means[1], scales, np.asarray(chosen)))
    one_by_one = [_kl(q, Gaussian(means[1, c], scales[c])) for c in chosen]
    bound = -np.log(np.mean(np.exp(-np.float64(one_by_one)), axis=0))
    np.testing.assert_allclose(found, bound, rtol=1e-5)


def test_kl_to_oneself_is_zero_and_never_negative():
    q = _random(0)
    assert float(_kl(q, q)) == 0
    for seed in range(20):
        assert float(_kl(q, Gaussian(q.mean, q.log_std + np.float32(1e-3 * seed)))) >= 0


@pytest.mark.parametrize("log_scale", [-30.0, 0.0, 30.0])
def test_kl_and_its_gradient_keep_their_digits_at_every_scale(log_scale):
    # KL is unchanged when the unit of w changes.
    scale = np.exp(np.float32(log_scale))
    q, p = _random(0), _random(1)
    scaled = [Gaussian(g.mean * scale, g.log_std + np.float32(log_scale)) for g in (q, p)]
    np.testing.assert_allclose(_kl(*scaled), _kl(q, p), rtol=1e-4)
    gradient = _gradient(*scaled)
    assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(gradient))


def test_kl_of_close_scales_keeps_its_digits():
    # The textbook form (ratio - 1 - log ratio) / 2 has lost all of them here: the value is 2e-8.
    q, p = Gaussian(jnp.zeros(1), jnp.full(1, 1e-4)), Gaussian(jnp.zeros(1), jnp.zeros(1))
    exact = 0.5 * (np.expm1(2e-4) - 2e-4)
    assert abs(float(_kl(q, p)) - exact) < 2e-11


def test_point_mass_is_minus_log_density():
    p, w = _random(1), np.float32([0.3, -0.2, 1, 0])
    density = np.prod(
        [
            np.exp(-((x - m) ** 2) / (2 * np.exp(2 * s))) / np.sqrt(2 * np.pi * np.exp(2 * s))
            for x, m, s in zip(w, p.mean, p.log_std, strict=True)
        ]
    )
    np.testing.assert_allclose(_log_density(p, w), np.log(density), rtol=1e-5)
    mixture = Mixture(np.stack([p.mean, p.mean]), p.log_std)
    np.testing.assert_allclose(_log_density(mixture, w), np.log(density), rtol=1e-5)


def test_point_mass_is_the_limit_of_a_vanishing_scale():
    # KL(q || p) + entropy(q) tends to -log p(mean).
    p, mean = _random(1), np.float32([0.3, -0.2, 1, 0])
    log_std = np.full(4, -12, np.float32)
    entropy = np.sum(log_std) + 2 * (1 + np.log(2 * np.pi))
    limit = _kl(Gaussian(mean, log_std), p) + entropy
    np.testing.assert_allclose(limit, _kl(PointMass(mean), p), rtol=1e-5)


def test_rows_are_summed_one_by_one():
    q = Gaussian(jnp.ones((3, 4)), jnp.zeros((3, 4)))
    p = Gaussian(jnp.zeros(4), jnp.zeros(4))
    np.testing.assert_allclose(_kl(q, p), jnp.full(3, 2.0))


def test_samples_have_the_mean_and_scale_asked_for():
    q = _random(0)
    noise = jax.random.normal(jax.random.key(3), (100_000, 4))
    w = jax.vmap(distributions.sample, (None, 0))(q, noise)
    np.testing.assert_allclose(w.mean(0), q.mean, atol=0.02)
    np.testing.assert_allclose(w.std(0), jnp.exp(q.log_std), rtol=0.02)


def test_a_point_mass_cannot_be_a_prior():
    with pytest.raises(TypeError, match="KL is infinite"):
        distributions.kl(_random(0), PointMass(jnp.zeros(4)))
