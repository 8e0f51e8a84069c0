"""What episodes are drawn from: the features of a split, class by class."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

_ROWS = 4096  # that are checked together
_MOST_CLASSES = 1_000_000  # a label beyond this, and beyond the images, cannot number a class


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

    def parted(self, held: np.ndarray) -> "tuple[FeatureTable, FeatureTable]":
        """Two tables of the same features: one without the last images of each class, one of these.

        Args:
          held: int [classes], how many images of each class; fewer than it has.
        """
        starts, counts = np.asarray(self.starts), np.asarray(self.counts)
        kept = counts - held
        return _table(self.features, starts, kept), _table(self.features, starts + kept, held)


def feature_table(features: np.ndarray | jax.Array, labels: np.ndarray) -> FeatureTable:
    """A table for `sample`.

    Args:
      features: [images, d].
      labels: int [images], ascending.

    Returns:
      The table, on the default device.

    Raises:
      TypeError: features are not numbers, or labels are not integers.
      ValueError: there are no images, features are NaN or infinite, there are not as many labels as
        features, or labels are negative or do not ascend.
    """
    features, labels = _checked(features, labels)
    counts = np.bincount(labels)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return _table(jnp.asarray(features), starts, counts)


def _table(features: jax.Array, starts: np.ndarray, counts: np.ndarray) -> FeatureTable:
    first, sizes = jnp.asarray(starts, jnp.int32), jnp.asarray(counts, jnp.int32)
    return FeatureTable(features, first, sizes, int(counts.min()))


def _checked(
    features: np.ndarray | jax.Array, labels: np.ndarray
) -> tuple[np.ndarray | jax.Array, np.ndarray]:
    labels = np.asarray(labels)
    if not isinstance(features, jax.Array):
        features = np.asarray(features)
    if labels.ndim != 1:
        raise ValueError(f"labels must be [images], one for each, got shape {labels.shape}")
    if not len(labels):
        raise ValueError("a table needs at least one image, got none")
    if features.ndim < 2:
        raise ValueError(f"features must be [images, d], got shape {features.shape}")
    if len(labels) != len(features):
        raise ValueError(f"got {len(features)} features but {len(labels)} labels")
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(
            f"labels must be integers from 0, got dtype {labels.dtype}; "
            "np.unique(names, return_inverse=True) makes them from names"
        )
    # Not np.diff, which is never below 0 for unsigned numbers.
    if labels[0] < 0 or np.any(labels[1:] < labels[:-1]):
        raise ValueError(
            "labels must ascend from 0 or more, one for each image: each class is one contiguous "
            "block of rows"
        )
    if labels[-1] >= max(len(labels), _MOST_CLASSES):
        raise ValueError(
            f"labels must number the classes from 0, but the last is {labels[-1]}; "
            "np.unique(labels, return_inverse=True) numbers them that way"
        )
    if not (jnp.issubdtype(features.dtype, jnp.number) or features.dtype == bool):
        raise TypeError(f"features must be numbers, got dtype {features.dtype}")
    known = not isinstance(features, jax.core.Tracer)
    if known and jnp.issubdtype(features.dtype, jnp.inexact):
        finite = _finite(features)
        if not finite.all():
            raise ValueError(
                f"features of {np.sum(~finite)} of {len(finite)} images are NaN or infinite, the "
                f"first in row {np.argmin(finite)}"
            )
    return features, labels


def _finite(features: np.ndarray | jax.Array) -> np.ndarray:
    """Whether each row is finite; some rows at a time, as a mask of all would be large."""
    on = np if isinstance(features, np.ndarray) else jnp
    blocks = (features[start : start + _ROWS] for start in range(0, len(features), _ROWS))
    found = [np.asarray(on.isfinite(b).reshape(len(b), -1).all(axis=1)) for b in blocks]
    return np.concatenate(found)
