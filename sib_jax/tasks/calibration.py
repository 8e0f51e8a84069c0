"""How well calibrated probabilities are, and what corrects them: a temperature, an offset.

References:
  "On Calibration of Modern Neural Networks" (ICML 2017, arXiv 1706.04599).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

BINS = 15
_LARGEST = 1e3  # temperatures are searched up to it, and down to its inverse
_STEPS = 40


def negative_log_likelihood(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean of -log p(right class), nats per query: logits [n, k], int labels [n] -> scalar."""
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))


def reliability(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Sums over queries, by the probability of their likeliest class; episodes' sums may be added.

    Args:
      logits: [n, k].
      labels: int [n].

    Returns:
      [BINS, 3]: for each bin of equal width in 0..1, the number of queries, the sum of the largest
      probabilities, and the number of right answers.
    """
    sure = jnp.max(jax.nn.softmax(logits), axis=1)
    right = jnp.argmax(logits, axis=1) == labels
    bins = jnp.clip(jnp.ceil(sure * BINS).astype(int) - 1, 0, BINS - 1)
    of_query = jnp.stack([jnp.ones_like(sure), sure, right.astype(sure.dtype)], axis=1)
    return jax.ops.segment_sum(of_query, bins, BINS)


def expected_calibration_error(bins: jax.Array | np.ndarray) -> jax.Array:
    """Mean over queries of |accuracy - confidence| of their bin, 0 to 1 (eq. 3).

    Args:
      bins: sums of `reliability`, [..., BINS, 3].

    Returns:
      [...].
    """
    gap = jnp.abs(bins[..., 2] - bins[..., 1])
    return jnp.sum(gap, axis=-1) / jnp.sum(bins[..., 0], axis=-1)


def temperature(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The T at which logits / T have the least negative log-likelihood (section 4.2).

    It is convex in 1 / T, and minimized by Newton's method on log T, with bisection where a step
    would leave the bracket.

    Args:
      logits: [n, k], finite.
      labels: int [n].

    Returns:
      Scalar from 1e-3 to 1e3, even where the minimum is outside.
    """
    # Queries last: sums over few classes are slow where they run along the last axis.
    logits = (logits - jnp.max(logits, axis=1, keepdims=True)).T
    right = jnp.take_along_axis(logits, labels[None], axis=0)[0]

    def derivatives(sharpness: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The first and second of the negative log-likelihood in log sharpness."""
        scale = jnp.exp(sharpness)
        p = jnp.exp(scale * logits)  # at most 1
        total = jnp.sum(p, axis=0)
        mean = jnp.sum(p * logits, axis=0) / total
        variance = jnp.sum(p * (logits - mean[None]) ** 2, axis=0) / total
        slope = scale * jnp.mean(mean - right)
        return slope, slope + scale**2 * jnp.mean(variance)

    def unfinished(state: _Search) -> jax.Array:
        return (jnp.abs(state.moved) > 1e-4) & (state.step < _STEPS)

    def move(state: _Search) -> _Search:
        low, high, at, _, step = state
        slope, curvature = derivatives(at)
        low, high = jnp.where(slope < 0, at, low), jnp.where(slope < 0, high, at)
        newton = at - slope / curvature
        inside = (low < newton) & (newton < high) & (curvature > 0)
        to = jnp.where(inside, newton, (low + high) / 2)
        return _Search(low, high, to, to - at, step + 1)

    edge = jnp.log(_LARGEST)
    start = _Search(-edge, edge, jnp.zeros_like(edge), edge, jnp.zeros((), int))
    return jnp.exp(-jax.lax.while_loop(unfinished, move, start).at)


def novel_offset(logits: np.ndarray, labels: np.ndarray, ways: int) -> float:
    """What to add to the novel classes' logits for the most right answers among all classes.

    Training sees images of the base classes that the backbone knows, evaluation sees new ones, so
    one of the two kinds of classes is favoured. A query changes sides where the offset passes the
    gap between its best base and its best novel logit: the count is exact.

    Args:
      logits: [n, ways + b], finite.
      labels: int [n], the column of the right answer.
      ways: k, the novel classes, which come first.

    Returns:
      The middle of the interval of the best offsets, of several intervals the middle nearest to 0;
      0 where no offset is better than none.
    """
    novel, base = logits[:, :ways], logits[:, ways:]
    gap = base.max(axis=1).astype(float) - novel.max(axis=1)
    # What an offset above the gap gains: a novel query that is then right, or a base one then lost.
    gain = (novel.argmax(axis=1) == labels).astype(int) - (base.argmax(axis=1) == labels - ways)
    edges, place = np.unique(gap, return_inverse=True)
    gains = np.bincount(place, gain)
    edges, gains = edges[gains != 0], gains[gains != 0]
    if not len(edges):
        return 0.0
    right = np.append(0, np.cumsum(gains))  # above each edge, up to a constant
    middles = np.concatenate([[edges[0] - 1], (edges[:-1] + edges[1:]) / 2, [edges[-1] + 1]])
    # An offset that equals the gap leaves a tie, which argmax gives to the novel class.
    if right[np.searchsorted(edges, 0, side="right")] == right.max():
        return 0.0
    best = middles[right == right.max()]
    return float(best[np.abs(best).argmin()])


class _Search(NamedTuple):
    """The minimum is between `low` and `high`, in log sharpness; `at` is the last guess."""

    low: jax.Array
    high: jax.Array
    at: jax.Array
    moved: jax.Array
    step: jax.Array
