"""The evidence lower bound of one task (eq. 4), on its query set."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sib_jax import classifier, gaussian
from sib_jax.episodes import Episode
from sib_jax.gaussian import Gaussian
from sib_jax.inner_loop import adapt_with_logits
from sib_jax.model import Params, initial_posterior, logits


class Aux(NamedTuple):
    """What a training loop logs beside the loss.

    Attributes:
      log_likelihood: E_q[sum_j log p(y_j | x_j, w)] in nats, a scalar.
      kl: KL(q || p) in nats, a scalar; 0 without a prior.
      accuracy: share of queries classified correctly at the posterior mean, 0 to 1.
      posterior: theta^T.
    """

    log_likelihood: jax.Array
    kl: jax.Array
    accuracy: jax.Array
    posterior: Gaussian


def elbo(
    params: Params,
    posterior: Gaussian,
    query: jax.Array,
    query_labels: jax.Array,
    *,
    key: jax.Array | None = None,
    samples: int = 1,
    beta: float | jax.Array = 1.0,
    base_logits: jax.Array | None = None,
    mean_logits: jax.Array | None = None,
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """E_q[sum_j log p(y_j | x_j, w)] - beta KL(q || p), in nats (eq. 4).

    Args:
      params: meta-learned parameters.
      posterior: q, mean [k, d].
      query: features [n, d].
      query_labels: int [n].
      key: PRNG key, needed for a Gaussian posterior.
      samples: S, samples that estimate the expectation; a point mass needs none.
      beta: weight of the KL term; 1 is the bound itself.
      base_logits: [n, b], scores of further classes k..k+b-1 (see `sib_jax.lwof`).
      mean_logits: [n, k], `sib_jax.logits` of the queries, where the caller has them already: a
        point mass needs no others.

    Returns:
      The bound, and its two parts (log-likelihood, KL).
    """

    def log_likelihood(scores: jax.Array) -> jax.Array:
        if base_logits is not None:
            scores = jnp.concatenate([scores, base_logits], axis=1)
        scores = jax.nn.log_softmax(scores)
        return jnp.sum(jnp.take_along_axis(scores, query_labels[:, None], axis=1))

    def of_sample(epsilon: jax.Array) -> jax.Array:
        weights = gaussian.sample(posterior, epsilon)
        return log_likelihood(classifier.logits(params.classifier, weights, query))

    if posterior.log_std is None:
        if mean_logits is None:
            mean_logits = logits(params, posterior, query)
        expected = log_likelihood(mean_logits)
    elif key is None:
        raise ValueError("the expectation over a Gaussian posterior is sampled: pass key=")
    else:
        noise = jax.random.normal(key, (samples, *posterior.mean.shape))
        expected = jnp.mean(jax.vmap(of_sample)(noise))
    divergence = (
        jnp.zeros(()) if params.prior is None else jnp.sum(gaussian.kl(posterior, params.prior))
    )
    return expected - beta * divergence, (expected, divergence)


def negative_elbo(
    params: Params,
    episode: Episode,
    *,
    steps: int,
    step_size: float | jax.Array,
    key: jax.Array | None = None,
    samples: int = 1,
    beta: float | jax.Array = 1.0,
    checkpoint: bool = False,
) -> tuple[jax.Array, Aux]:
    """The training loss of one episode: minus the ELBO at theta^T, summed over its queries.

    The query labels enter here alone, never theta^T.

    Args:
      params: meta-learned parameters.
      episode: support may be empty where the initialization network needs none.
      steps: T.
      step_size: eta.
      key: PRNG key, needed for a Gaussian posterior.
      samples: S, for the inner loop and for the expectation in the bound.
      beta: weight of the KL term, in the bound and in the inner loop alike: both descend on the
        same objective.
      checkpoint: see `adapt`.

    Returns:
      Loss in nats (a scalar), `Aux`.
    """
    # The gradient network gives k numbers a query, so k is a fact of the parameters.
    ways = params.gradient_net.layers[2].kernel.shape[1]
    inner_key, outer_key = (None, None) if key is None else jax.random.split(key)
    posterior = initial_posterior(
        params, episode.support, episode.support_labels, ways=ways, query=episode.query
    )
    posterior, mean_logits = adapt_with_logits(
        params,
        posterior,
        episode.query,
        steps=steps,
        step_size=step_size,
        key=inner_key,
        samples=samples,
        beta=beta,
        checkpoint=checkpoint,
    )
    bound, (expected, divergence) = elbo(
        params,
        posterior,
        episode.query,
        episode.query_labels,
        key=outer_key,
        samples=samples,
        beta=beta,
        mean_logits=mean_logits,
    )
    accuracy = jnp.mean(jnp.argmax(mean_logits, axis=1) == episode.query_labels)
    return -bound, Aux(expected, divergence, accuracy, posterior)
