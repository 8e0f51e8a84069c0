"""The data set that a name and a folder stand for."""

import importlib
from collections.abc import Callable

from sib_jax.data import own
from sib_jax.data.errors import DataError
from sib_jax.data.split import DataSet, Sizes


def load(
    name: str,
    data_dir: str = "",
    *,
    image_size: int,
    ratios: tuple[float, float, float] = (0.64, 0.16, 0.20),
    seed: int = 0,
    check: Callable[[Sizes], None] | None = None,
) -> DataSet:
    """Loads a data set, from the cache where it was prepared before.

    Args:
      name: "glyphs", "mini_imagenet", "cifar_fs", "omniglot", "folder", "features", or one that was
        registered.
      data_dir: where the user's data are, see the module of that name; glyphs needs none.
      image_size: height and width of the stored images, in pixels; that of glyphs is fixed, and
        features have none.
      ratios: shares of the classes, for a folder or features without train, val and test.
      seed: chooses those classes.
      check: for a folder: called with what there is before any image is decoded; it may raise.

    Returns:
      Its train, val and test classes, and base images where the data have any.

    Raises:
      DataError: the data are missing or unusable.
    """
    if name in own.OWN:
        return own.load(name, data_dir, image_size)
    # A data set's module is imported when it is asked for: each has libraries of its own.
    if name == "glyphs":
        from sib_jax.data import glyphs

        return glyphs.load()
    if name in ("mini_imagenet", "cifar_fs", "omniglot"):
        module = importlib.import_module(f"sib_jax.data.{name}")
        return module.load(data_dir, image_size=image_size)
    if name == "folder":
        from sib_jax.data import folder

        return folder.load(data_dir, image_size=image_size, ratios=ratios, seed=seed, check=check)
    if name == "features":
        from sib_jax.data import features

        return features.load(data_dir, ratios=ratios, seed=seed)
    raise DataError(f"unknown data set {name!r}; {own.ONCE_IMPORTED}")
