"""TransCLIP on plain features: a Gaussian mixture with labelled examples; near queries agree.

A Gaussian with its own mean and a shared diagonal variance models each class. Soft labels z of
the queries and the Gaussians maximize the likelihood of the queries under their labels, plus
`support_weight` times that of the labelled examples, plus the affinity w_ij z_i . z_j of near
examples, minus the divergence of z from a first guess. Two updates alternate: z_i is proportional
to guess_i^prior * exp(log p(x_i) / 50 + sum_j w_ij z_j), a few times over; means and variance are
weighted moments, and the means are brought to unit length.

Differences from the authors' code:
  In the paper, the first guess is a vision-language model's, from text embeddings. Plain features
  have none: class means of the support set replace the text, with a scale of 10 rather than the
  100 that CLIP has learned.
  The code chooses `support_weight` among 0.002, 0.01, 0.02 and 0.2 by labelled examples that it
  sets aside; here it is a hyper-parameter. With one shot, large ones are worse than no adaptation:
  the variance is then mostly that of single examples about themselves, which is 0.
  The code lists labelled examples before the queries in its affinities and after them in its
  labels, so that affinities meet labels of other examples, and drops the nearest query of each
  labelled example as if it were the example itself. Both are corrected here.
  Affinities are cosines, not below 0; no query is its own neighbour where features are equal.
  The variance is not below 1e-6.

References:
  Zanella et al., "Boosting vision-language models with transduction", NeurIPS 2024 (arXiv
    2406.01837). github.com/MaxZanella/transduction-for-vlms.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sib_jax.methods.method import Method
from sib_jax.methods.parts.untrained import untrained
from sib_jax.sib.classifier import normalize
from sib_jax.sib.init_net import class_means

LIKELIHOOD_TEMPERATURE = 50.0


class Settings(NamedTuple):
    """Hyper-parameters.

    Attributes:
      scale: of the cosines in the first guess.
      prior: power of the first guess, the paper's lambda.
      support_weight: of the labelled examples in the moments, the paper's gamma.
      neighbours: of every example among the queries.
      steps: updates of the Gaussians.
      label_steps: updates of the labels for each of them.
    """

    scale: float = 10.0
    prior: float = 0.5
    support_weight: float = 0.002
    neighbours: int = 3
    steps: int = 10
    label_steps: int = 5


def affinity(
    features: jax.Array, query: jax.Array, neighbours: int, *, same: bool = False
) -> jax.Array:
    """Cosines to the nearest queries.

    Args:
      features: of unit length [m, d].
      query: of unit length [n, d].
      neighbours: how many of each are kept, fewer where there are fewer.
      same: whether both are the same examples, none of which is its own neighbour.

    Returns:
      [m, n], 0 where the query is not among the nearest.
    """
    cosines = features @ query.T
    number = query.shape[0]
    if same:
        cosines = jnp.where(jnp.eye(number, dtype=bool), -jnp.inf, cosines)
    values, nearest = jax.lax.top_k(cosines, min(neighbours, number - same))
    kept = jax.nn.one_hot(nearest, number, dtype=query.dtype)  # [m, neighbours, n]
    return jnp.sum(kept * jnp.maximum(values, 0)[:, :, None], axis=1)


def logits(
    settings: Settings,
    support: jax.Array,
    support_labels: jax.Array,
    query: jax.Array,
    *,
    ways: int,
) -> jax.Array:
    """Log of the soft labels.

    Args:
      settings: hyper-parameters.
      support: features [m, d].
      support_labels: int [m], in 0..ways-1.
      query: features [n, d].
      ways: k.

    Returns:
      Log-probabilities [n, k].
    """
    support, query = normalize(support), normalize(query)
    # Labels are [k, n]: XLA is faster with long rows.
    member = jax.nn.one_hot(support_labels, ways, dtype=support.dtype, axis=0)  # [k, m]
    start = normalize(class_means(support, support_labels, ways))
    guess = jax.nn.log_softmax(settings.scale * start @ query.T, axis=0)

    neighbours = max(settings.neighbours, 1)  # a divisor; with none the sums are 0 anyway
    among = affinity(query, query, settings.neighbours, same=True)
    among = (among + among.T) / (2 * neighbours)
    to_support = affinity(support, query, settings.neighbours)
    by_support = member @ to_support / (2 * neighbours)

    of_query = 1 / query.shape[0]
    of_support = LIKELIHOOD_TEMPERATURE * settings.support_weight / support.shape[0]
    examples = jnp.concatenate([query, support])
    labelled = of_support * member
    # Labels of an example sum to 1, so sums over classes stay the same.
    squares = of_query * jnp.sum(query**2, axis=0) + of_support * jnp.sum(support**2, axis=0)
    total = 1 + of_support * support.shape[0]

    def label(log_labels: jax.Array, means: jax.Array, variance: jax.Array) -> jax.Array:
        # |x - m|^2 in units of the variance; x . x is the same for all classes.
        scaled = means / variance[None]
        lengths = jnp.sum(means * scaled, axis=1, keepdims=True)
        likelihood = (scaled @ query.T - lengths / 2) / LIKELIHOOD_TEMPERATURE
        fixed = settings.prior * guess + likelihood + by_support

        def step(log_labels: jax.Array, _: None) -> tuple[jax.Array, None]:
            return jax.nn.log_softmax(fixed + jnp.exp(log_labels) @ among, axis=0), None

        return jax.lax.scan(step, log_labels, None, length=settings.label_steps)[0]

    def moments(log_labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        weights = jnp.concatenate([of_query * jnp.exp(log_labels), labelled], axis=1)  # [k, n + m]
        sums = weights @ examples
        means = normalize(sums)
        # Sum over examples and classes of weight (x - m)^2, for each dimension.
        of_means = jnp.sum(weights, axis=1) @ means**2 - 2 * jnp.sum(sums * means, axis=0)
        return means, jnp.maximum((squares + of_means) / total, 1e-6)

    def step(log_labels: jax.Array, _: None) -> tuple[jax.Array, None]:
        return label(log_labels, *moments(log_labels)), None

    dimension = query.shape[1]
    first = label(guess, start, jnp.full((dimension,), 1 / dimension, query.dtype))
    return jax.lax.scan(step, first, None, length=settings.steps)[0].T


def make(settings: Settings, ways: int) -> Method:
    """TransCLIP's Gaussian mixture on features."""
    return untrained("gaussian_em", logits, settings, ways)
