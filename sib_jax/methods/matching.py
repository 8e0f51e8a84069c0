"""Matching networks without full context embeddings: attention over the support examples.

References:
  Vinyals et al., "Matching networks for one shot learning", NeurIPS 2016 (arXiv 1606.04080).
  github.com/gidariss/FewShotWithoutForgetting: the learned sharpness.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sib_jax.methods.method import Classes, Method, cross_entropy
from sib_jax.sib.classifier import normalize
from sib_jax.tasks.episode import Episode


class Settings(NamedTuple):
    """Hyper-parameters.

    Attributes:
      scale: sharpness of the attention, before training.
    """

    scale: float = 10.0


class Matching(NamedTuple):
    """Sharpness of the attention over the support examples, a scalar."""

    scale: jax.Array


def logits(
    params: Matching,
    support: jax.Array,
    support_labels: jax.Array,
    query: jax.Array,
    *,
    ways: int,
) -> jax.Array:
    """Log of the attention that falls on the support examples of each class.

    Attention is the softmax of the scaled cosine to every support example.

    Args:
      params: the scale.
      support: features [m, d].
      support_labels: int [m], in 0..ways-1.
      query: features [n, d].
      ways: k.

    Returns:
      Log-probabilities [n, k], no lower than log(1e-7).
    """
    cosines = normalize(query) @ normalize(support).T
    attention = jax.nn.softmax(params.scale * cosines, axis=1)  # [n, m]
    probabilities = attention @ jax.nn.one_hot(support_labels, ways, dtype=attention.dtype)
    # Far classes would have log 0 and gradients without bound.
    return jnp.log(jnp.maximum(probabilities, 1e-7))


def make(settings: Settings, ways: int) -> Method:
    """Matching networks on features."""

    def init(key: jax.Array, classes: Classes) -> Matching:
        del key, classes
        return Matching(jnp.asarray(settings.scale))

    def of_episode(params: Matching, episode: Episode, key: jax.Array) -> jax.Array:
        del key
        return logits(params, episode.support, episode.support_labels, episode.query, ways=ways)

    return Method("matching", init, of_episode, cross_entropy(of_episode))
