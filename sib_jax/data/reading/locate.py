"""From the path that a user gives to the files of a data set."""

import re
from collections.abc import Callable, Collection
from pathlib import Path

from sib_jax.data.reading import archives, files
from sib_jax.data.reading.files import Files


def locate(
    path: Path, holds: Callable[[Files], bool], named: re.Pattern[str], parts: Collection[str]
) -> Files:
    """The files below a directory or in an archive, or in the archives of a directory.

    Args:
      path: a directory, or a tar or zip, see `files.given`.
      holds: whether files are the data set. A directory that does not hold it is taken together
        with the archives in it.
      named: matches the names of the right archives; where it matches none, all are taken.
      parts: such as train and val: an archive whose name ends in one is as if in a folder of that
        name.

    Raises:
      DataError: the path cannot be read, or is not a directory or an archive.
    """
    if not path.is_dir():
        return archives.open_archive(path)
    loose = files.directory(path)
    with files.reading(path):
        inside = sorted(p for p in path.iterdir() if archives.is_archive(p) and p.is_file())
    inside = [p for p in inside if named.search(p.name)] or inside
    if not inside or holds(loose):
        return loose
    folders = {_part(p, parts) or p.name: archives.open_archive(p) for p in inside}
    # "." for the loose files: lists may be beside an archive of images.
    return files.together(str(path), {".": loose, **folders})


def _part(archive: Path, parts: Collection[str]) -> str | None:
    """The longest part that the archive's name ends in: train_val, not val."""
    stem = archives.stem(archive)
    ends = [p for p in parts if re.search(rf"(^|[^a-z]){re.escape(p)}$", stem, re.IGNORECASE)]
    return max(ends, key=len, default=None)
