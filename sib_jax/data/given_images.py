"""The images that a user gives: examples of each class, and queries to be sorted."""

import glob
import hashlib
import io
import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, NamedTuple

import numpy as np

from sib_jax.data.cache import digest
from sib_jax.data.errors import DataError
from sib_jax.data.reading import files
from sib_jax.data.reading.decode import decode_one, decode_whole, large_allowed, progress_line
from sib_jax.data.reading.walk import walk
from sib_jax.runtime.console import log
from sib_jax.runtime.kept_rows import KeptRows
from sib_jax.runtime.words import listed, shown

_LINKED = "linked to nothing, or to something already counted"
_HIDDEN = "hidden by a name that begins with a dot; rename it to include it"
_FOLDER = "a folder, matched as one; give it itself, or end the pattern in /*, for what is in it"

AT_ONCE = 16
"""Images that an encoder gets at once; as many more are decoded meanwhile."""


class Found(NamedTuple):
    """Image files.

    Attributes:
      names: n names, as the user would write them.
      folders: the class folder of each; "" for none.
      left_out: why something beside them was left out -> its names.
    """

    names: tuple[str, ...]
    folders: tuple[str, ...]
    left_out: Mapping[str, Sequence[str]] = MappingProxyType({})


class Reader(NamedTuple):
    """How image files become what a method reads.

    Attributes:
      decode: a file and its name -> an image; called in threads.
      inputs: some of those -> an array, a row for each.
    """

    decode: Callable[[IO[bytes], str], Any]
    inputs: Callable[[Sequence[Any]], np.ndarray]


def stored(size: int, channels: int) -> Reader:
    """As the data sets store them: uint8 [n, size, size, channels]."""
    return Reader(lambda file, name: decode_one(file, size, channels, name), np.stack)


def encoded(features: Callable[[Sequence[Any]], np.ndarray]) -> Reader:
    """Features [n, d] of Pillow's images in RGB, each in its own size."""
    return Reader(decode_whole, features)


def find_support(folder: str) -> Found:
    """The images of each class folder.

    Raises:
      DataError: there are fewer than two class folders, one without images, or an image in none.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(
            f"--support={folder} is not a folder; it must hold a folder of examples for each class"
        )
    found = _below(root)
    inside = [(n, f) for n, f in zip(found.names, found.folders, strict=True) if f]
    outside = [n for n, f in zip(found.names, found.folders, strict=True) if not f]
    classes = sorted({f for _, f in inside})
    if len(classes) < 2:
        there = f"only {classes[0]!r} has" if classes else "there are none with"
        beside = f", but {len(outside)} images outside of them: is this what --query is for?"
        raise DataError(
            f"--support={folder} must hold two or more class folders with images; {there} images"
            f"{beside if outside else ''}{_said(found)}"
        )
    if outside:
        raise DataError(
            f"--support={folder} has images outside its class folders, {listed(outside)}: put them "
            "into one, or remove them"
        )
    folders = {p.name for p in root.iterdir() if p.is_dir() and not files.is_hidden(p.name)}
    if empty := sorted(folders - set(classes)):
        raise DataError(
            f"--support={folder} has class folders without images, {listed(empty)}: put examples "
            f"there, or remove them{_said(found)}"
        )
    names, of = (tuple(part) for part in zip(*inside, strict=True))
    return found._replace(names=names, folders=of)


def find_query(given: str) -> Found:
    """The images of a folder, of a folder of class folders, of a glob, or one image.

    Raises:
      DataError: there are none.
    """
    place = Path(given)
    if place.is_dir():
        found = _below(place)
    else:
        one = place.is_file()  # its name may have brackets
        # As a set: where "**" stands twice, glob gives a file more than once.
        matches = [str(place)] if one else sorted(set(glob.glob(str(place), recursive=True)))
        names = tuple(n for n in matches if files.is_image(Path(n).name) and os.path.isfile(n))
        known = set(names)
        rest = [n for n in matches if n not in known and os.path.isfile(n)]
        hidden = [n for n in rest if files.is_hidden(Path(n).name)]
        others = [n for n in rest if n not in hidden]
        above = {parent for n in matches for parent in Path(n).parents}  # where "**" has read
        unread = [n for n in matches if os.path.isdir(n) and Path(n) not in above]
        unread = [n for n in unread if not files.is_hidden(Path(n).name)]
        folders = tuple(Path(n).parent.name for n in names)
        found = Found(names, folders, _left_out(others, hidden=hidden, folders=unread))
    if not found.names:
        what = (
            "holds no images" if place.is_dir() else "is not a folder, and matches no image files"
        )
        raise DataError(f"--query={given} {what}{_said(found)}")
    return found


def _below(root: Path) -> Found:
    """All images below a folder, in order, each with its folder directly below that one."""
    with files.reading(root):
        walked = walk(root, [""], leave=True)
    there = [n for n in walked.names[""] if not files.is_hidden(n)]
    names = [n for n in there if files.is_image(n)]
    folders = tuple(n.split("/")[0] if "/" in n else "" for n in names)
    others = [n for n in there if not files.is_image(n)]
    links = [n for n in (*walked.again, *walked.broken) if not files.is_hidden(n)]
    images = filter(files.is_named_as_image, walked.names[""])
    hidden = [n for n in images if files.is_made_hidden(n)]
    names, others, hidden, links = (
        [str(root / name) for name in of] for of in (names, others, hidden, links)
    )
    return Found(tuple(names), folders, _left_out(others, hidden=hidden, links=links))


def _left_out(
    others: Sequence[str],
    hidden: Sequence[str] = (),
    links: Sequence[str] = (),
    folders: Sequence[str] = (),
) -> dict[str, Sequence[str]]:
    """By the reason; for files that are no images what to do about HEIC is part of it."""
    heic = any(name.lower().endswith((".heic", ".heif")) for name in others)
    hint = " (for HEIC: pip install pillow-heif)" if heic else ""
    reasons = {
        f"not named like an image that Pillow reads{hint}": others,
        _HIDDEN: hidden,
        _LINKED: links,
        _FOLDER: folders,
    }
    return {reason: names for reason, names in reasons.items() if names}


def _said(found: Found) -> str:
    """What was found but left out, for a message that too little was found."""
    told = "; ".join(f"{listed(names)}: {why}" for why, names in found.left_out.items())
    return f" ({told})" if told else ""


def check_distinct(support: Found, shown: Sequence[bytes]) -> None:
    """Raises `DataError` where an image is an example of two classes.

    Args:
      support: m image files.
      shown: digests of what they show.
    """
    known: dict[bytes, int] = {}
    for row, of_image in enumerate(shown):
        first = known.setdefault(of_image, row)
        if support.folders[first] != support.folders[row]:
            raise DataError(
                f"{support.names[first]} and {support.names[row]} are the same image, given as "
                "examples of two classes: remove one"
            )


def read(names: Sequence[str], reader: Reader) -> tuple[np.ndarray, list[bytes]]:
    """What image files become.

    Returns:
      A row for each, and digests of what they show: the same for the same pixels.

    Raises:
      DataError: one or more cannot be read; the message names them.
    """
    batches: list[np.ndarray] = []
    digests: list[bytes] = []

    def done(_names: Sequence[str], images: Sequence[Any], rows: np.ndarray) -> None:
        batches.append(rows)
        digests.extend(map(_digest, images))

    if bad := _read(names, reader, done):
        raise _all_named(bad)
    return joined(batches), digests


def read_readable(
    found: Found, reader: Reader, kept: KeptRows | None = None
) -> tuple[Found, np.ndarray, list[str]]:
    """As `read`, but leaves out those that cannot be read; for queries.

    Args:
      found: the files, each named once.
      reader: what makes rows of them.
      kept: where rows are kept until the caller has written them, and found again afterwards.

    Returns:
      The files that could be read, a row for each, and what is wrong with each of the others.

    Raises:
      DataError: none can be read.
      FileError: rows cannot be kept.
    """
    keys: dict[str, str] = {}
    row_of: dict[str, np.ndarray] = {}
    if kept is not None:
        keys = {name: _key(name) for name in found.names}
        known = kept.read()
        row_of = {name: known[key] for name, key in keys.items() if key in known}
        if row_of:
            log.info("%d of them were done before: %s", len(row_of), shown(kept.folder))

    def done(names: Sequence[str], _images: Sequence[Any], rows: np.ndarray) -> None:
        _check_alike([*itertools.islice(row_of.values(), 1), rows[0]])  # not after hours
        row_of.update(zip(names, rows, strict=True))
        if kept is not None:
            kept.add([keys[name] for name in names], rows)

    bad = _read([name for name in found.names if name not in row_of], reader, done)
    if not row_of:
        raise _all_named(bad)
    readable = [row for row, name in enumerate(found.names) if name in row_of]
    names, folders = (tuple(of[row] for row in readable) for of in (found.names, found.folders))
    rows = joined([row_of[name][None] for name in names])
    return found._replace(names=names, folders=folders), rows, list(map(str, bad.values()))


def _read(
    names: Sequence[str],
    reader: Reader,
    done: Callable[[Sequence[str], Sequence[Any], np.ndarray], None],
) -> dict[str, DataError]:
    """Gives `done` names, images and rows of some at a time; returns what ails the others."""

    def one(name: str) -> Any:
        try:
            return reader.decode(io.BytesIO(files.content(Path(name))), name)
        except DataError as error:
            return error

    bad: dict[str, DataError] = {}
    # Pillow releases Python's lock while it decodes.
    with (
        progress_line("reading", len(names)) as line,
        large_allowed(),
        ThreadPoolExecutor() as pool,
    ):
        ahead = pool.map(one, names[:AT_ONCE])
        for start in range(0, len(names), AT_ONCE):
            found = list(zip(names[start : start + AT_ONCE], ahead, strict=True))
            ahead = pool.map(one, names[start + AT_ONCE : start + 2 * AT_ONCE])
            line.update(len(found))
            bad |= {name: error for name, error in found if isinstance(error, DataError)}
            if good := [(name, image) for name, image in found if name not in bad]:
                images = [image for _, image in good]
                done([name for name, _ in good], images, reader.inputs(images))
    return bad


def _key(name: str) -> str:
    """What changes when an image does."""
    try:
        return digest(name, files.size_and_time(name))
    except DataError:  # it is not there, and is reported when it is read
        return name


def joined(batches: Sequence[np.ndarray]) -> np.ndarray:
    """All rows [n, ...]; raises `DataError` where those of one batch have another shape."""
    _check_alike([batch[0] for batch in batches])
    return np.concatenate(batches)


def _check_alike(rows: Sequence[np.ndarray]) -> None:
    if len({row.shape for row in rows}) > 1:
        lengths = " and ".join(str(length) for length in sorted({len(row) for row in rows}))
        raise DataError(f"the encoder gives features of different lengths: {lengths}")


def _digest(image: Any) -> bytes:
    pixels = np.asarray(image)
    return hashlib.blake2b(f"{pixels.shape}".encode() + pixels.tobytes()).digest()


def _all_named(bad: Mapping[str, DataError]) -> DataError:
    first, *more = bad.values()
    if not more:
        return first
    return DataError(f"{len(bad)} images cannot be used: {'; '.join(map(str, bad.values()))}")
