"""Prototypical networks: the nearest class mean, under the squared Euclidean distance.

On the frozen features of the job's backbone, or with a network of its own that is learned with it
(`end_to_end`), as in the paper. There, training tasks have more ways than evaluation tasks; here
`config.optimizer.ways` does that, but not by default.

References:
  Snell et al., "Prototypical networks for few-shot learning", NeurIPS 2017 (arXiv 1703.05175).
  github.com/gidariss/FewShotWithoutForgetting: the learned scale, and the mean over dimensions.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sib_jax.methods.method import Classes, Method, cross_entropy
from sib_jax.methods.parts import end_to_end
from sib_jax.methods.parts.checked import scored
from sib_jax.methods.parts.distances import squared_distances
from sib_jax.sib.init_net import class_means


class Settings(NamedTuple):
    """Hyper-parameters.

    Attributes:
      scale: of the distances, before training.
      end_to_end: whether the features are of a Conv4 that is learned too, else frozen.
    """

    scale: float = 1.0
    end_to_end: bool = False


class Prototypical(NamedTuple):
    """Scale of the distances, a scalar."""

    scale: jax.Array


def logits(
    params: Prototypical,
    support: jax.Array,
    support_labels: jax.Array,
    query: jax.Array,
    *,
    ways: int,
) -> jax.Array:
    """Minus the scaled squared distance to each class mean.

    The squared distance is averaged over the d dimensions, as Gidaris and Komodakis do, rather than
    summed; `scale = d` gives the form of the paper.

    Args:
      params: the scale.
      support: features [m, d].
      support_labels: int [m], in 0..ways-1.
      query: features [n, d].
      ways: k.

    Returns:
      [n, k].
    """
    means = class_means(support, support_labels, ways)
    return -params.scale * squared_distances(query, means) / query.shape[1]


def make(settings: Settings, ways: int) -> Method:
    """Prototypical networks on features, or on images where they are end to end."""

    def init(key: jax.Array, classes: Classes) -> Prototypical:
        del key, classes
        return Prototypical(jnp.asarray(settings.scale, float))

    of_episode = scored(functools.partial(logits, ways=ways), ways)
    method = Method("prototypical", init, of_episode, cross_entropy(of_episode))
    return end_to_end.of(method) if settings.end_to_end else method
