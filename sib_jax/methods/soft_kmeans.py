"""Soft k-means: class means refined by softly assigned queries. Nothing is learned.

Every query is assigned to the classes by a softmax over its distances to the prototypes; support
examples keep their one-hot labels; a prototype becomes the mean of all examples, weighted by the
assignments: p_k = sum_i z_ik x_i / sum_i z_ik.

Differences from the authors' code: theirs uses the squared Euclidean distance on features learned
for it, one step, and unlabelled examples other than the queries; that is `distance="euclidean",
scale=1, steps=1` with the queries as the unlabelled examples. Frozen features of a cosine
classifier want the cosine, times a scale, and several steps: the default.

References:
  Ren et al., "Meta-learning for semi-supervised few-shot classification", ICLR 2018 (arXiv
    1803.00676). github.com/renmengye/few-shot-ssl-public.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sib_jax.methods.method import Method
from sib_jax.methods.parts.untrained import untrained
from sib_jax.methods.simple_shot import squared_distances
from sib_jax.sib.classifier import normalize


class Settings(NamedTuple):
    """Hyper-parameters.

    Attributes:
      steps: how often the prototypes are computed anew; 0 leaves the class means.
      scale: of the cosine, or of minus the squared distance.
      distance: "cosine" or "euclidean".
    """

    steps: int = 10
    scale: float = 10.0
    distance: str = "cosine"


def scores(prototypes: jax.Array, features: jax.Array, *, scale: float, distance: str) -> jax.Array:
    """How near each example is to each prototype, before softmax.

    Args:
      prototypes: [k, d].
      features: [n, d].
      scale: what the scores are multiplied with.
      distance: "cosine", or "euclidean" for minus the squared distance, relative to the nearest.

    Returns:
      [n, k].

    Raises:
      ValueError: the distance is unknown.
    """
    if distance == "cosine":
        return scale * normalize(features) @ normalize(prototypes).T
    if distance == "euclidean":
        distances = squared_distances(features, prototypes)
        # Before they are scaled: XLA may round the product in softmax otherwise than its maximum,
        # and exp of the difference of two large numbers is infinite then.
        return -scale * (distances - jnp.min(distances, axis=1, keepdims=True))
    raise ValueError(f"unknown distance {distance!r}; known are 'cosine' and 'euclidean'")


def refine(
    support: jax.Array,
    support_labels: jax.Array,
    query: jax.Array,
    assign: Callable[[jax.Array], jax.Array],
    *,
    ways: int,
    steps: int,
    scale: float,
    distance: str,
) -> jax.Array:
    """Scores of the queries under prototypes that the queries took part in.

    Args:
      support: features [m, d].
      support_labels: int [m], in 0..ways-1.
      query: features [n, d].
      assign: scores [n, k] -> assignments [n, k].
      ways: k.
      steps: how often the prototypes are computed anew.
      scale: of the scores.
      distance: "cosine" (features of unit length are averaged) or "euclidean".

    Returns:
      [n, k].
    """
    if distance == "cosine":
        support, query = normalize(support), normalize(query)
    member = jax.nn.one_hot(support_labels, ways, dtype=support.dtype)  # [m, k]
    total, count = member.T @ support, jnp.sum(member, axis=0)[:, None]

    def of(prototypes: jax.Array) -> jax.Array:
        return scores(prototypes, query, scale=scale, distance=distance)

    def step(prototypes: jax.Array, _: None) -> tuple[jax.Array, None]:
        weights = assign(of(prototypes))
        counts = count + jnp.sum(weights, axis=0)[:, None]
        return (total + weights.T @ query) / jnp.maximum(counts, 1e-12), None

    means = total / jnp.maximum(count, 1)
    return of(jax.lax.scan(step, means, None, length=steps)[0])


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
    return refine(
        support,
        support_labels,
        query,
        jax.nn.softmax,
        ways=ways,
        steps=settings.steps,
        scale=settings.scale,
        distance=settings.distance,
    )


def make(settings: Settings, ways: int) -> Method:
    """Soft k-means on features."""
    return untrained("soft_kmeans", logits, settings, ways)
