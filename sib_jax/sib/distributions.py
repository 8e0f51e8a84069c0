"""Diagonal Gaussians, point masses and mixtures: q_theta(w) and p_psi(w) of the paper."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

_LOG_2PI = math.log(2 * math.pi)


class Gaussian(NamedTuple):
    """A diagonal Gaussian over vectors of length d.

    Attributes:
      mean: [..., d].
      log_std: [..., d], natural log of the standard deviation.
    """

    mean: jax.Array
    log_std: jax.Array


class PointMass(NamedTuple):
    """All probability on one vector of length d: the limit of a Gaussian of vanishing scale.

    Attributes:
      mean: [..., d], that vector.
    """

    mean: jax.Array


class Mixture(NamedTuple):
    """An equal-weight mixture of c diagonal Gaussians over vectors of length d.

    Attributes:
      means: [c, d], one row a component.
      log_std: [c, d] or, shared by the components, [d].
      chosen: int [b], the components that take part, with equal weights; all unless given.
    """

    means: jax.Array
    log_std: jax.Array
    chosen: jax.Array | None = None


Posterior = Gaussian | PointMass
Prior = Gaussian | Mixture


def sample(q: Posterior, noise: jax.Array) -> jax.Array:
    """The reparameterized sample w(theta, epsilon) = mean + std * epsilon (below eq. 8).

    Args:
      q: mean [..., d]; a point mass ignores the noise.
      noise: standard normal epsilon, [..., d].

    Returns:
      w, [..., d].
    """
    if isinstance(q, PointMass):
        return q.mean
    return q.mean + jnp.exp(q.log_std) * noise


def log_density(p: Prior, w: jax.Array) -> jax.Array:
    """log p(w) in nats, summed over the last axis.

    Args:
      p: Gaussian whose mean has the shape of `w` or [d], or a mixture.
      w: [..., d].

    Returns:
      [...].
    """
    return -kl(PointMass(w), p)


def kl(q: Posterior, p: Prior) -> jax.Array:
    """KL(q || p) in nats, summed over the last axis.

    - Gaussian to Gaussian: exact.
    - Gaussian to mixture: no exact closed form exists; this is the closed-form upper bound
      -log sum_c pi_c exp(-KL(q || p_c)), so that the ELBO stays a lower bound.
    - Point mass: -log p(mean), exact for both. It is KL(q || p) without the entropy of q, which is
      a constant of theta (and infinite) in the limit of vanishing scale.

    Args:
      q: mean [..., d].
      p: Gaussian whose mean is [..., d] or [d], or a mixture over [d].

    Returns:
      [...], at least 0 up to rounding where q is not a point mass.

    Raises:
      TypeError: p is neither a Gaussian nor a mixture.

    References:
      Hershey and Olsen, "Approximating the Kullback Leibler divergence between Gaussian mixture
      models", ICASSP 2007, section 8 (the variational bound, for a single Gaussian q).
    """
    if isinstance(p, Mixture):
        return _kl_to_mixture(q, p)
    if not isinstance(p, Gaussian):
        raise TypeError(
            f"p must be a Gaussian or a Mixture, else KL is infinite; got {type(p).__name__}"
        )
    mean = jnp.broadcast_to(p.mean, q.mean.shape)
    log_std = jnp.broadcast_to(p.log_std, q.mean.shape)
    # Ratios of scales are differences of logs: nothing overflows unless the result does.
    quadratic = 0.5 * jnp.square((q.mean - mean) * jnp.exp(-log_std))
    if isinstance(q, PointMass):
        return jnp.sum(quadratic + log_std + 0.5 * _LOG_2PI, axis=-1)
    log_ratio = q.log_std - log_std
    # expm1 keeps the digits when both scales are almost equal.
    return jnp.sum(quadratic + 0.5 * jnp.expm1(2 * log_ratio) - log_ratio, axis=-1)


def _kl_to_mixture(q: Posterior, p: Mixture) -> jax.Array:
    if p.log_std.ndim == 1:
        to_components = _kl_to_shared_scale(q, p)
    else:
        one = jax.vmap(lambda mean, log_std: kl(q, Gaussian(mean, log_std)), out_axes=-1)
        to_components = one(p.means, p.log_std)
    if p.chosen is not None:
        # Chosen here, not among the means: the product above serves every episode of a batch.
        to_components = to_components[..., p.chosen]
    return math.log(to_components.shape[-1]) - jax.nn.logsumexp(-to_components, axis=-1)


def _kl_to_shared_scale(q: Posterior, p: Mixture) -> jax.Array:
    """KL(q || p_c) for every component; [..., c].

    All components have one scale, so the squared distances are a matrix product: nothing of size
    [..., c, d] is made, which would cost more than all the rest of an inner step.
    """
    # Distances from the components' centre: they are small there, and the product keeps its digits.
    centre = jnp.mean(p.means, axis=0)
    precision = jnp.exp(-p.log_std)
    mean = (q.mean - jnp.broadcast_to(centre, q.mean.shape)) * jnp.broadcast_to(
        precision, q.mean.shape
    )
    means = (p.means - centre[None]) * precision[None]
    cross = mean @ means.T
    lengths = jnp.sum(jnp.square(mean), axis=-1, keepdims=True)
    lengths_c = jnp.broadcast_to(jnp.sum(jnp.square(means), axis=-1), cross.shape)
    distances = lengths - 2 * cross + lengths_c
    log_std = jnp.broadcast_to(p.log_std, q.mean.shape)
    at_the_mean = kl(q, Gaussian(q.mean, log_std))
    return 0.5 * distances + at_the_mean[..., None]
