"""Matching networks: attention over the support examples, with or without full context embeddings.

On the frozen features of the job's backbone, or with a network of its own that is learned with it
(`end_to_end`), as in the paper. For full context embeddings, features are first brought to unit
length, and the support set is shuffled, because episodes here list it class by class.

References:
  Vinyals et al., "Matching networks for one shot learning", NeurIPS 2016 (arXiv 1606.04080).
  github.com/gidariss/FewShotWithoutForgetting: the learned sharpness.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sib_jax.methods.method import Classes, Method, cross_entropy
from sib_jax.methods.parts import end_to_end, full_context
from sib_jax.methods.parts.checked import checked, scored
from sib_jax.methods.parts.full_context import FullContext
from sib_jax.sib.classifier import normalize
from sib_jax.tasks.episode import Episode


class Settings(NamedTuple):
    """Hyper-parameters.

    Attributes:
      scale: sharpness of the attention, before training.
      full_context: whether examples are embedded in view of one another, see `full_context`.
      steps: K of the full context embeddings.
      end_to_end: whether the features are of a Conv4 that is learned too, else frozen.
    """

    scale: float = 10.0
    full_context: bool = False
    steps: int = 5
    end_to_end: bool = False


class Matching(NamedTuple):
    """Sharpness of the attention over the support examples, a scalar."""

    scale: jax.Array


class MatchingInContext(NamedTuple):
    """The same, and the full context embeddings."""

    scale: jax.Array
    embeddings: FullContext


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


def logits_in_context(
    params: MatchingInContext,
    support: jax.Array,
    support_labels: jax.Array,
    query: jax.Array,
    *,
    ways: int,
    steps: int,
) -> jax.Array:
    """`logits` of full context embeddings; the order of the support examples matters.

    Args:
      params: the scale and the embeddings.
      support: features [m, d].
      support_labels: int [m], in 0..ways-1.
      query: features [n, d].
      ways: k.
      steps: K.

    Returns:
      Log-probabilities [n, k].
    """
    support = full_context.of_support(params.embeddings, normalize(support))
    query = full_context.of_query(params.embeddings, support, normalize(query), steps=steps)
    return logits(Matching(params.scale), support, support_labels, query, ways=ways)


def make(settings: Settings, ways: int) -> Method:
    """Matching networks on features, or on images where they are end to end."""
    if settings.steps < 0:
        raise ValueError(f"steps is {settings.steps!r}, but must be 0 or more")
    method = _in_context(settings, ways) if settings.full_context else _simple(settings, ways)
    return end_to_end.of(method) if settings.end_to_end else method


def _simple(settings: Settings, ways: int) -> Method:
    def init(key: jax.Array, classes: Classes) -> Matching:
        del key, classes
        return Matching(jnp.asarray(settings.scale, float))

    of_episode = scored(functools.partial(logits, ways=ways), ways)
    return Method("matching", init, of_episode, cross_entropy(of_episode))


def _in_context(settings: Settings, ways: int) -> Method:
    def init(key: jax.Array, classes: Classes) -> MatchingInContext:
        embeddings = full_context.init(key, classes.shape[0])
        return MatchingInContext(jnp.asarray(settings.scale, float), embeddings)

    def of_episode(params: MatchingInContext, episode: Episode, key: jax.Array) -> jax.Array:
        episode = checked(episode, ways)
        order = jax.random.permutation(key, episode.support.shape[0])
        support, labels = episode.support[order], episode.support_labels[order]
        return logits_in_context(
            params, support, labels, episode.query, ways=ways, steps=settings.steps
        )

    return Method("matching full context", init, of_episode, cross_entropy(of_episode))
