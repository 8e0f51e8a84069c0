"""Follows the inner loop step by step: theta^0 ... theta^T, and how good its gradients are.

For inspection, not for training: it reads the query labels, to compare the synthetic gradient with
the true one.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sib_jax.sib import classifier, distributions, elbo, inner_loop
from sib_jax.sib.distributions import Posterior
from sib_jax.sib.inner_loop import Inner
from sib_jax.sib.params import Params
from sib_jax.tasks.episode import Episode


class Trajectory(NamedTuple):
    """The inner loop of one episode.

    Attributes:
      weights: mean of theta^t, [T + 1, k, d].
      logits: of the queries at it, [T + 1, n, k], or [T + 1, n, k + b] with b base classes.
      kl: beta KL(q || p) in nats, [T + 1]; 0 without a prior.
      cosine: between the synthetic and the true gradient of the query loss with respect to theta,
        [T], each at the theta^t where its step starts. The KL term, which both share, is left out.
    """

    weights: jax.Array
    logits: jax.Array
    kl: jax.Array
    cosine: jax.Array


def trajectory(
    params: Params, episode: Episode, inner: Inner, key: jax.Array | None = None
) -> Trajectory:
    """The steps of `elbo.predict` with the same arguments, one by one; labels are needed."""
    params, start, base, seen = elbo.begin(params, episode, inner)
    start = inner_loop.in_one_type(params, start, episode.query, inner)
    prepared = classifier.prepare(params.classifier, episode.query)
    queries, ways = episode.query.shape[0], start.mean.shape[0]
    none = jnp.zeros((queries, 0), episode.query.dtype)
    base = none if base is None else base
    seen = none if seen is None else seen
    right = jax.nn.one_hot(episode.true_labels, ways + base.shape[1])

    def true_gradient(logits: jax.Array) -> jax.Array:
        """Of the query loss, minus the sum of log p(y_j | x_j, w), with respect to [n, k]."""
        p = jax.nn.softmax(jnp.concatenate([logits, base], axis=1))
        return (p - right)[:, :ways]

    def cosine(theta: Posterior, noise: jax.Array) -> jax.Array:
        logits, pull_back = inner_loop.sampled_logits(params, theta, prepared, noise)
        made = _flat(pull_back(inner_loop.synthetic(params, logits, seen))[0])
        true = _flat(pull_back(jax.vmap(true_gradient)(logits))[0])
        return jnp.vdot(classifier.normalize(made), classifier.normalize(true))

    def look(theta: Posterior) -> tuple[jax.Array, jax.Array, jax.Array]:
        logits = classifier.logits_of_prepared(params.classifier, theta.mean, prepared)
        prior = params.prior
        kl = jnp.zeros(()) if prior is None else jnp.sum(distributions.kl(theta, prior))
        return theta.mean, jnp.concatenate([logits, base], axis=1), inner.beta * kl

    def advance(
        theta: Posterior, t: jax.Array
    ) -> tuple[Posterior, tuple[tuple[jax.Array, jax.Array, jax.Array], jax.Array]]:
        noise = inner_loop.noise_of_step(theta, key, t, inner.samples)
        after = inner_loop.step(params, theta, prepared, seen, inner, noise)
        return after, (look(theta), cosine(theta, noise))

    end, (before, cosines) = jax.lax.scan(advance, start, jnp.arange(inner.steps))
    pairs = zip(before, look(end), strict=True)
    weights, logits, kl = (jnp.concatenate([x, last[None]]) for x, last in pairs)
    return Trajectory(weights, logits, kl, cosines)


def _flat(theta: Posterior) -> jax.Array:
    return jnp.concatenate([jnp.ravel(x) for x in jax.tree.leaves(theta)])
