"""Images on the device: uint8 to normalised float, and crop, flip and colour jitter in training."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

_LUMINANCE = (0.2989, 0.587, 0.114)  # ITU-R BT.601


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
    # Rounded, so that the last digits of a sum are no part of any cache key.
    return Preprocessing(
        crop, tuple(round(float(m), 6) for m in mean), tuple(round(float(s), 6) for s in std)
    )


def evaluate(images: jax.Array, preprocessing: Preprocessing) -> jax.Array:
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
    return _normalize(_unit(images[:, top : top + size, left : left + size]), preprocessing)


def train(
    key: jax.Array,
    images: jax.Array,
    preprocessing: Preprocessing,
    *,
    padding: int,
    flip: bool,
    jitter: float,
) -> jax.Array:
    """A random crop of each image, perhaps mirrored, with jittered colours, normalised.

    Args:
      key: PRNG key.
      images: uint8 [b, h, w, c].
      preprocessing: crop of at most h + 2 padding.
      padding: black pixels put around the image before the crop.
      flip: mirror each image with probability one half.
      jitter: brightness, contrast and saturation are each multiplied by a factor in 1 +- jitter.

    Returns:
      float32 [b, crop, crop, c].
    """
    one = lambda k, image: _augment(k, image, preprocessing.crop, flip, jitter)  # noqa: E731
    images = jax.vmap(one)(jax.random.split(key, len(images)), pad(images, padding))
    return _normalize(images, preprocessing)


def pad(images: jax.Array, padding: int) -> jax.Array:
    """Black pixels around each image; [b, h, w, c] -> [b, h + 2 padding, w + 2 padding, c]."""
    return jnp.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))


def _augment(key: jax.Array, image: jax.Array, crop: int, flip: bool, jitter: float) -> jax.Array:
    crop_key, flip_key, jitter_key = jax.random.split(key, 3)
    limits = jnp.asarray([image.shape[0] - crop + 1, image.shape[1] - crop + 1, 1])
    start = jax.random.randint(crop_key, (3,), 0, limits)
    image = _unit(jax.lax.dynamic_slice(image, start, (crop, crop, image.shape[2])))
    if flip:
        image = jnp.where(jax.random.bernoulli(flip_key), image[:, ::-1], image)
    return _jitter(jitter_key, image, jitter) if jitter else image


def _jitter(key: jax.Array, image: jax.Array, strength: float) -> jax.Array:
    brightness, contrast, saturation = jax.random.uniform(
        key, (3,), minval=max(0.0, 1 - strength), maxval=1 + strength
    )
    image = jnp.clip(image * brightness, 0, 1)
    image = jnp.clip(_blend(image, jnp.mean(_gray(image)), contrast), 0, 1)
    return jnp.clip(_blend(image, _gray(image), saturation), 0, 1)


def _blend(image: jax.Array, other: jax.Array, factor: jax.Array) -> jax.Array:
    return factor * image + (1 - factor) * jnp.broadcast_to(other, image.shape)


def _gray(image: jax.Array) -> jax.Array:
    if image.shape[-1] == 1:
        return image
    return jnp.sum(image * jnp.asarray(_LUMINANCE)[None, None], axis=-1, keepdims=True)


def _unit(images: jax.Array) -> jax.Array:
    return images.astype(jnp.float32) / 255


def _normalize(images: jax.Array, preprocessing: Preprocessing) -> jax.Array:
    shape = (1, 1, 1, -1)
    mean = jnp.asarray(preprocessing.mean).reshape(shape)
    return (images - mean) / jnp.asarray(preprocessing.std).reshape(shape)
