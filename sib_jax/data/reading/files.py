"""Where a data set's files are: a directory, a tar, a zip, or several of these together.

All give the same: names and bytes. An archive is read member by member and never extracted, so no
name in it can lead anywhere on the disk.
"""

import abc
import bz2
import contextlib
import functools
import gzip
import lzma
import os
import re
import stat
import tarfile
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from PIL import Image

try:  # photographs of iPhones, where the package is there
    import pillow_heif
except ImportError:
    pass
else:
    pillow_heif.register_heif_opener()

from sib_jax.data.errors import DataError
from sib_jax.data.reading.walk import walk
from sib_jax.runtime.files import shown

_ARCHIVE = re.compile(r"\.(tar|zip|tgz|tbz2|txz|tar\.(gz|bz2|xz))$", re.IGNORECASE)
_COMPRESSED: Mapping[bytes, Callable[[Path], object]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}
# No images or arrays of them become so many times smaller when they are packed, but zeros do.
_PACKED = 100
_SMALL = 64 << 20  # bytes that anything may unpack to


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
        with reading(self._path):
            return walk(self._path, [""], leave=True).names[""]

    def read(self, names: Collection[str]) -> Iterator[tuple[str, Callable[[], bytes]]]:
        for name in names:
            yield name, functools.partial(content, self._path / name)

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

    def stamp(self, used: Callable[[], Iterable[str]]) -> object:
        return str(self._path.absolute()), _size_and_time(self._path)

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
    """Whether it ends as a tar does: `tarfile` takes a damaged header for its end.

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
    """A file that ends with an error where no honest archive of its size goes on."""

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


class _Zip(Files):
    """The files in a zip."""

    def __init__(self, path: Path):
        self.where = str(path)
        self._path = path

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

    def stamp(self, used: Callable[[], Iterable[str]]) -> object:
        return str(self._path.absolute()), _size_and_time(self._path)

    def _members(self, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
        found = [info for info in archive.infolist() if not info.is_dir()]
        check_packed(self._path, found)
        return {_clean(info.filename): info for info in found}

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


def given(data_dir: str | os.PathLike[str], wanted: str) -> Path:
    """The path that a user gave, which is a directory or a regular file.

    Args:
      data_dir: what was given; "~" is the user's home.
      wanted: what it must be, for messages: "a directory of class folders".

    Raises:
      DataError: it is neither, or cannot be read.
    """
    where = shown(data_dir)
    try:
        path = Path(data_dir).expanduser()
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise DataError(f"{where} does not exist; --data_dir must be {wanted}") from None
    except OSError as error:
        raise _unreadable(where, error) from error
    except (RuntimeError, ValueError) as error:  # no such user; a zero byte
        raise DataError(f"{where} is no path ({error}); --data_dir must be {wanted}") from error
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise DataError(f"{where} is a pipe or device; --data_dir must be {wanted}")
    return path


@contextlib.contextmanager
def reading(path: object) -> Iterator[None]:
    """Around whatever reads the user's files: errors of the system become a `DataError`.

    Args:
      path: what is read, where the error itself does not name it.
    """
    try:
        yield
    except OSError as error:
        raise _unreadable(error.filename or path, error) from error
    except ValueError as error:
        if isinstance(error, DataError) or "null" not in str(error):
            raise
        raise DataError(f"{shown(str(path))} is no path ({error})") from error
    except MemoryError as error:
        raise DataError(f"{shown(str(path))} is too large for the memory there is") from error


def content(path: Path) -> bytes:
    """The bytes of a regular file.

    Raises:
      DataError: it is none, or cannot be read.
    """
    with reading(path):
        if not stat.S_ISREG(path.stat().st_mode):  # to open a pipe is to wait for its writer
            raise DataError(f"{shown(path)} is no file")
        return path.read_bytes()


def directory(path: Path) -> Files:
    """The files below a directory, links followed, each real file once."""
    return _Directory(path)


def together(where: str, folders: Mapping[str, Files]) -> Files:
    """Several sources under one root, each below a folder of the name it is given."""
    return _Together(where, folders)


def is_image(name: str) -> bool:
    """Whether a name is one of an image file, and no hidden one."""
    suffix = PurePosixPath(name).suffix.lower()
    return suffix in Image.registered_extensions() and not is_hidden(name)


def is_hidden(name: str) -> bool:
    """Whether a file or a folder that it lies in is one that systems keep for themselves."""
    parts = PurePosixPath(name).parts
    return any(part.startswith(".") or part in ("__MACOSX", "Thumbs.db") for part in parts)


def is_archive(path: Path) -> bool:
    """Whether a path is named like a tar or zip."""
    return bool(_ARCHIVE.search(path.name))


def stem(path: Path) -> str:
    """An archive's name without its suffixes."""
    return _ARCHIVE.sub("", path.name)


def check_packed(path: Path, members: Sequence[zipfile.ZipInfo]) -> None:
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


def open_archive(path: Path) -> Files:
    """The files of a tar or zip; which of them it is, its content says.

    Raises:
      DataError: it is neither.
    """
    with reading(path):
        if not path.is_file():  # to open a pipe is to wait for its writer
            raise DataError(f"{shown(path)} is no file")
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
        if error.errno is not None:  # else: it is damaged, or packed by nothing known
            raise
        return False
    except DataError:
        raise
    except Exception:  # whatever is no tar fails in any way there is
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
    """Bytes that so many packed ones may hold."""
    return _PACKED * packed + _SMALL


def _too_packed(path: Path) -> DataError:
    return DataError(
        f"{shown(path)} says that it holds more than {_PACKED} times its size, which no data do; "
        "copy or download it again"
    )


def _unreadable(path: object, error: OSError) -> DataError:
    where = shown(os.fsdecode(path) if isinstance(path, bytes) else str(path))
    return DataError(
        f"{where} cannot be read ({error.strerror or error}); check that it is there and that you "
        "may read it"
    )


def _size_and_time(path: Path) -> tuple[int, int]:
    with reading(path):
        status = path.stat()
    return status.st_size, status.st_mtime_ns


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
