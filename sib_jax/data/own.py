"""Data sets of the user's own: a name for a function, and checks of what it gives."""

import logging
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from sib_jax.data import cache, class_split, identical
from sib_jax.data.errors import DataError
from sib_jax.data.split import SPLITS, DataSet, Split
from sib_jax.errors import UserError
from sib_jax.runtime.where import where
from sib_jax.runtime.words import one_line, shown

log = logging.getLogger(__name__)

Images = Mapping[str, Mapping[str, np.ndarray]]  # split -> class -> uint8 [n, size, size, channels]


class Own(NamedTuple):
    """What `register` was given."""

    load: Callable[[str, int], DataSet[Split] | Images]
    defaults: Mapping[str, Any]


OWN: dict[str, Own] = {}
ONCE_IMPORTED = "one of your own is known once the file that adds it is imported (--import=FILE.py)"
_REMEDY = "add images, or leave the class out"


def register(
    name: str,
    load: Callable[[str, int], DataSet[Split] | Images],
    defaults: Mapping[str, Any] | None = None,
) -> None:
    """Adds a data set of one's own, for `config.dataset` and experiments to name: 5w1s:NAME.

    Args:
      name: a word such as `dots`.
      load: (data_dir, image_size) -> {"train": {class name: images}, "val": ..., "test": ...}, with
        images uint8 [n, image_size, image_size, channels] and 1 or 3 channels; or a `DataSet`, as
        `sib_jax.data.prepare.load` makes one. No class is in two splits.
      defaults: fields of the config that differ for this data set: {"image_size": 16, "crop": 16}.

    Raises:
      UserError: one of these is not as above, or the name is taken; the message says what is
        wanted.
    """
    from sib_jax import config  # which knows the data sets

    if not isinstance(name, str) or not name.isidentifier():
        raise DataError(f"a data set's name must be a word such as my_data, got {name!r}")
    if name in config.DATASETS:
        raise DataError(f"{name} is a data set of sib_jax itself: give yours another name")
    if not callable(load):
        raise DataError(
            f"load of {name} must be a function (data_dir, image_size), got a {type(load).__name__}"
        )
    if "dataset" in (defaults or {}):
        raise DataError(f"defaults of {name} have dataset, which its name is: leave that out")
    config.check_fields(defaults or {}, f"defaults of {name}")
    OWN[name] = Own(load, dict(defaults or {}))


def load(name: str, data_dir: str, image_size: int) -> DataSet[Split]:
    """The data set that was registered as `name`.

    Raises:
      UserError: its function fails, or gives what no job can use; the message says what and where.
    """
    try:
        found = OWN[name].load(os.path.expanduser(data_dir), image_size)
    except (UserError, MemoryError):
        raise
    except Exception as error:  # the user's code can fail in any way
        said = f"{type(error).__name__}: {one_line(error)}"
        raise DataError(f"data set {name} fails: {said}{where(error)}") from error
    if isinstance(found, DataSet):
        return _checked(name, found, image_size)
    wanted = f'{{"train": {{class: images}}, ...}} with the splits {", ".join(SPLITS)}'
    if not isinstance(found, Mapping) or sorted(map(str, found)) != sorted(SPLITS):
        keys = f" of {', '.join(map(str, found))}" if isinstance(found, Mapping) else ""
        raise DataError(
            f"data set {name} gives a {type(found).__name__}{keys}, but must give {wanted}"
        )
    for split in SPLITS:
        if not isinstance(found[split], Mapping):
            kind = type(found[split]).__name__
            raise DataError(f"data set {name}: {split} is a {kind}, but must be {{class: images}}")
    return _of_images(name, found, image_size)


def _checked(name: str, found: DataSet[Split], image_size: int) -> DataSet[Split]:
    if found.name != name:
        raise DataError(f"data set {name} gives one that is named {shown(str(found.name))}")
    channels: int | None = None
    parts: dict[str, Any] = {split: found.split(split) for split in SPLITS}
    if found.base:
        if sorted(map(str, found.base)) != ["test", "val"]:
            keys = ", ".join(map(str, found.base))
            raise DataError(f"data set {name}: base is of {keys}, but must be of val and test")
        parts |= {f"base of {split}": part for split, part in found.base.items()}
    for split, part in parts.items():
        if not isinstance(part, Split):
            raise DataError(f"data set {name}: {split} must be a Split of images, got {part!r}")
        channels = _check_images(name, split, part.images, image_size, channels)
        labels = np.asarray(part.labels)
        whole = np.issubdtype(labels.dtype, np.integer)
        if (
            not whole
            or labels.shape != (len(part.images),)
            or not np.array_equal(np.unique(labels), np.arange(len(part.class_names)))
        ):
            raise DataError(
                f"data set {name}: labels of {split} must be those of {len(part.images)} images, "
                f"each a whole number of 0 to {len(part.class_names) - 1}, the place of a name in "
                "class_names"
            )
        if np.any(labels[1:] < labels[:-1]):  # not np.diff: never below 0 for unsigned ones
            raise DataError(f"data set {name}: labels of {split} must ascend, sort its images")
        if split not in SPLITS and part.class_names != found.train.class_names:
            raise DataError(f"data set {name}: the classes of {split} must be those of train")
    if len({found.split(split).fingerprint for split in SPLITS}) < len(SPLITS):
        raise DataError(
            f"data set {name}: two splits have the same fingerprint, which must be of their content"
        )
    class_split.check(found.sizes.classes, f"data set {name}", "image", _REMEDY)
    return found


def _check_images(name: str, of: str, images: Any, image_size: int, channels: int | None) -> int:
    """Returns their channels; those before had `channels`."""
    shape, dtype = np.shape(images), getattr(images, "dtype", type(images).__name__)
    if dtype != np.uint8 or len(shape) != 4 or shape[3] not in (1, 3):
        raise DataError(
            f"data set {name}: the images of {of} are {dtype} {list(shape)}, but must be a uint8 "
            "array [n, height, width, channels] with 1 or 3 channels"
        )
    if shape[1:3] != (image_size, image_size):
        raise DataError(
            f"data set {name}: the images of {of} are of {shape[1]} x {shape[2]} pixels, but "
            f"image_size asks for {image_size} x {image_size}"
        )
    if channels not in (None, shape[3]):
        raise DataError(
            f"data set {name}: the images of {of} have {shape[3]} channels, others {channels}"
        )
    return int(shape[3])


def _of_images(name: str, found: Images, image_size: int) -> DataSet[Split]:
    channels: int | None = None
    for split in SPLITS:
        for of, images in found[split].items():
            channels = _check_images(name, f"{split}/{of}", images, image_size, channels)
    counts = {split: {str(c): len(i) for c, i in found[split].items()} for split in SPLITS}
    class_split.check(counts, f"data set {name}", "image", _REMEDY)
    parts = {split: _split(found[split]) for split in SPLITS}
    if said := identical.describe(
        {split: identical.digests(part.images) for split, part in parts.items()},
        {split: part.labels for split, part in parts.items()},
        {split: part.class_names for split, part in parts.items()},
        {split: part.file_names for split, part in parts.items()},
    ):
        log.warning("%s: %s", name, said)
    return DataSet(name, parts["train"], parts["val"], parts["test"])


def _split(classes: Mapping[str, np.ndarray]) -> Split:
    images = np.concatenate(list(classes.values()))
    counts, names = [len(of) for of in classes.values()], tuple(map(str, classes))
    labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    return Split(images, labels, names, cache.fingerprint(images, labels, names))
