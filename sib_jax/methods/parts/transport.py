"""Balanced soft assignments: Sinkhorn's iteration, in the log domain.

References:
  Sinkhorn and Knopp, "Concerning nonnegative matrices and doubly stochastic matrices", Pacific
    Journal of Mathematics 1967.
  Cuturi, "Sinkhorn distances", NeurIPS 2013 (arXiv 1306.0895): its use for entropic transport.
"""

import math

import jax


def balanced(scores: jax.Array, iterations: int) -> jax.Array:
    """Log of the assignment nearest to exp(scores) that gives every class as much.

    exp(scores) is scaled by rows to sum to 1 and by columns to sum to n / k, in turns. The last
    scaling is by columns, so rows sum to 1 up to what the iterations left.

    Args:
      scores: [n, k].
      iterations: how many times both are scaled; the count is fixed.

    Returns:
      [n, k].
    """
    share = math.log(scores.shape[0] / scores.shape[1])

    def step(log_assignment: jax.Array, _: None) -> tuple[jax.Array, None]:
        rows = jax.nn.log_softmax(log_assignment, axis=1)
        return jax.nn.log_softmax(rows, axis=0) + share, None

    return jax.lax.scan(step, scores, None, length=iterations)[0]
