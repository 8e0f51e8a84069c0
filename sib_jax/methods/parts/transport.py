"""Balanced soft assignments: Sinkhorn's iteration.

References:
  Sinkhorn and Knopp, "Concerning nonnegative matrices and doubly stochastic matrices", Pacific
    Journal of Mathematics 1967.
  Cuturi, "Sinkhorn distances", NeurIPS 2013 (arXiv 1306.0895): its use for entropic transport.
  Schmitzer, "Stabilized sparse scaling algorithms for entropy regularized transport problems", SIAM
    Journal on Scientific Computing 2019 (arXiv 1610.06519): factors absorbed into the matrix.
"""

import math

import jax
import jax.numpy as jnp

_ABSORB = 10  # scalings between two exponentials, or fewer


def balanced(scores: jax.Array, iterations: int) -> jax.Array:
    """Log of the assignment nearest to exp(scores) that gives every class an equal share.

    exp(scores) is scaled by rows to sum to 1 and by columns to sum to n / k, alternately. The last
    scaling is by columns, so rows sum to 1 up to what the iterations left. The first turn is in the
    log domain, whatever the size of the scores; after it every row and column has an entry that is
    not small, and some turns at a time are taken on the matrix itself, without exponentials.

    Args:
      scores: [n, k].
      iterations: how many times both are scaled; the count is fixed. With 0, only rows are, once.

    Returns:
      [n, k].
    """
    found = jax.nn.log_softmax(scores.T, axis=0)  # [k, n]: XLA is five times as fast with long rows
    if iterations == 0:
        return found.T
    share = scores.shape[0] / scores.shape[1]

    def scale(log_assignment: jax.Array, times: int) -> jax.Array:
        matrix = jnp.exp(log_assignment)

        def step(of_classes: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
            of_queries = 1 / (of_classes @ matrix)
            return share / (matrix @ of_queries), of_queries

        start = jnp.ones(scores.shape[1], scores.dtype)
        of_classes, of_queries = jax.lax.scan(step, start, None, length=times)
        return log_assignment + jnp.log(of_queries[-1])[None] + jnp.log(of_classes)[:, None]

    found = jax.nn.log_softmax(found, axis=1) + math.log(share)
    # A turn changes a factor by n or k at most: none overflows or underflows in so many turns.
    turns = max(1, min(_ABSORB, int(60 / math.log(max(*scores.shape, 2)))))
    whole, rest = divmod(iterations - 1, turns)
    found = jax.lax.scan(lambda x, _: (scale(x, turns), None), found, None, length=whole)[0]
    return (scale(found, rest) if rest else found).T
