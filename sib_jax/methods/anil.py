"""ANIL: MAML that adapts only the last layer.

On the frozen features of the job's backbone, or with a network of its own that is learned with it
(`end_to_end`), as in the paper.

Differences from the paper: features are brought to unit length and multiplied by a scale, which is
learned; it decides how far a step of fixed size goes. The last layer has no bias.

References:
  Raghu et al., "Rapid learning or feature reuse? Towards understanding the effectiveness of MAML",
    ICLR 2020 (arXiv 1909.09157).
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sib_jax.methods import maml
from sib_jax.methods.method import Classes, Method, cross_entropy
from sib_jax.methods.parts import end_to_end
from sib_jax.methods.parts.checked import scored
from sib_jax.sib.classifier import normalize
from sib_jax.tasks.calibration import negative_log_likelihood
from sib_jax.tasks.episode import Episode


class Settings(NamedTuple):
    """Hyper-parameters.

    Attributes:
      order: 2, or 1 for gradients of the steps taken as constants.
      step_size: of adaptation.
      steps: of adaptation, in training.
      test_steps: in evaluation.
      scale: of the features, before training.
      end_to_end: whether the features are of a Conv4 that is learned too, else frozen.
    """

    order: int = 2
    step_size: float = 0.1
    steps: int = 5
    test_steps: int = 10
    scale: float = 10.0
    end_to_end: bool = False


class Anil(NamedTuple):
    """Parameters.

    Attributes:
      weights: before adaptation, [d, k].
      scale: of features of unit length, a scalar.
    """

    weights: jax.Array
    scale: jax.Array


def logits(
    settings: Settings,
    params: Anil,
    support: jax.Array,
    support_labels: jax.Array,
    query: jax.Array,
    *,
    steps: int,
) -> jax.Array:
    """Scores of the queries under the adapted last layer.

    Args:
      settings: hyper-parameters.
      params: before adaptation.
      support: features [m, d].
      support_labels: int [m], in 0..k-1.
      query: features [n, d].
      steps: of adaptation.

    Returns:
      [n, k].
    """
    support, query = params.scale * normalize(support), params.scale * normalize(query)

    def loss(weights: jax.Array) -> jax.Array:
        return negative_log_likelihood(support @ weights, support_labels)

    adapted = maml.adapt(
        loss, params.weights, steps=steps, step_size=settings.step_size, order=settings.order
    )
    return query @ adapted


def make(settings: Settings, ways: int) -> Method:
    """ANIL on features, or on images where it is end to end."""
    maml.check(settings)

    def init(key: jax.Array, classes: Classes) -> Anil:
        weights = jax.nn.initializers.glorot_uniform()(key, (classes.shape[0], ways))
        # Features have the length `scale`, where Glorot's rule assumes sqrt(d).
        return Anil(weights, jnp.asarray(settings.scale, float))

    def after(steps: int) -> Callable[[Anil, Episode, jax.Array], jax.Array]:
        return scored(functools.partial(logits, settings, steps=steps), ways)

    method = Method("anil", init, after(settings.test_steps), cross_entropy(after(settings.steps)))
    return end_to_end.of(method) if settings.end_to_end else method
