"""Features of every image, computed once: cached under a key of weights, data and preprocessing."""

import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from sib_jax.backbones import Variables
from sib_jax.backbones.pretrained import Extractor, Pretrained
from sib_jax.data.cache import digest
from sib_jax.data.split import Split
from sib_jax.errors import UserError
from sib_jax.runtime import devices, files
from sib_jax.runtime.cache_dir import cache_dir
from sib_jax.runtime.console import log
from sib_jax.runtime.kept_rows import KeptRows

BATCH = 256  # images at once, rounded up so that every device gets equally many
_VERSION = 2  # increase it when the computation changes: old cache entries are then not found


class FeaturesError(UserError):
    """A backbone that gives no usable features; the message names an image."""


def compute(
    pretrained: Pretrained,
    images: np.ndarray,
    advance: Callable[[int], None] = lambda count: None,
    kept: KeptRows | None = None,
) -> np.ndarray:
    """Features of the central crop of each image, in evaluation mode.

    Args:
      pretrained: a backbone, its weights and preprocessing.
      images: uint8 [n, h, w, c].
      advance: called with the number of images done.
      kept: where rows are kept until the caller has written them, and found again afterwards.

    Returns:
      float32 [n, d].
    """
    batch = devices.filled(BATCH)
    variables = devices.to_all(pretrained.variables, devices.episode_mesh(batch))
    out = np.empty((len(images), pretrained.backbone.features), np.float32)
    known = {} if kept is None else kept.read()
    done = 0
    while str(done) in known:
        out[done] = known[str(done)]
        done += 1
    if done:
        advance(done)
    for start in range(done, len(images), batch):
        part = images[start : start + batch]
        # The last part is padded, so that one compiled program serves all.
        filled = np.concatenate([part, np.zeros((batch - len(part), *part.shape[1:]), np.uint8)])
        features = _features(pretrained.extractor, variables, filled)
        rows = out[start : start + batch] = np.asarray(features)[: len(part)]
        advance(len(part))
        if kept is not None:
            kept.add([str(row) for row in range(start, start + len(part))], rows)
    return out


def cached(
    pretrained: Pretrained, split: Split, advance: Callable[[int], None] = lambda count: None
) -> np.ndarray:
    """`compute` for a whole split, from the cache where it was computed before.

    Returns:
      float32 [n, d], memory-mapped.

    Raises:
      FeaturesError: the backbone gives something that is not finite.
    """
    made_of = (pretrained.fingerprint(), split.fingerprint, *devices.rounding())
    program = pretrained.backbone.program  # of a user's own: its code may have changed
    key = digest(_VERSION, *made_of, *([program] if program else []))
    path = cache_dir() / "features" / f"{pretrained.backbone.name}-{key}.npy"
    # Each process may have its own cache: all of them compute, or none.
    part = path.with_suffix(".part")
    if devices.everywhere(_is_whole(path)):
        advance(len(split.images))
    else:
        if path.exists():
            log.info("%s is damaged: its features are computed again", path)
        # Several processes would have to keep the same rows.
        kept = KeptRows(part, key) if jax.process_count() == 1 else None
        features = compute(pretrained, split.images, advance, kept)
        _check_finite(features, split)
        files.write_atomically(path, lambda file: np.save(file, features))
        files.write_text(_checksum_file(path), str(files.checksum(path)))
    shutil.rmtree(part, ignore_errors=True)  # also what a process that was killed here left
    return np.load(path, mmap_mode="r")


def _checksum_file(path: Path) -> Path:
    return path.with_suffix(".crc32")


def _is_whole(path: Path) -> bool:
    """Whether a file is what was written: its checksum is kept beside it."""
    try:
        return _checksum_file(path).read_text() == str(files.checksum(path))
    except (OSError, ValueError):
        return False


def _check_finite(features: np.ndarray, split: Split) -> None:
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        row = int(bad[0])
        image = split.file_names[row] if split.file_names else f"number {row}"
        raise FeaturesError(
            f"the backbone gives features that are not finite for {len(bad)} of {len(features)} "
            f"images, such as image {image} of class {split.class_names[split.labels[row]]!r}; "
            "train it with a lower config.pretrain.lr, or use other weights"
        )


@functools.partial(jax.jit, static_argnums=0)
def _features(extractor: Extractor, variables: Variables, images: jax.Array) -> jax.Array:
    mesh = devices.episode_mesh(len(images))
    images = jax.lax.with_sharding_constraint(images, devices.over_episodes(mesh))
    found = extractor(variables, images)
    return jax.lax.with_sharding_constraint(found.astype(jnp.float32), devices.replicated(mesh))
