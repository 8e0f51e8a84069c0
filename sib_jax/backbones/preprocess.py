"""Stored images to the backbone's input: uint8 to normalised float, cut to size."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image


class Preprocessing(NamedTuple):
    """What turns stored images into the backbone's input.

    Attributes:
      crop: height and width of the input, in pixels.
      mean: per channel, of images in 0..1.
      std: per channel.
    """

    crop: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def fit(images: np.ndarray, crop: int, rows: np.ndarray | None = None) -> Preprocessing:
    """The preprocessing whose mean and std are those of some images.

    Args:
      images: uint8 [n, h, w, c].
      crop: see `Preprocessing`.
      rows: which of the images, ascending; all unless given.
    """
    rows = np.arange(len(images)) if rows is None else rows
    total = np.zeros(images.shape[-1])
    squares = np.zeros(images.shape[-1])
    for start in range(0, len(rows), 4096):
        part = images[rows[start : start + 4096]].reshape(-1, images.shape[-1]) / 255.0
        total += part.sum(0)
        squares += np.square(part).sum(0)
    count = len(rows) * images.shape[1] * images.shape[2]
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 1e-8))
    # Rounded, to keep the last digits of a sum out of cache keys.
    return Preprocessing(
        crop, tuple(round(float(m), 6) for m in mean), tuple(round(float(s), 6) for s in std)
    )


def central_crop(images: jax.Array, preprocessing: Preprocessing) -> jax.Array:
    """The central crop, normalised.

    Args:
      images: uint8 [b, h, w, c].
      preprocessing: crop of at most h and w; a larger one is padded with black.

    Returns:
      float32 [b, crop, crop, c].
    """
    size = preprocessing.crop
    images = pad(images, max(0, -(-(size - images.shape[1]) // 2)))
    top = (images.shape[1] - size) // 2
    left = (images.shape[2] - size) // 2
    return normalize(unit(images[:, top : top + size, left : left + size]), preprocessing)


def shrink(images: np.ndarray, size: int) -> np.ndarray:
    """Images scaled down by Lanczos resampling; uint8 [n, h, w, c] -> uint8 [n, size, size, c]."""
    if images.shape[1:3] == (size, size):
        return images
    out = np.empty((len(images), size, size, images.shape[3]), np.uint8)
    for i, image in enumerate(images):
        pixels = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
        scaled = np.asarray(pixels.resize((size, size), Image.Resampling.LANCZOS))
        out[i] = scaled.reshape(out.shape[1:])
    return out


def pad(images: jax.Array, padding: int) -> jax.Array:
    """Black pixels around each image; [b, h, w, c] -> [b, h + 2 padding, w + 2 padding, c]."""
    return jnp.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))


def unit(images: jax.Array) -> jax.Array:
    """uint8 0..255 -> float32 0..1."""
    return images.astype(jnp.float32) / 255


def normalize(images: jax.Array, preprocessing: Preprocessing) -> jax.Array:
    """Minus the mean, over the standard deviation, of each channel; images in 0..1."""
    shape = (1, 1, 1, -1)
    mean = jnp.asarray(preprocessing.mean).reshape(shape)
    return (images - mean) / jnp.asarray(preprocessing.std).reshape(shape)
