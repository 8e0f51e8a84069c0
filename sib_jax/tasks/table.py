"""What episodes are drawn from: the features of a split, class after class."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FeatureTable:
    """Features of a split, a contiguous block of rows for each class; make one by `feature_table`.

    Attributes:
      features: [images, d].
      starts: int [classes], first row of each class.
      counts: int [classes], rows of each class.
      smallest: rows of the smallest class. Static: whether an episode fits is known inside jit too.
    """

    features: jax.Array
    starts: jax.Array
    counts: jax.Array
    smallest: int = dataclasses.field(metadata={"static": True})

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return self.counts.shape[0]


def feature_table(features: np.ndarray | jax.Array, labels: np.ndarray) -> FeatureTable:
    """A table for `sample`.

    Args:
      features: [images, d].
      labels: int [images], ascending.

    Returns:
      The table, on the default device.

    Raises:
      ValueError: there are no images, as many labels as features are not given, or labels do not
        ascend.
    """
    labels = np.asarray(labels)
    if not len(labels):
        raise ValueError("a table needs at least one image, got none")
    if len(labels) != len(features):
        raise ValueError(f"got {len(features)} features but {len(labels)} labels")
    if np.any(np.diff(labels) < 0):
        raise ValueError("labels must ascend: each class is one contiguous block of rows")
    counts = np.bincount(labels)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return FeatureTable(
        jnp.asarray(features),
        jnp.asarray(starts, jnp.int32),
        jnp.asarray(counts, jnp.int32),
        int(counts.min()),
    )
