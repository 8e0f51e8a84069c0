"""`folder`: any directory of class folders, with images of any format and size."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from sib_jax.data import class_split, prepare
from sib_jax.data.errors import EMBEDDED, DataError
from sib_jax.data.reading import files
from sib_jax.data.reading.walk import Walked, walk
from sib_jax.data.split import SPLITS, DataSet, Sizes
from sib_jax.runtime.words import shown

_VERSION = 2  # raise when decoding changes: old cache entries are then not found
_SPLIT_FOLDERS = {"train": ("train",), "val": ("val", "validation", "valid"), "test": ("test",)}

log = logging.getLogger(__name__)

Classes = Mapping[str, Sequence[str]]


def load(
    data_dir: str | Path,
    *,
    image_size: int,
    channels: int = 3,
    ratios: tuple[float, float, float] = (0.64, 0.16, 0.20),
    seed: int = 0,
    check: Callable[[Sizes], None] | None = None,
) -> DataSet:
    """A directory of class folders, decoded once and then memory-mapped.

    The directory holds either train, val and test, each of class folders, or just class folders,
    whose classes (not images) are then split by a shuffle of their sorted names. The images of a
    class may be in folders below it. Hidden files and files that are not images are skipped, and
    counted in the log. So are links that lead out of the directory, and links to what is counted
    in its own place: each real file is one image of one class.

    Args:
      data_dir: the directory.
      image_size: pixels; images are scaled by their shorter side and cropped to a square.
      channels: 3, or 1 for gray.
      ratios: shares of the classes for train, val and test.
      seed: of the shuffle.
      check: called with what there is before any image is decoded; raises if that will not do.

    Returns:
      The data set. It is prepared anew when a file's name, size or time of change differs (its
      content is not read for that: a large directory would take minutes).

    Raises:
      DataError: nothing usable there; the message says what was found and what is wanted.
    """
    if image_size < 1:
        raise DataError(f"image_size must be 1 or more, got {image_size}")
    root = directory(data_dir)
    splits = find(root, ratios, seed)
    if check is not None:
        check(Sizes(_counts(splits)))
    found = files.directory(root)
    return prepare.load(
        "folder",
        (_VERSION, ratios, seed),
        found,
        lambda: prepare.ImageFiles(found, splits),
        image_size=image_size,
        channels=channels,
    )


def directory(data_dir: str | Path) -> Path:
    """The directory that was given; raises `DataError` where there is none."""
    if not data_dir:
        raise DataError(f"where are your images? Give --data_dir=DIR. {EMBEDDED}")
    root = files.given(data_dir, "a directory of class folders")
    if not root.is_dir():
        raise DataError(f"{shown(root)} is a file; --data_dir must be a directory of class folders")
    return root


def find(root: Path, ratios: tuple[float, float, float], seed: int) -> dict[str, Classes]:
    """The image files of each split and class, as sorted names below `root`; none is decoded.

    Args:
      root: directory with train, val and test below it, or with class folders.
      ratios: shares of the classes, in the second case.
      seed: of their shuffle, in the second case.
    """
    names = set(_folders(root))
    found = {s: [n for n in of_split if n in names] for s, of_split in _SPLIT_FOLDERS.items()}
    if all(found.values()):
        twice = next((" and ".join(of) for of in found.values() if len(of) > 1), None)
        if twice:
            raise DataError(
                f"{shown(root)} holds {twice}, which are names of one split: leave one of them"
            )
        folders = {s: [f"{found[s][0]}/{n}" for n in _folders(root / found[s][0])] for s in SPLITS}
    elif (found["train"] and found["test"]) or (
        any(found.values()) and names <= {n for of in _SPLIT_FOLDERS.values() for n in of}
    ):  # one class may have such a name, but not two
        missing = [split for split in SPLITS if not found[split]]
        raise DataError(
            f"{shown(root)} holds {', '.join(sorted(names))}, but no {' and no '.join(missing)}: "
            "give it folders of all three splits, or only class folders"
        )
    else:
        wanted = "class folders (expected DIR/CLASS/IMAGE or DIR/{train,val,test}/CLASS/IMAGE)"
        folders = dict(class_split.by_ratio(names, ratios, seed, shown(root), wanted))
    return _images(root, folders)


def _folders(directory: Path) -> list[str]:
    with files.reading(directory):
        names = sorted(path.name for path in directory.iterdir() if path.is_dir())
    if hidden := [name for name in names if files.is_made_hidden(name)]:
        where, first = shown(directory), shown(hidden[0])
        log.info("%s: skipped %d hidden folders, such as %s", where, len(hidden), first)
    return [name for name in names if not files.is_hidden(name)]


def _images(root: Path, folders: Mapping[str, Sequence[str]]) -> dict[str, Classes]:
    """The images below the class folders of each split, after a check."""
    with files.reading(root):
        walked = walk(root, [f for of_split in folders.values() for f in of_split], leave=False)
    images: dict[str, list[str]] = {folder: [] for folder in walked.names}
    others: list[str] = []
    for folder, names in walked.names.items():
        for name in names:
            (images[folder] if files.is_image(name) else others).append(name)
    left_out = _tell(root, walked, others)
    splits: dict[str, Classes] = {
        split: {PurePosixPath(folder).name: images[folder] for folder in of_split}
        for split, of_split in folders.items()
    }
    class_split.check(
        _counts(splits),
        shown(root),
        "image",
        f"add images or remove the folder{left_out}",
    )
    return splits


def _counts(splits: Mapping[str, Classes]) -> dict[str, dict[str, int]]:
    return {s: {c: len(names) for c, names in classes.items()} for s, classes in splits.items()}


def _tell(root: Path, walked: Walked, others: Sequence[str]) -> str:
    """Logs what is left out; gives what an error about missing images should add."""
    reasons = {
        "skipped %d other files": others,
        "skipped %d links to what is counted in its own place": walked.again,
        "skipped %d links that lead nowhere": walked.broken,
        "skipped %d links that lead out of the directory": walked.outside,
    }
    for reason, names in reasons.items():
        if names:
            log.info(f"%s: {reason}, such as %s", shown(root), len(names), shown(names[0]))
    if not walked.outside:
        return ""
    return (
        f". Links that lead out of the directory are not followed ({len(walked.outside)} here, "
        f"such as {shown(walked.outside[0])}): put the files in their place"
    )
