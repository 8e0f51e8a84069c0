"""What episodes are drawn from: the features of a split, class after class."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class FeatureTable(NamedTuple):
    """Features of a split, a contiguous block of rows for each class.

    Attributes:
      features: [images, d].
      starts: int [classes], first row of each class.
      counts: int [classes], rows of each class.
    """

    features: jax.Array
    starts: jax.Array
    counts: jax.Array


def feature_table(features: np.ndarray | jax.Array, labels: np.ndarray) -> FeatureTable:
    """A table for `sample`.

    Args:
      features: [images, d].
      labels: int [images], ascending.

    Returns:
      The table, on the default device.
    """
    labels = np.asarray(labels)
    if len(labels) != len(features):
        raise ValueError(f"got {len(features)} features but {len(labels)} labels")
    if np.any(np.diff(labels) < 0):
        raise ValueError("labels must ascend: each class is one contiguous block of rows")
    counts = np.bincount(labels)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return FeatureTable(
        jnp.asarray(features), jnp.asarray(starts, jnp.int32), jnp.asarray(counts, jnp.int32)
    )
