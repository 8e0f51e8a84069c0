"""Copies of images in a folder for each class that they were taken for."""

import itertools
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from sib_jax.data.errors import DataError
from sib_jax.runtime import files
from sib_jax.runtime.words import shown

UNSURE = "unsure"  # the folder of images whose class is not sure enough


def of_system(name: str) -> str:
    """A pattern of what a folder's name cannot have, on the system that `os.name` calls `name`."""
    return r'[<>:"/\\|?*\x00-\x1f]|[. ]+$' if name == "nt" else r"[/\\\x00]"


_NO_NAME = of_system(os.name)


def check(place: str, given: Iterable[str]) -> None:
    """Checks that copies can go to a folder; makes nothing.

    Args:
      place: the folder; it is new, or empty.
      given: folders of images, where copies would be found as images again.

    Raises:
      DataError: it holds something, or is in one of those folders.
      FileError: it cannot be made.
    """
    whole = Path(os.path.realpath(place))
    files.check_folder(whole)
    if whole.is_dir() and any(whole.iterdir()):
        raise DataError(f"{shown(place)} already holds files: name a new folder for copies")
    for folder in given:
        if os.path.isdir(folder) and whole.is_relative_to(os.path.realpath(folder)):
            raise DataError(
                f"{shown(place)} is in {shown(folder)}, where the copies would be "
                "sorted again next time: name a folder elsewhere"
            )


def write(place: str, images: Sequence[str], folders: Sequence[str]) -> None:
    """Copies each image, with its times, to its folder: all of them, or none where one fails.

    Of those in a folder that have the same name, all but the first get a number. What a folder's
    name cannot have is replaced: copies of the class Greek/alpha are in Greek_alpha.

    Args:
      place: what `check` accepts.
      images: files.
      folders: of each image, what the folder below `place` is to be named.

    Raises:
      FileError: a copy cannot be written, or an image is gone.
    """
    whole = Path(os.path.realpath(place))
    with files.writing(place), files.temporary_folder(whole) as temporary:
        taken: set[str] = set()
        named = _folder_names(folders)
        for image, folder in zip(images, map(named.__getitem__, folders), strict=True):
            (temporary / folder).mkdir(exist_ok=True)
            name = next(n for n in _names(image) if f"{folder}/{n}".casefold() not in taken)
            taken.add(f"{folder}/{name}".casefold())
            shutil.copy2(image, temporary / folder / name)
        if whole.exists():
            whole.rmdir()  # it is empty
        temporary.rename(whole)


def _folder_names(wanted: Iterable[str]) -> dict[str, str]:
    """The name of each on disk: a single folder below the place, and a different one for each."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in dict.fromkeys(wanted):
        safe = re.sub(_NO_NAME, "_", name)
        safe = safe if safe.strip(". ") else f"_{safe}"
        found[name] = next(n for n in _names(safe) if n.casefold() not in taken)
        taken.add(found[name].casefold())
    return found


def _names(image: str) -> Iterator[str]:
    path = Path(image)
    yield path.name
    for number in itertools.count(2):
        yield f"{path.stem} ({number}){path.suffix}"
