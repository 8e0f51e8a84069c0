"""Published data sets with a standard split: a copy is found in any of its forms, and prepared."""

import dataclasses
import functools
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from sib_jax.data import prepare
from sib_jax.data.cache import BASE_SPLITS
from sib_jax.data.errors import EMBEDDED, DataError
from sib_jax.data.prepare import Arrays, Copy
from sib_jax.data.reading.files import Files, given
from sib_jax.data.reading.locate import locate
from sib_jax.data.split import SPLITS, DataSet
from sib_jax.runtime.words import listed


@dataclasses.dataclass(frozen=True)
class StandardSplit:
    """Which classes belong to which split, and how many images each has.

    Attributes:
      title: what messages call the data set.
      classes: train, val and test -> names of its classes, sorted.
      images: of each class.
      obtain: how to get the data, for messages: a clause without a full stop.
    """

    title: str
    classes: Mapping[str, Sequence[str]]
    images: int
    obtain: str

    def home(self) -> dict[str, str]:
        """The split of each class."""
        return {name: split for split, names in self.classes.items() for name in names}


class Found(NamedTuple):
    """An image file of a copy.

    Attributes:
      split: the split that the copy puts it in, or None where the copy does not say.
      class_name: its class.
      name: of the file.
    """

    split: str | None
    class_name: str
    name: str


class Source(NamedTuple):
    """Where and in which forms copies of a data set come.

    Attributes:
      name: of the data set.
      version: raised when reading changes, so that old cache entries are not found.
      channels: 3, or 1 for gray.
      forms: each looks at files and gives the copy, or None where they are not of its form.
      archives: matches the names of archives that may hold a copy.
      parts: such as train and val: what an archive of a part of a copy is named after.
      wanted: the forms in words, for messages.
    """

    name: str
    version: int
    channels: int
    forms: Sequence[Callable[[Files, StandardSplit], Copy | None]]
    archives: re.Pattern[str]
    parts: Collection[str]
    wanted: str


def load(
    source: Source, data_dir: str | Path, standard: StandardSplit, *, image_size: int
) -> DataSet:
    """Finds a copy and prepares it once.

    Args:
      source: the data set, and the forms that a copy may have.
      data_dir: directory, tar or zip that holds the copy, or a directory of such archives.
      standard: what a complete copy is.
      image_size: pixels, height and width of the stored images.

    Raises:
      DataError: there is no copy, or it is incomplete, mixed up or damaged.
    """
    if not data_dir:
        raise DataError(
            f"where is {standard.title}? Give --data_dir=DIR: {source.wanted}. "
            f"To get it, {standard.obtain}. {EMBEDDED}"
        )
    path = given(data_dir, "a directory or an archive")

    @functools.cache
    def find(files: Files) -> Copy | None:
        return next(filter(None, (form(files, standard) for form in source.forms)), None)

    def holds(files: Files) -> bool:
        try:
            return find(files) is not None
        except DataError:  # such as lists whose images are in an archive beside them
            return False

    files = locate(path, holds, source.archives, source.parts)

    def copy() -> Copy:
        found = find(files)
        if found is None:
            raise DataError(
                f"{path} holds no {standard.title}; looked for {source.wanted}. "
                f"To get it, {standard.obtain}. {EMBEDDED}"
            )
        return found

    key = (source.version, standard.classes, standard.images)
    return prepare.load(
        source.name, key, files, copy, image_size=image_size, channels=source.channels
    )


def arrange(
    found: Iterable[Found], standard: StandardSplit, where: str
) -> dict[str, dict[str, list[str]]]:
    """The image files by split and class, in the standard order, of a complete copy.

    Classes are in sorted order, and images in the order of their file names: whatever the form
    of the copy, equal images get equal rows. An unknown class that is in no split is left out.

    Args:
      found: every image of the copy; a split may also be base_val or base_test.
      standard: what a complete copy is.
      where: the copy's path, for messages.

    Returns:
      train, val and test, and base_val and base_test where there are such -> class -> names.

    Raises:
      DataError: see `check`.
    """
    home = standard.home()
    layout: dict[str, dict[str, list[str]]] = {}
    for split, class_name, name in found:
        split = split or home.get(class_name)
        if split:
            layout.setdefault(split, {}).setdefault(class_name, []).append(name)
    check({s: {c: len(n) for c, n in cs.items()} for s, cs in layout.items()}, standard, where)
    return {
        split: {c: sorted(classes[c], key=_file_name) for c in sorted(classes)}
        for split, classes in layout.items()
    }


def arrange_arrays(
    images: np.ndarray,
    classes: Sequence[str],
    standard: StandardSplit,
    where: str,
    *,
    file_names: Sequence[str] = (),
) -> dict[str, Arrays]:
    """Like `arrange`, for images that come decoded.

    Args:
      images: uint8 [n, height, width, channels].
      classes: name of the class of each.
      standard: what a complete copy is.
      where: the copy's path, for messages.
      file_names: of each image; where there are none, images keep their order.

    Returns:
      Each split.

    Raises:
      DataError: see `check`.
    """
    names = file_names or [f"{row:09}" for row in range(len(images))]
    rows = {(c, name): row for row, (c, name) in enumerate(zip(classes, names, strict=True))}
    found = (Found(None, c, name) for c, name in rows)
    return {
        split: Arrays(
            {c: images[[rows[c, n] for n in of_class]] for c, of_class in layout.items()},
            layout if file_names else {},
        )
        for split, layout in arrange(found, standard, where).items()
    }


def check(counts: Mapping[str, Mapping[str, int]], standard: StandardSplit, where: str) -> None:
    """Checks that a copy is complete and not mixed up.

    Args:
      counts: train, val and test, and base_val and base_test where there are such -> class ->
        number of images.
      standard: what a complete copy is.
      where: the copy's path, for messages.

    Raises:
      DataError: a class is unknown, in another split than it belongs to, missing, or has too few
        or too many images. The message names it.
    """
    home = standard.home()
    for split, classes in counts.items():
        belongs = "train" if split in BASE_SPLITS else split
        for name in classes:
            if name not in home:
                raise DataError(
                    f"{where}: {split} holds the class {name!r}, which is not one of "
                    f"{standard.title}'s {len(home)}; the data set `folder` takes any classes"
                )
            if home[name] != belongs:
                raise DataError(
                    f"{where}: the class {name!r} is in {split}, but belongs to {home[name]} of "
                    f"{standard.title}; accuracy on such a copy would mean nothing"
                )
    for split in (*SPLITS, *(base for base in BASE_SPLITS if base in counts)):
        expected = standard.classes["train" if split in BASE_SPLITS else split]
        missing = [name for name in expected if not counts.get(split, {}).get(name)]
        if missing:
            raise DataError(
                f"{where}: {split} lacks {len(missing)} of {standard.title}'s {len(expected)} "
                f"classes: {listed(missing)}. Complete it: {standard.obtain}"
            )
    for split in SPLITS:
        wrong = [
            f"{name!r} has {count}"
            for name, count in sorted(counts[split].items())
            if count != standard.images
        ]
        if wrong:
            raise DataError(
                f"{where}: every class of {standard.title} has {standard.images} images, but in "
                f"{split} {listed(wrong)}. Complete it: {standard.obtain}"
            )


def _file_name(name: str) -> tuple[str, str]:
    return PurePosixPath(name).name, name
