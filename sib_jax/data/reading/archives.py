"""Tar and zip archives as `Files`: read member by member and never extracted.

So no name in one can lead anywhere on the disk.
"""

import bz2
import contextlib
import functools
import gzip
import lzma
import re
import tarfile
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from sib_jax.data.errors import DataError
from sib_jax.data.reading.files import Files, reading, size_and_time
from sib_jax.runtime.words import shown

_ARCHIVE = re.compile(r"\.(tar|zip|tgz|tbz2|txz|tar\.(gz|bz2|xz))$", re.IGNORECASE)
_COMPRESSED: Mapping[bytes, Callable[[Path], object]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}
# Packing never makes images or arrays of them so many times smaller; it does that to zeros.
_PACKED = 100
_SMALL = 64 << 20  # bytes that anything may unpack to


class _Archive(Files):
    """Stamped as a whole."""

    def __init__(self, path: Path):
        self.where = str(path)
        self._path = path

    def stamp(self, used: Callable[[], Iterable[str]]) -> object:
        return str(self._path.absolute()), size_and_time(self._path)


class _Tar(_Archive):
    """The regular files in a tar, compressed or not; links and devices are left out."""

    @functools.cached_property
    def names(self) -> Sequence[str]:
        with self._open() as tar:
            found = sorted({_clean(member.name) for member in self._members(tar)})
            _check_end(tar)
            return found

    def read(self, names: Collection[str]) -> Iterator[tuple[str, Callable[[], bytes]]]:
        wanted = set(names)
        # Front to back: a compressed tar knows no other way.
        with self._open() as tar:
            for member in self._members(tar):
                if (name := _clean(member.name)) in wanted:
                    file = tar.extractfile(member)
                    assert file is not None  # it is a regular file
                    raw = file.read()
                    yield name, functools.partial(bytes, raw)

    def _members(self, tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
        limit, last = _limit(self._path.stat().st_size), -1
        for member in tar:
            if member.offset <= last or member.size < 0 or not member.name:  # it may lead back
                raise tarfile.ReadError("its headers make no sense")
            last = member.offset
            if member.size > limit:  # of a file with holes
                raise _too_packed(self._path)
            if member.isreg():
                yield member

    @contextlib.contextmanager
    def _open(self) -> Iterator[tarfile.TarFile]:
        with _damage_named(self._path), _unpacked(self._path) as file:
            bounded = cast(BinaryIO, _Bounded(file, self._path))
            with tarfile.open(fileobj=bounded, mode="r:") as tar:
                yield tar


def _check_end(tar: tarfile.TarFile) -> None:
    """Checks that it ends as a tar does: `tarfile` takes a damaged header for its end.

    Raises:
      tarfile.ReadError: what follows the last member is neither its end nor that of the file.
      OSError, EOFError, zlib.error, lzma.LZMAError: the checksum of a compressed file is wrong.
    """
    file = tar.fileobj
    assert file is not None
    file.seek(tar.offset)
    if any(file.read(2 * tarfile.BLOCKSIZE)):
        raise tarfile.ReadError("a header is damaged")
    while file.read(1 << 20):  # to its end, where a compressed file has its checksum
        pass


class _Bounded:
    """A file that raises where it is read further than an honest archive of its size goes."""

    def __init__(self, file: BinaryIO, path: Path):
        self._file, self._path = file, path
        self._limit = _limit(path.stat().st_size)
        self.tell = file.tell

    def read(self, count: int) -> bytes:
        self._check(self._file.tell() + count)
        return self._file.read(count)

    def seek(self, place: int) -> int:
        self._check(place)
        return self._file.seek(place)

    def _check(self, place: int) -> None:
        if place > self._limit:
            raise _too_packed(self._path)


class _Zip(_Archive):
    """The files in a zip."""

    @functools.cached_property
    def names(self) -> Sequence[str]:
        with self._open() as archive:
            return sorted(self._members(archive))

    def read(self, names: Collection[str]) -> Iterator[tuple[str, Callable[[], bytes]]]:
        with self._open() as archive:
            members = self._members(archive)
            for name in sorted(names, key=lambda name: members[name].header_offset):
                raw = archive.read(members[name])
                yield name, functools.partial(bytes, raw)

    def _members(self, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
        found = [info for info in archive.infolist() if not info.is_dir()]
        _check_packed(self._path, found)
        return {_clean(info.filename): info for info in found}

    @contextlib.contextmanager
    def _open(self) -> Iterator[zipfile.ZipFile]:
        with _damage_named(self._path), zipfile.ZipFile(self._path) as archive:
            yield archive


def is_archive(path: Path) -> bool:
    """Whether a path is named like a tar or zip."""
    return bool(_ARCHIVE.search(path.name))


def stem(path: Path) -> str:
    """An archive's name without its suffixes."""
    return _ARCHIVE.sub("", path.name)


def open_archive(path: Path) -> Files:
    """The files of a tar or zip; its content tells which of them it is.

    Raises:
      DataError: it is neither.
    """
    with reading(path):
        if not path.is_file():  # to open a pipe is to wait for its writer
            raise DataError(f"{shown(path)} is not a file")
        if zipfile.is_zipfile(path):
            return _Zip(path)
        if _is_tar(path):
            return _Tar(path)
    raise DataError(f"{shown(path)} is neither a directory nor a tar or zip archive")


def _is_tar(path: Path) -> bool:
    try:
        with _unpacked(path) as file:
            tarfile.open(fileobj=cast(BinaryIO, _Bounded(file, path)), mode="r:").close()
    except OSError as error:
        if error.errno is not None:  # else: it is damaged, or packed in an unknown way
            raise
        return False
    except DataError:
        raise
    except Exception:  # what is not a tar fails in any way there is
        return False
    return True


def _unpacked(path: Path) -> BinaryIO:
    """The content of a file, unpacked while it is read."""
    with path.open("rb") as file:
        start = file.read(8)
    for magic, opener in _COMPRESSED.items():
        if start.startswith(magic):
            return cast(BinaryIO, opener(path))
    return path.open("rb")


def _limit(packed: int) -> int:
    """The most bytes that `packed` compressed ones may unpack to."""
    return _PACKED * packed + _SMALL


def _too_packed(path: Path) -> DataError:
    return DataError(
        f"{shown(path)} claims to hold more than {_PACKED} times its size, which no real data set "
        "does; copy or download it again"
    )


def _check_packed(path: Path, members: Sequence[zipfile.ZipInfo]) -> None:
    """Refuses a zip that would unpack to far more than it is, before any of it is unpacked.

    Raises:
      DataError: its members, or one of them, say so.
    """
    # Members may overlap, so all together are bounded too.
    total = sum(info.file_size for info in members)
    if total > _limit(path.stat().st_size) or any(
        info.file_size > _limit(info.compress_size) for info in members
    ):
        raise _too_packed(path)


def _clean(name: str) -> str:
    """Without a leading "./"."""
    return str(PurePosixPath(name))


@contextlib.contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # a damaged archive fails in any way there is
        reason = shown(str(error) or type(error).__name__)
        raise DataError(
            f"{shown(path)} cannot be read ({reason}); copy or download it again"
        ) from error
