"""PT-MAP: power-transformed features, then balanced assignments and class centres alternately.

Features are raised to a power, brought to unit length, then support and queries are centred, each
by its own mean, and brought to unit length again. Then queries are assigned to equally frequent
classes by optimal transport, exp(-10 |f - c_k|^2) balanced by Sinkhorn, and the class centres c_k
move by a share of the way to the mean of support examples and assigned queries; 20 times.

Differences from the authors' code:
  There is no QR decomposition of the features: it is a rotation, which changes nothing in what
  follows.
  Sinkhorn runs a fixed number of iterations, none of which can overflow, where the code goes on
  until all episodes of the batch change by less than 1e-6.
  The power of a negative feature is minus the power of its size. The code needs features that are
  at least 0, as after a ReLU, and gives NaN otherwise; `power=1` may suit other features better.
  A query that equals the queries' mean becomes 0 rather than NaN.

References:
  Hu et al., "Leveraging the feature distribution in transfer-based few-shot learning", ICANN 2021
    (arXiv 2006.03806). github.com/yhu01/PT-MAP.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sib_jax.methods.method import Method
from sib_jax.methods.parts.examples import mean_weights, prepare
from sib_jax.methods.parts.transport import balanced
from sib_jax.methods.parts.untrained import untrained
from sib_jax.sib.classifier import normalize


class Settings(NamedTuple):
    """Hyper-parameters.

    Attributes:
      power: of the features, the paper's beta.
      scale: of the squared distance, the paper's lambda.
      rate: share of the way that centres move, the paper's alpha.
      steps: how often they move.
      iterations: of Sinkhorn, for each assignment.
    """

    power: float = 0.5
    scale: float = 10.0
    rate: float = 0.2
    steps: int = 20
    iterations: int = 100


def power_transform(features: jax.Array, power: float) -> jax.Array:
    """Features of unit length, after a power that makes them more Gaussian.

    Args:
      features: [n, d].
      power: of the size of each entry, to which 1e-6 is added as in the authors' code.

    Returns:
      [n, d].
    """
    size = (jnp.abs(features) + 1e-6) ** power
    return normalize(jnp.where(features < 0, -size, size))


def centred(features: jax.Array) -> jax.Array:
    """Features minus their mean, of unit length.

    Args:
      features: [n, d].

    Returns:
      [n, d].
    """
    return normalize(features - jnp.mean(features, axis=0, keepdims=True))


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
    support = centred(power_transform(support, settings.power))
    query = centred(power_transform(query, settings.power))
    member = jax.nn.one_hot(support_labels, ways, dtype=support.dtype)
    count = jnp.sum(member, axis=0)[:, None]
    passes = 2 * settings.steps + 1
    examples = prepare(jnp.concatenate([support, query]), ways=ways, passes=passes)

    def assign(centres: jax.Array) -> jax.Array:
        distances = examples.squared_distances(centres)[:, support.shape[0] :].T
        return balanced(-settings.scale * distances, settings.iterations)

    def step(centres: jax.Array, _: None) -> tuple[jax.Array, None]:
        weights = jnp.exp(assign(centres))
        total = count + jnp.sum(weights, axis=0)[:, None]
        means = examples.combined(jnp.concatenate([member, weights]).T / total)
        return centres + settings.rate * (means - centres), None

    start = examples.combined(mean_weights(examples, support_labels, ways))
    return assign(jax.lax.scan(step, start, None, length=settings.steps)[0])


def make(settings: Settings, ways: int) -> Method:
    """PT-MAP on features."""
    return untrained("pt_map", logits, settings, ways, balances=True)
