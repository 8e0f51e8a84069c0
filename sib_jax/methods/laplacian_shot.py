"""LaplacianShot: nearest prototypes, with a Laplacian term that makes near queries agree.

Soft labels y minimize sum_q y_q . d_q + (lambda / 2) sum_qp w_qp |y_q - y_p|^2 with an entropy
barrier, d_q being the squared distances to the prototypes and w_qp = 1 where p is among the nearest
neighbours of q. Each step minimizes a bound of it, for all queries at once:
y_q = softmax(-d_q + lambda sum_p w_qp y_p). Prototypes are rectified as in `bd_cspn`.

Differences from the authors' code:
  The number of steps is fixed, where the code stops once the energy changes by less than 1e-6.
  A query is never its own neighbour; the code drops the first of the 3 nearest, which is another
  one where features are equal. So `neighbours = 2` is the code's `knn = 3`.
  The code centres with the mean of the base classes. It may be given as `centre`; where it is not,
  the mean of the episode is taken.
  The code tunes lambda on validation tasks. Where `weight` is None, the values that Veilleux et al.
  (see `alpha_tim`) found for mini-ImageNet and ResNet-18 stand.

References:
  Ziko et al., "Laplacian regularized few-shot learning", ICML 2020 (arXiv 2006.15486).
  github.com/imtiazziko/LaplacianShot.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sib_jax.methods.bd_cspn import rectified_as_code, shift
from sib_jax.methods.method import Method
from sib_jax.methods.parts.untrained import untrained
from sib_jax.methods.simple_shot import squared_distances, transform
from sib_jax.sib.init_net import class_means


class Settings(NamedTuple):
    """Hyper-parameters.

    Attributes:
      weight: lambda, of the Laplacian term; None for 0.7 with one shot and 0.3 with more.
      neighbours: of every query.
      steps: bound updates.
      rectify: whether prototypes are rectified by the queries, else they are class means.
      normalization: "UN", "L2N" or "CL2N", see `simple_shot`.
    """

    weight: float | None = None
    neighbours: int = 2
    steps: int = 20
    rectify: bool = True
    normalization: str = "CL2N"


def affinity(query: jax.Array, neighbours: int) -> jax.Array:
    """Which queries are the nearest neighbours of which.

    Args:
      query: features [n, d].
      neighbours: of each; n - 1 where that is less.

    Returns:
      [n, n]: 1 where the column is among the nearest of the row, 0 elsewhere and on the diagonal.
    """
    number = query.shape[0]
    itself = jnp.eye(number, dtype=bool)
    distances = jnp.where(itself, jnp.inf, squared_distances(query, query))
    nearest = jax.lax.top_k(-distances, min(neighbours, number - 1))[1]
    return jnp.sum(jax.nn.one_hot(nearest, number, dtype=query.dtype), axis=1)


def logits(
    settings: Settings,
    support: jax.Array,
    support_labels: jax.Array,
    query: jax.Array,
    *,
    ways: int,
    centre: jax.Array | None = None,
) -> jax.Array:
    """Log of the soft labels.

    Args:
      settings: hyper-parameters.
      support: features [m, d].
      support_labels: int [m], in 0..ways-1.
      query: features [n, d].
      ways: k.
      centre: what CL2N subtracts, [d]; the episode's mean where None.

    Returns:
      Log-probabilities [n, k].
    """
    weight = settings.weight
    if weight is None:
        weight = 0.7 if support.shape[0] <= ways else 0.3
    support, query = transform(support, query, normalization=settings.normalization, centre=centre)
    if settings.rectify:
        moved = shift(support, query)
        prototypes = rectified_as_code(support, support_labels, moved, ways=ways)
    else:
        prototypes = class_means(support, support_labels, ways)
    near = -squared_distances(query, prototypes)
    neighbourhood = weight * affinity(query, settings.neighbours)

    def step(log_labels: jax.Array, _: None) -> tuple[jax.Array, None]:
        return jax.nn.log_softmax(near + neighbourhood @ jnp.exp(log_labels), axis=1), None

    return jax.lax.scan(step, jax.nn.log_softmax(near, axis=1), None, length=settings.steps)[0]


def make(settings: Settings, ways: int) -> Method:
    """LaplacianShot on features."""
    return untrained("laplacian_shot", logits, settings, ways)
