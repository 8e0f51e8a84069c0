"""Where a data set's files are: a directory, a tar, a zip, or several of these together.

All give the same: names and bytes. An archive is read member by member and never extracted, so no
name in it can lead anywhere on the disk.
"""

import abc
import contextlib
import functools
import lzma
import os
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from PIL import Image

from sib_jax.data.errors import DataError

_ARCHIVE = re.compile(r"\.(tar|zip|tgz|tbz2|txz|tar\.(gz|bz2|xz))$", re.IGNORECASE)
# What reading a damaged or encrypted archive may raise.
_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,
)


class Files(abc.ABC):
    """Named files, to be listed and read.

    Attributes:
      where: the path, as messages name it.
    """

    where: str

    @property
    @abc.abstractmethod
    def names(self) -> Sequence[str]:
        """Names of the files, sorted, with "/" between their parts."""

    @abc.abstractmethod
    def read(self, names: Collection[str]) -> Iterator[tuple[str, Callable[[], bytes]]]:
        """The named files, in the order that is fastest to read.

        Yields:
          name, and a function for the content, which any thread may call.
        """

    @abc.abstractmethod
    def stamp(self, used: Callable[[], Iterable[str]]) -> object:
        """What changes when the content does: paths, sizes and times of change.

        Args:
          used: gives the names that matter. An archive is stamped as a whole and does not ask, so
            a long one need not be listed.
        """

    def content(self, name: str) -> bytes:
        """The bytes of one file."""
        return next(read() for _, read in self.read([name]))

    def path(self, name: str) -> str:
        """What messages call a file."""
        return f"{self.where}/{name}"


class _Directory(Files):
    def __init__(self, path: Path):
        self.where = str(path)
        self._path = path

    @functools.cached_property
    def names(self) -> Sequence[str]:
        try:
            found = [file.relative_to(self._path).as_posix() for file in _walk(self._path, ())]
        except OSError as error:
            raise _unreadable(error.filename, error) from error
        return sorted(found)

    def read(self, names: Collection[str]) -> Iterator[tuple[str, Callable[[], bytes]]]:
        for name in names:
            yield name, functools.partial(_bytes, self._path / name)

    def stamp(self, used: Callable[[], Iterable[str]]) -> object:
        stamps = [(name, *_size_and_time(self._path / name)) for name in sorted(used())]
        return str(self._path.absolute()), stamps


class _Tar(Files):
    """The regular files in a tar, compressed or not; links and devices are left out."""

    def __init__(self, path: Path):
        self.where = str(path)
        self._path = path

    @functools.cached_property
    def names(self) -> Sequence[str]:
        with self._open() as tar:
            return sorted({_clean(member.name) for member in tar if member.isreg()})

    def read(self, names: Collection[str]) -> Iterator[tuple[str, Callable[[], bytes]]]:
        wanted = set(names)
        # Front to back: a compressed tar knows no other way.
        with self._open() as tar:
            for member in tar:
                if member.isreg() and (name := _clean(member.name)) in wanted:
                    file = tar.extractfile(member)
                    assert file is not None  # it is a regular file
                    content = file.read()
                    yield name, functools.partial(bytes, content)

    def stamp(self, used: Callable[[], Iterable[str]]) -> object:
        return str(self._path.absolute()), _size_and_time(self._path)

    @contextlib.contextmanager
    def _open(self) -> Iterator[tarfile.TarFile]:
        with _damage_named(self._path), tarfile.open(self._path) as tar:
            yield tar


class _Zip(Files):
    """The files in a zip."""

    def __init__(self, path: Path):
        self.where = str(path)
        self._path = path

    @functools.cached_property
    def names(self) -> Sequence[str]:
        with self._open() as archive:
            return sorted(_members(archive))

    def read(self, names: Collection[str]) -> Iterator[tuple[str, Callable[[], bytes]]]:
        with self._open() as archive:
            members = _members(archive)
            for name in sorted(names, key=lambda name: members[name].header_offset):
                content = archive.read(members[name])
                yield name, functools.partial(bytes, content)

    def stamp(self, used: Callable[[], Iterable[str]]) -> object:
        return str(self._path.absolute()), _size_and_time(self._path)

    @contextlib.contextmanager
    def _open(self) -> Iterator[zipfile.ZipFile]:
        with _damage_named(self._path), zipfile.ZipFile(self._path) as archive:
            yield archive


class _Together(Files):
    def __init__(self, where: str, folders: Mapping[str, Files]):
        self.where = where
        self._folders = folders

    @functools.cached_property
    def names(self) -> Sequence[str]:
        return sorted(
            f"{folder}/{n}" for folder, files in self._folders.items() for n in files.names
        )

    def read(self, names: Collection[str]) -> Iterator[tuple[str, Callable[[], bytes]]]:
        for folder, names_there in self._by_folder(names).items():
            for name, read in self._folders[folder].read(names_there):
                yield f"{folder}/{name}", read

    def stamp(self, used: Callable[[], Iterable[str]]) -> object:
        def used_in(folder: str) -> Callable[[], Iterable[str]]:
            return lambda: self._by_folder(used()).get(folder, [])

        return [(folder, files.stamp(used_in(folder))) for folder, files in self._folders.items()]

    def path(self, name: str) -> str:
        folder, rest = name.split("/", 1)
        return self._folders[folder].path(rest)

    def _by_folder(self, names: Iterable[str]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name in names:
            folder, rest = name.split("/", 1)
            found.setdefault(folder, []).append(rest)
        return found


def directory(path: Path) -> Files:
    """The files below a directory, links followed."""
    return _Directory(path)


def together(where: str, folders: Mapping[str, Files]) -> Files:
    """Several sources under one root, each below a folder of the name it is given."""
    return _Together(where, folders)


def is_image(name: str) -> bool:
    """Whether a name is one of an image file, and no hidden one."""
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return path.suffix.lower() in Image.registered_extensions() and not hidden


def is_archive(path: Path) -> bool:
    """Whether a path is named like a tar or zip."""
    return bool(_ARCHIVE.search(path.name))


def stem(path: Path) -> str:
    """An archive's name without its suffixes."""
    return _ARCHIVE.sub("", path.name)


def open_archive(path: Path) -> Files:
    """The files of a tar or zip; which of them it is, its content says.

    Raises:
      DataError: it is neither.
    """
    try:
        if zipfile.is_zipfile(path):
            return _Zip(path)
        if tarfile.is_tarfile(path):
            return _Tar(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    raise DataError(f"{path} is neither a directory nor a tar or zip archive")


def _walk(directory: Path, above: tuple[str, ...]) -> Iterator[Path]:
    real = os.path.realpath(directory)
    if real in above:  # a link to a folder that holds it
        return
    for path in directory.iterdir():
        if path.is_dir():
            yield from _walk(path, (*above, real))
        elif path.is_file():
            yield path


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: object, error: OSError) -> DataError:
    return DataError(f"{path} cannot be read ({error.strerror or error})")


def _size_and_time(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _clean(name: str) -> str:
    """Without a leading "./"."""
    return str(PurePosixPath(name))


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    return {_clean(info.filename): info for info in archive.infolist() if not info.is_dir()}


@contextlib.contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise DataError(f"{path} cannot be read ({error}); copy or download it again") from error
