"""`folder`: any directory of class folders, with images of any format and size."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sib_jax.data import prepare
from sib_jax.data.errors import EMBEDDED, DataError
from sib_jax.data.reading import files
from sib_jax.data.split import SPLITS, DataSet

_VERSION = 2  # raise when decoding changes: old cache entries are then not found
_SPLIT_FOLDERS = {"train": ("train",), "val": ("val", "validation"), "test": ("test",)}

log = logging.getLogger(__name__)

Classes = Mapping[str, Sequence[str]]


def load(
    data_dir: str | Path,
    *,
    image_size: int,
    channels: int = 3,
    ratios: tuple[float, float, float] = (0.64, 0.16, 0.20),
    seed: int = 0,
) -> DataSet:
    """A directory of class folders, decoded once and then memory-mapped.

    The directory holds either train, val and test, each of class folders, or class folders alone,
    whose classes (not images) are then split by a shuffle of their sorted names. The images of a
    class may lie in folders below it. Hidden files and files that are no images are skipped, and
    counted in the log.

    Args:
      data_dir: the directory.
      image_size: pixels; images are scaled by their shorter side and cropped to a square.
      channels: 3, or 1 for gray.
      ratios: shares of the classes for train, val and test.
      seed: of the shuffle.

    Returns:
      The data set. It is prepared anew when a file's name, size or time of change differs (its
      content is not read for that: a large directory would take minutes).

    Raises:
      DataError: nothing usable there; the message says what was found and what is wanted.
    """
    if not data_dir:
        raise DataError(f"where are your images? Say it with --data_dir=DIR. {EMBEDDED}")
    root = Path(data_dir).expanduser()
    if image_size < 1:
        raise DataError(f"image_size must be 1 or more, got {image_size}")
    if not root.exists():
        raise DataError(f"{root} does not exist; --data_dir must be a directory of class folders")
    if not root.is_dir():
        raise DataError(f"{root} is a file; --data_dir must be a directory of class folders")
    splits = find(root, ratios, seed)
    _check(root, splits)
    found = files.directory(root)
    return prepare.load(
        "folder",
        (_VERSION, ratios, seed),
        found,
        lambda: prepare.ImageFiles(found, splits),
        image_size=image_size,
        channels=channels,
    )


def find(root: Path, ratios: tuple[float, float, float], seed: int) -> dict[str, Classes]:
    """The image files of each split and class, as sorted names below `root`; none is decoded.

    Args:
      root: directory with train, val and test below it, or with class folders.
      ratios: shares of the classes, in the second case.
      seed: of their shuffle, in the second case.
    """
    names = {folder.name for folder in _folders(root)}
    found = {s: [n for n in of_split if n in names] for s, of_split in _SPLIT_FOLDERS.items()}
    if all(found.values()):
        return {split: _classes(root, found[split][0]) for split in SPLITS}
    if any(found.values()) and names <= {n for of in _SPLIT_FOLDERS.values() for n in of}:
        missing = [split for split in SPLITS if not found[split]]
        raise DataError(
            f"{root} holds {', '.join(sorted(names))}, but no {' and no '.join(missing)}"
        )
    return _by_ratio(root, _classes(root, ""), ratios, seed)


def _folders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def _classes(root: Path, below: str) -> dict[str, list[str]]:
    classes: dict[str, list[str]] = {}
    skipped = []
    for folder in _folders(root / below):
        found = [f"{folder.relative_to(root)}/{n}" for n in files.directory(folder).names]
        classes[folder.name] = [name for name in found if files.is_image(name)]
        skipped += [name for name in found if not files.is_image(name)]
    if skipped:
        log.info("%s: skipped %d other files, such as %s", root, len(skipped), skipped[0])
    return classes


def _by_ratio(
    root: Path, classes: Classes, ratios: tuple[float, float, float], seed: int
) -> dict[str, Classes]:
    if len(classes) < len(SPLITS):
        raise DataError(
            f"{root} holds {len(classes)} class folders ({', '.join(classes) or 'none'}), but "
            "needs at least 3 to split into train, val and test; expected DIR/CLASS/IMAGE or "
            "DIR/{train,val,test}/CLASS/IMAGE"
        )
    if len(ratios) != 3 or min(ratios) <= 0:
        raise DataError(f"the split ratios must be three numbers above 0, got {tuple(ratios)}")
    names = sorted(classes)
    order = np.random.default_rng(seed).permutation(len(names))
    ends = np.round(np.cumsum(ratios) / sum(ratios) * len(names)).astype(int)
    # Every split gets a class, however small its ratio.
    ends = np.maximum(ends, [1, 2, len(names)])
    ends = np.minimum(ends, [len(names) - 2, len(names) - 1, len(names)])
    return {
        split: {name: classes[name] for name in sorted(names[i] for i in order[start:end])}
        for split, start, end in zip(SPLITS, [0, *ends[:-1]], ends, strict=True)
    }


def _check(root: Path, splits: Mapping[str, Classes]) -> None:
    owner: dict[str, str] = {}
    for split, classes in splits.items():
        if not any(classes.values()):
            raise DataError(f"{root}: no images found for {split}; expected files in class folders")
        for name, images in classes.items():
            if name in owner:
                raise DataError(
                    f"class {name!r} is in both {owner[name]} and {split}; the classes of the "
                    "splits must be disjoint, or accuracy on them means nothing"
                )
            owner[name] = split
            if len(images) < 2:
                raise DataError(
                    f"class {name!r} of {split} has {len(images)} image{'' if images else 's'}, "
                    "but an episode needs at least 2 (a support example and a query); add "
                    f"images or remove the folder {name!r} below {root}"
                )
