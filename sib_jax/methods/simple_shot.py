"""SimpleShot: the nearest class mean of features that are centred and brought to unit length.

The paper compares three transformations: UN leaves the features alone, L2N divides by the length,
and CL2N subtracts the mean feature of the base classes first. The class of a query is that of the
nearest mean in Euclidean distance.

The paper's CL2N is `normalization="CL2N", centre="base"`, which needs base classes: those of a run.
Without any, `centre="episode"` subtracts the mean over the support and query examples of the
episode, which makes the method transductive, and different from the paper's. So L2N is the
default. The score is minus the squared distance, which the paper does not need.

References:
  Wang et al., "SimpleShot: revisiting nearest-neighbor classification for few-shot learning", 2019
    (arXiv 1911.04623). github.com/mileyan/simple_shot.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sib_jax.methods.method import Method
from sib_jax.methods.parts.distances import centred, squared_distances
from sib_jax.methods.parts.untrained import centred_untrained
from sib_jax.sib.classifier import inverse_length, normalize
from sib_jax.sib.init_net import class_means


class Settings(NamedTuple):
    """Hyper-parameters.

    Attributes:
      normalization: "UN", "L2N" or "CL2N".
      centre: whose mean CL2N subtracts, the "episode"'s or the "base" classes'.
    """

    normalization: str = "L2N"
    centre: str = "episode"


def logits(
    settings: Settings,
    support: jax.Array,
    support_labels: jax.Array,
    query: jax.Array,
    *,
    ways: int,
    centre: jax.Array | None = None,
) -> jax.Array:
    """Minus the squared distance to each class mean.

    Args:
      settings: hyper-parameters.
      support: features [m, d].
      support_labels: int [m], in 0..ways-1.
      query: features [n, d].
      ways: k.
      centre: what CL2N subtracts, [d]: the base classes' mean in the paper, the episode's where
        None.

    Returns:
      [n, k].
    """
    support, query = centred(support, query, settings.normalization, centre)
    if settings.normalization == "UN":
        return -squared_distances(query, class_means(support, support_labels, ways))
    # A query's length is divided out of its k products, not its d entries, in half the time.
    means = class_means(normalize(support), support_labels, ways)
    inverse = inverse_length(query)
    products = (query @ means.T) * inverse
    return -jnp.maximum(1 + jnp.sum(means * means, axis=1)[None] - 2 * products, 0)


def make(settings: Settings, ways: int) -> Method:
    """SimpleShot on features."""
    return centred_untrained(f"simple_shot {settings.normalization}", logits, settings, ways)
