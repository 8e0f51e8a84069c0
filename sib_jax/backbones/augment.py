"""Images in training, on the device: crop, flip and colour jitter."""

import jax
import jax.numpy as jnp

from sib_jax.backbones.preprocess import Preprocessing, normalize, pad, unit

_LUMINANCE = (0.2989, 0.587, 0.114)  # ITU-R BT.601


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
    return normalize(images, preprocessing)


def _augment(key: jax.Array, image: jax.Array, crop: int, flip: bool, jitter: float) -> jax.Array:
    crop_key, flip_key, jitter_key = jax.random.split(key, 3)
    limits = jnp.asarray([image.shape[0] - crop + 1, image.shape[1] - crop + 1, 1])
    start = jax.random.randint(crop_key, (3,), 0, limits)
    image = unit(jax.lax.dynamic_slice(image, start, (crop, crop, image.shape[2])))
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
