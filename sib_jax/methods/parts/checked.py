"""Checks an episode as users write one: with lists in place of arrays, and perhaps wrong labels."""

from collections.abc import Callable
from typing import Any

import jax

from sib_jax.sib import checks
from sib_jax.tasks.episode import Episode


def checked(episode: Episode, ways: int, reads: str = "features") -> Episode:
    """The episode with arrays in place of lists; the labels of its queries are not checked.

    Args:
      episode: of features or of images.
      ways: k.
      reads: which of the two, as in `Method`.

    Raises:
      TypeError: it is not an Episode, or labels of the support set are not integers.
      ValueError: features are not [m, d] and [n, d], images not [m, height, width, channels] and
        [n, ..], or labels are not of the classes 0 to k - 1, each of which has an example. Inside
        jit, values are unknown and only shapes are checked.
    """
    checks.episode(episode)
    read = checks.features if reads == "features" else checks.images
    support, query = read("support", episode.support), read("query", episode.query)
    if query.shape[1:] != support.shape[1:]:
        of = ("length {0}" if reads == "features" else "shape {0}x{1}x{2}").format
        raise ValueError(
            f"query has {reads} of {of(*query.shape[1:])}, but support of {of(*support.shape[1:])}"
        )
    labels = checks.labels(
        "support_labels",
        episode.support_labels,
        support,
        ways,
        every=ways,
        known_as=f"ways={ways}",
    )
    return episode._replace(support=support, support_labels=labels, query=query)


def scored(
    logits: Callable[[Any, jax.Array, jax.Array, jax.Array], jax.Array],
    ways: int,
    reads: str = "features",
) -> Callable[[Any, Episode, jax.Array], jax.Array]:
    """`Method.logits` of a method in which nothing is random.

    Args:
      logits: (parameters, support, support_labels, query) -> [n, k].
      ways: k.
      reads: as in `Method`.
    """

    def of_episode(params: Any, episode: Episode, key: jax.Array) -> jax.Array:
        del key
        episode = checked(episode, ways, reads)
        return logits(params, episode.support, episode.support_labels, episode.query)

    return of_episode
