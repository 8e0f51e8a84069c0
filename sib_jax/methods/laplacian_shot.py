"""LaplacianShot: nearest prototypes, with a Laplacian term that makes near queries agree.

Soft labels y minimize sum_q y_q . d_q + (lambda / 2) sum_qp w_qp |y_q - y_p|^2 with an entropy
barrier, d_q being the squared distances to the prototypes and w_qp = 1 where p is among the nearest
neighbours of q. Each step minimizes a bound on it, for all queries at once:
y_q = softmax(-d_q + lambda sum_p w_qp y_p). Prototypes are rectified as in `bd_cspn`.

Differences from the authors' code:
  The number of steps is fixed, where the code stops once the energy changes by less than 1e-6.
  A query is never its own neighbour; the code drops the first of the 3 nearest, which is another
  one where features are equal. So `neighbours = 2` is the code's `knn = 3`.
  The code centres with the mean of the base classes, as `centre="base"` does in a run. The default
  is the mean of the episode, which needs no base classes.
  The code tunes lambda on validation tasks. Where `weight` is None, the values that Veilleux et al.
  (see `alpha_tim`) found for mini-ImageNet and ResNet-18 are used.

References:
  Ziko et al., "Laplacian regularized few-shot learning", ICML 2020 (arXiv 2006.15486).
  github.com/imtiazziko/LaplacianShot.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sib_jax.methods.bd_cspn import rectified_as_code
from sib_jax.methods.method import Method
from sib_jax.methods.parts.distances import transform
from sib_jax.methods.parts.examples import Examples, mean_weights
from sib_jax.methods.parts.untrained import centred_untrained


class Settings(NamedTuple):
    """Hyper-parameters.

    Attributes:
      weight: lambda, of the Laplacian term; None for 0.7 with one shot and 0.3 with more.
      neighbours: of every query.
      steps: bound updates.
      rectify: whether prototypes are rectified by the queries, else they are class means.
      normalization: "UN", "L2N" or "CL2N", see `simple_shot`.
      centre: whose mean CL2N subtracts, the "episode"'s or the "base" classes'.
    """

    weight: float | None = None
    neighbours: int = 2
    steps: int = 20
    rectify: bool = True
    normalization: str = "CL2N"
    centre: str = "episode"


def affinity(products: jax.Array, neighbours: int) -> jax.Array:
    """Which queries are the nearest neighbours of which.

    Args:
      products: inner products of every query with every one, [n, n].
      neighbours: of each; n - 1 where that is less.

    Returns:
      [n, n]: 1 where the column is among the nearest of the row, 0 elsewhere and on the diagonal.
    """
    number = products.shape[0]
    nearness = 2 * products - jnp.diagonal(products)[None]  # minus the squared distance, and |q|^2
    nearness = jnp.where(jnp.eye(number, dtype=bool), -jnp.inf, nearness)
    nearest = jax.lax.top_k(nearness, min(neighbours, number - 1))[1]
    return jnp.sum(jax.nn.one_hot(nearest, number, dtype=products.dtype), axis=1)


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
    given = jnp.concatenate([support, query])
    products = given @ given.T
    examples = Examples(given, jnp.diagonal(products), products)
    if settings.rectify:
        weights = rectified_as_code(examples, support_labels, ways=ways)
    else:
        weights = mean_weights(examples, support_labels, ways)
    shots = support.shape[0]
    # [k, n] from here: XLA is twice as fast with long rows.
    near = -examples.squared_distances(examples.combined(weights))[:, shots:]
    neighbourhood = weight * affinity(products[shots:, shots:], settings.neighbours).T

    def step(log_labels: jax.Array, _: None) -> tuple[jax.Array, None]:
        return jax.nn.log_softmax(near + jnp.exp(log_labels) @ neighbourhood, axis=0), None

    return jax.lax.scan(step, jax.nn.log_softmax(near, axis=0), None, length=settings.steps)[0].T


def make(settings: Settings, ways: int) -> Method:
    """LaplacianShot on features."""
    return centred_untrained("laplacian_shot", logits, settings, ways)
