"""Whether the probabilities of an answer are what they say.

References:
  "On Calibration of Modern Neural Networks" (ICML 2017, arXiv 1706.04599).
"""

import jax
import jax.numpy as jnp
import optax

BINS = 15


def negative_log_likelihood(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean of -log p(right class), nats a query: logits [n, k], int labels [n] -> scalar."""
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))


def reliability(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Sums over queries, by how sure their most likely class is; sums of episodes may be added.

    Args:
      logits: [n, k].
      labels: int [n].

    Returns:
      [BINS, 3]: of each bin of equal width in 0..1 the number of queries, the sum of the largest
      probabilities, and the number of right answers.
    """
    sure = jnp.max(jax.nn.softmax(logits), axis=1)
    right = jnp.argmax(logits, axis=1) == labels
    bins = jnp.clip(jnp.ceil(sure * BINS).astype(int) - 1, 0, BINS - 1)
    of_query = jnp.stack([jnp.ones_like(sure), sure, right.astype(sure.dtype)], axis=1)
    return jax.ops.segment_sum(of_query, bins, BINS)


def expected_calibration_error(bins: jax.Array) -> jax.Array:
    """Mean over queries of |accuracy - confidence| of their bin, 0 to 1 (eq. 3).

    Args:
      bins: sums of `reliability`, [..., BINS, 3].

    Returns:
      [...].
    """
    gap = jnp.abs(bins[..., 2] - bins[..., 1])
    return jnp.sum(gap, axis=-1) / jnp.sum(bins[..., 0], axis=-1)
