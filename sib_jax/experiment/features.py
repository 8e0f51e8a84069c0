"""Features of every image, computed once: cached under a key of weights, data and preprocessing."""

import functools
import os
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from sib_jax.backbones import Backbone, Variables, preprocess
from sib_jax.backbones.preprocess import Preprocessing
from sib_jax.backbones.pretrained import Pretrained
from sib_jax.data.cache import cache_dir, digest
from sib_jax.data.split import Split
from sib_jax.runtime import devices

BATCH = 256  # images at once, or a few more, so that every device has as many
_VERSION = 1  # raise when the computation changes: old cache entries are then not found


def compute(
    pretrained: Pretrained,
    images: np.ndarray,
    advance: Callable[[int], None] = lambda count: None,
) -> np.ndarray:
    """Features of the central crop of each image, in evaluation mode.

    Args:
      pretrained: a backbone, its weights and preprocessing.
      images: uint8 [n, h, w, c].
      advance: called with the number of images done.

    Returns:
      float32 [n, d].
    """
    backbone, variables, preprocessing = pretrained[:3]
    batch = devices.filled(BATCH)
    variables = devices.to_all(variables, devices.episode_mesh(batch))
    out = np.empty((len(images), backbone.features), np.float32)
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        # The last part is filled up, so that one compiled program serves all.
        filled = np.concatenate([part, np.zeros((batch - len(part), *part.shape[1:]), np.uint8)])
        features = _features(backbone, preprocessing, variables, filled)
        out[start : start + batch] = np.asarray(features)[: len(part)]
        advance(len(part))
    return out


def cached(
    pretrained: Pretrained, split: Split, advance: Callable[[int], None] = lambda count: None
) -> np.ndarray:
    """`compute` for a whole split, from the cache where it was computed before.

    Returns:
      float32 [n, d], memory-mapped.
    """
    key = digest(_VERSION, pretrained.fingerprint(), split.fingerprint, jax.default_backend())
    path = cache_dir() / "features" / f"{pretrained.backbone.name}-{key}.npy"
    # A process may have a cache of its own: all compute, or none.
    if devices.everywhere(path.exists()):
        advance(len(split.images))
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        features = compute(pretrained, split.images, advance)
        temporary = path.with_name(f".{jax.process_index()}-{os.getpid()}-{path.name}")
        np.save(temporary, features)
        temporary.replace(path)
    return np.load(path, mmap_mode="r")


@functools.partial(jax.jit, static_argnums=(0, 1))
def _features(
    backbone: Backbone, preprocessing: Preprocessing, variables: Variables, images: jax.Array
) -> jax.Array:
    mesh = devices.episode_mesh(len(images))
    images = jax.lax.with_sharding_constraint(images, devices.over_episodes(mesh))
    found = backbone.apply(variables, preprocess.central_crop(images, preprocessing))
    return jax.lax.with_sharding_constraint(found.astype(jnp.float32), devices.replicated(mesh))
