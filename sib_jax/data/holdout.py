"""Images of the training classes that no training stage may see: queries of the base classes."""

import numpy as np

from sib_jax.data.split import DataSet


def of_training(data: DataSet, share: float) -> np.ndarray:
    """Which training images are held out; none where the data set has base images of its own.

    Args:
      data: the data set.
      share: see `held_out`.

    Returns:
      bool [images of the training split].
    """
    return held_out(data.train.class_counts, 0.0 if data.base else share)


def held_out(class_counts: np.ndarray, share: float) -> np.ndarray:
    """Which images of a split are held out: the last ones of each class.

    Args:
      class_counts: int [classes], images of each class, one contiguous block a class.
      share: of each class, at least 0 and below 1; rounded, but at least one image where above 0.

    Returns:
      bool [images].
    """
    of_class = ((images, count(images, share)) for images in class_counts)
    return np.concatenate([np.arange(images) >= images - held for images, held in of_class])


def count(images: int, share: float) -> int:
    """How many of a class's images are held out, see `held_out`."""
    return max(1, round(share * images)) if share > 0 else 0
