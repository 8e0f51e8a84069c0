"""Sinkhorn k-means: soft k-means whose assignments give every class the same number of queries.

The assignment of the queries is entropic optimal transport from the queries to the prototypes with
uniform marginals, found by Sinkhorn's iteration; support examples keep their one-hot labels; a
prototype is the weighted mean of both. It assumes that the classes are equally frequent among the
queries.

Differences from the authors' code: theirs clusters without a support set from random centroids,
under the squared Euclidean distance times 100, adds noise to the centroids, and starts each run of
Sinkhorn from the last one's dual variables. Here the support set gives the first centroids and
takes part in the means, nothing is random, and each run of Sinkhorn starts anew.

References:
  Huang et al., "Are few-shot learning benchmarks too simple? Solving them without task supervision
    at test-time", 2019 (arXiv 1902.08605). github.com/gabrielhuang/centroid-networks.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sib_jax.methods.method import Method
from sib_jax.methods.parts.transport import balanced
from sib_jax.methods.parts.untrained import untrained
from sib_jax.methods.soft_kmeans import refine


class Settings(NamedTuple):
    """Hyper-parameters.

    Attributes:
      steps: how often the prototypes are recomputed; 0 leaves the class means.
      scale: of the cosine, or of minus the squared distance.
      distance: "cosine" or "euclidean".
      iterations: of Sinkhorn, for each assignment.
      centre: as in `soft_kmeans`.
    """

    steps: int = 10
    scale: float = 10.0
    distance: str = "cosine"
    iterations: int = 20
    centre: bool = False


def logits(
    settings: Settings,
    support: jax.Array,
    support_labels: jax.Array,
    query: jax.Array,
    *,
    ways: int,
) -> jax.Array:
    """Log of the balanced assignment of the queries.

    Args:
      settings: hyper-parameters.
      support: features [m, d].
      support_labels: int [m], in 0..ways-1.
      query: features [n, d].
      ways: k.

    Returns:
      [n, k]; exp of it sums to n / k in every column, and nearly to 1 in every row.
    """

    def assign(scores: jax.Array) -> jax.Array:
        return jnp.exp(balanced(scores.T, settings.iterations)).T

    found = refine(settings, support, support_labels, query, assign, ways=ways)
    return balanced(found.T, settings.iterations)


def make(settings: Settings, ways: int) -> Method:
    """Sinkhorn k-means on features."""
    return untrained("sinkhorn_kmeans", logits, settings, ways, balances=True)
