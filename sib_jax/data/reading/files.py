"""Where a data set's files are: a directory, an archive (`archives`), or several of these together.

All give the same: names and bytes.
"""

import abc
import contextlib
import functools
import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from PIL import Image

try:  # photographs of iPhones, where the package is there
    import pillow_heif
except ImportError:
    pass
else:
    pillow_heif.register_heif_opener()

from sib_jax.data.errors import DataError
from sib_jax.data.reading.walk import walk
from sib_jax.runtime.files import unreadable
from sib_jax.runtime.words import shown


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
        # Names are put together as strings: of a million files Path alone would take a minute.
        stamps = [(name, *size_and_time(f"{self.where}/{name}")) for name in sorted(used())]
        return str(self._path.absolute()), stamps


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
    if not os.fspath(data_dir):  # which Path takes for the current folder
        raise DataError(f"where are the data? --data_dir must be {wanted}")
    where = shown(data_dir)
    try:
        path = Path(data_dir).expanduser()
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise DataError(f"{where} does not exist; --data_dir must be {wanted}") from None
    except OSError as error:
        raise _unreadable(data_dir, error) from error
    except (RuntimeError, ValueError) as error:  # no such user; a zero byte
        raise DataError(f"{where} is not a path ({error}); --data_dir must be {wanted}") from error
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise DataError(f"{where} is a pipe or device; --data_dir must be {wanted}")
    return path


@contextlib.contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[None]:
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
        raise DataError(f"{shown(path)} is not a path ({error})") from error
    except MemoryError as error:
        raise DataError(f"{shown(path)} is too large for the available memory") from error


def content(path: Path) -> bytes:
    """The bytes of a regular file.

    Raises:
      DataError: it is not one, or cannot be read.
    """
    with reading(path):
        if not stat.S_ISREG(path.stat().st_mode):  # to open a pipe is to wait for its writer
            raise DataError(f"{shown(path)} is not a file")
        return path.read_bytes()


def directory(path: Path) -> Files:
    """The files below a directory, links followed, each real file once."""
    return _Directory(path)


def together(where: str, folders: Mapping[str, Files]) -> Files:
    """Several sources under one root, each below a folder with the given name."""
    return _Together(where, folders)


def is_image(name: str) -> bool:
    """Whether a name is that of an image file, and not hidden."""
    return is_named_as_image(name) and not is_hidden(name)


def is_named_as_image(name: str) -> bool:
    """Whether a name, hidden or not, ends as those of image files do."""
    return os.path.splitext(name)[1].lower() in Image.registered_extensions()


def is_hidden(name: str) -> bool:
    """Whether a file, or a folder that it is in, is one that systems keep for themselves."""
    parts = (part for part in name.split("/") if part != ".")  # "./a" is not hidden
    return any(part.startswith(".") or part in ("__MACOSX", "Thumbs.db") for part in parts)


def is_made_hidden(name: str) -> bool:
    """Whether it is hidden but may be the user's: not a copy that macOS keeps beside a file."""
    parts = name.split("/")
    return is_hidden(name) and "__MACOSX" not in parts and not parts[-1].startswith("._")


def _unreadable(path: str | os.PathLike[str], error: OSError) -> DataError:
    remedy = "check that it is there and that you may read it"
    return DataError(unreadable(path, error, remedy))


def size_and_time(path: str | Path) -> tuple[int, int]:
    """What changes when a file's content does: its size, and when it changed last."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    return status.st_size, status.st_mtime_ns
