"""Defines an episode: one task, in every setting."""

from typing import NamedTuple

import jax


class Episode(NamedTuple):
    """One task: k ways, m support examples, n queries, and the base classes where there are any.

    A method that reads images gets images in place of features, uint8 [.., height, width,
    channels].

    Attributes:
      support: features [m, d].
      support_labels: int [m], in 0..k-1.
      query: features [n, d], unlabelled for the method: of the k classes, and where there are base
        classes also of those.
      query_labels: int [n]; only the loss and the accuracy read them, None where they are unknown.
        0..k-1 are the classes of the support set, k..k+b-1 the base classes in the order of `base`.
      base: int [b], which of the base classes are present, by their row among the training classes;
        None where there are none (the standard setting).
    """

    support: jax.Array
    support_labels: jax.Array
    query: jax.Array
    query_labels: jax.Array | None = None
    base: jax.Array | None = None

    @property
    def true_labels(self) -> jax.Array:
        """`query_labels`, which must be there.

        Raises:
          ValueError: there are none.
        """
        if self.query_labels is None:
            raise ValueError(
                "the episode has no query_labels, which loss and accuracy need: give "
                "sib_jax.Episode(support, support_labels, query, query_labels)"
            )
        return self.query_labels
