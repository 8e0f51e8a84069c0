"""Soft k-means: class means refined by softly assigned queries. Nothing is learned.

Every query is assigned to the classes by a softmax over its distances to the prototypes; support
examples keep their one-hot labels; a prototype becomes the mean of all examples, weighted by the
assignments: p_k = sum_i z_ik x_i / sum_i z_ik.

Differences from the authors' code: theirs uses the squared Euclidean distance on features learned
for it, one step, and unlabelled examples other than the queries; that is `distance="euclidean",
scale=1, steps=1` with the queries as the unlabelled examples. Frozen features of a cosine
classifier call for the cosine, times a scale, and several steps: the default.

References:
  Ren et al., "Meta-learning for semi-supervised few-shot classification", ICLR 2018 (arXiv
    1803.00676). github.com/renmengye/few-shot-ssl-public.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sib_jax.methods.method import Method
from sib_jax.methods.parts.examples import Examples, prepare
from sib_jax.methods.parts.untrained import untrained
from sib_jax.sib.classifier import normalize


class Settings(NamedTuple):
    """Hyper-parameters.

    Attributes:
      steps: how often the prototypes are recomputed; 0 leaves the class means.
      scale: of the cosine, or of minus the squared distance.
      distance: "cosine" or "euclidean".
      centre: whether cosines are those of differences from the task's mean, since features of a
        model that was not trained with cosines all point much the same way; ours gain nothing.
    """

    steps: int = 10
    scale: float = 10.0
    distance: str = "cosine"
    centre: bool = False


def scores(settings: Any, examples: Examples, prototypes: jax.Array, shots: int) -> jax.Array:
    """How near each query is to each prototype, before softmax.

    Args:
      settings: with the fields of `Settings`, or more.
      examples: the support examples, then the queries.
      prototypes: combinations of them.
      shots: how many the former are, m.

    Returns:
      [k, n]; minus squared distances are relative to the nearest.

    Raises:
      ValueError: the distance is unknown.
    """
    if settings.distance == "cosine":
        return settings.scale * examples.cosines(prototypes)[:, shots:]
    if settings.distance == "euclidean":
        distances = examples.squared_distances(prototypes)[:, shots:]
        # Before they are scaled: XLA may round the product in softmax differently from its maximum,
        # and then exp of the difference of two large numbers is infinite.
        return -settings.scale * (distances - jnp.min(distances, axis=0, keepdims=True))
    raise ValueError(f"unknown distance {settings.distance!r}; known are 'cosine' and 'euclidean'")


def refine(
    settings: Any,
    support: jax.Array,
    support_labels: jax.Array,
    query: jax.Array,
    assign: Callable[[jax.Array], jax.Array],
    *,
    ways: int,
) -> jax.Array:
    """Scores of the queries under prototypes that were refined with them.

    Args:
      settings: as in `scores`.
      support: features [m, d].
      support_labels: int [m], in 0..ways-1.
      query: features [n, d].
      assign: scores [k, n] -> assignments [k, n].
      ways: k.

    Returns:
      [k, n], with which XLA is faster than with [n, k].
    """
    given = jnp.concatenate([support, query])
    if settings.distance == "cosine":  # features of unit length are averaged
        given = normalize(given)
        if settings.centre:
            given = normalize(given - jnp.mean(given, axis=0, keepdims=True))
    examples = prepare(given, ways=ways, passes=2 * settings.steps + 1)
    member = jax.nn.one_hot(support_labels, ways, dtype=given.dtype, axis=0)  # [k, m]

    def means(assigned: jax.Array) -> jax.Array:
        weights = jnp.concatenate([member, assigned], axis=1)
        total = jnp.sum(weights, axis=1, keepdims=True)
        return examples.combined(weights / jnp.maximum(total, 1e-12))

    def seen(prototypes: jax.Array) -> jax.Array:
        return scores(settings, examples, prototypes, support.shape[0])

    def step(prototypes: jax.Array, _: None) -> tuple[jax.Array, None]:
        return means(assign(seen(prototypes))), None

    start = means(jnp.zeros((ways, query.shape[0]), given.dtype))
    return seen(jax.lax.scan(step, start, None, length=settings.steps)[0])


def logits(
    settings: Settings,
    support: jax.Array,
    support_labels: jax.Array,
    query: jax.Array,
    *,
    ways: int,
) -> jax.Array:
    """Scores under the refined prototypes; their softmax is the last assignment.

    Args:
      settings: hyper-parameters.
      support: features [m, d].
      support_labels: int [m], in 0..ways-1.
      query: features [n, d].
      ways: k.

    Returns:
      [n, k].
    """
    assign = functools.partial(jax.nn.softmax, axis=0)
    return refine(settings, support, support_labels, query, assign, ways=ways).T


def make(settings: Settings, ways: int) -> Method:
    """Soft k-means on features."""
    return untrained("soft_kmeans", logits, settings, ways)
