"""Files that are whole or not there: written beside their place, made durable, then renamed.

Temporaries are named `.<name>.<machine>.<random>.tmp` and locked while their writer lives, so what
a killed process left can be told from what another is writing now. Only the standard library is
used: anything may import this.
"""

import contextlib
import errno
import functools
import os
import re
import secrets
import shutil
import stat
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from sib_jax.errors import UserError
from sib_jax.runtime.words import shown

try:
    import fcntl
except ImportError:  # Windows: what is old is swept, see `_is_left`
    fcntl = None  # type: ignore[assignment]

StrPath = str | os.PathLike[str]

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""The errors that mean: no room."""

_OLD = 24 * 3600  # seconds: a temporary whose writer cannot be asked is left alone for so long
_BLOCK = bytes(1 << 20)
_TEMPORARY = re.compile(r"\..*\.(?P<machine>[0-9a-f]{8})\.[0-9a-f]{12}\.tmp", re.DOTALL)
_REMEDIES = {
    errno.EBUSY: "close it there, or choose another path",
    errno.EACCES: "choose a folder that you may write to, or change its permissions",
    errno.EPERM: "choose a folder that you may write to, or change its permissions",
    errno.EROFS: "choose a folder on a disk that can be written to",
    errno.EIO: "the disk reports an error: check it, or choose a folder on another one",
    errno.ENAMETOOLONG: "choose a shorter path",
    errno.EISDIR: "choose a path that is not a folder",
    errno.ELOOP: "its links lead in a circle: choose another path",
}


class FileError(UserError):
    """A file or folder that cannot be written or read: its name, the reason and a remedy."""


class DiskFullError(FileError):
    """There is no room for a file; the message says how much there is."""


def write_atomically(path: StrPath, write: Callable[[BinaryIO], object]) -> None:
    """Writes a file as a whole: whatever happens, `path` holds the old content or the new.

    The folder is made where it is missing. A link is followed, and the file it leads to replaced;
    permissions of a file that is there are kept, and one that may not be written is left alone.

    Args:
      path: of the file.
      write: is given the temporary file, open in binary, to write into.

    Raises:
      DiskFullError: there is no room.
      FileError: the path cannot be written; one line names it, the reason and what to do.
    """
    with writing(path):
        mode = _mode_of_regular(Path(path))
        target = Path(os.path.realpath(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep(target.parent, target.name)
        with _temporary_file(target) as (file, temporary):
            write(file)
            file.flush()
            if mode is not None:
                os.chmod(temporary, mode)
            os.fsync(file.fileno())
            if fcntl is None:  # Windows renames no open file; elsewhere closing ends the lock
                file.close()
            os.replace(temporary, target)
        sync_folder(target.parent)


def write_bytes(path: StrPath, content: bytes) -> None:
    """Writes bytes as a whole; see `write_atomically`."""
    write_atomically(path, lambda file: file.write(content))


def write_text(path: StrPath, text: str) -> None:
    """Writes UTF-8 text as a whole, and names of files as they are; see `write_atomically`."""
    write_bytes(path, encoded(text))


def encoded(text: str) -> bytes:
    """UTF-8, and names of files as they are on the disk."""
    return text.encode(errors="surrogateescape")


def make_folder(path: StrPath) -> Path:
    """Makes a folder, and those above it, where it is missing.

    Raises:
      FileError: it cannot be made; one line names it, the reason and what to do.
    """
    with writing(path):
        Path(path).mkdir(parents=True, exist_ok=True)
    return Path(path)


def check_file(path: StrPath) -> None:
    """Checks that a file can be written, or replaced; writes nothing.

    Raises:
      FileError: it cannot; one line names it, the reason and what to do.
    """
    with writing(path):
        _mode_of_regular(Path(path))
    check_folder(Path(path).absolute().parent)


def check_folder(path: StrPath, below: str = "") -> None:
    """Checks that a folder is there and can be written to, or can be made; makes nothing.

    Args:
      path: of the folder.
      below: the longest path that will be used below it.

    Raises:
      FileError: neither is so; one line names it, the reason and what to do.
    """
    with writing(path):
        place = Path(path).absolute()
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            (place / below).lstat()  # fails where the names are too long
        while not os.path.lexists(place):
            if place == place.parent:  # a drive of Windows, or a share
                raise FileNotFoundError(errno.ENOENT, f"there is no {shown(place)}")
            place = place.parent
        if place.is_symlink() and not place.exists():
            raise OSError(
                errno.EINVAL,
                f"{shown(place)} is a link to {shown(os.readlink(place))}, which is missing",
            )
        if not place.is_dir():
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if hasattr(os, "statvfs") and os.statvfs(place).f_flag & os.ST_RDONLY:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        if not os.access(place, os.W_OK | os.X_OK):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))


@contextlib.contextmanager
def lock(path: Path) -> Iterator[tuple[bool | None, str]]:
    """A lock that ends with the process, or with the context; the file stays.

    Args:
      path: of the file; it holds who has the lock, in words.

    Yields:
      Whether it is ours now, None where there are no locks; and who has it.

    Raises:
      OSError: the file cannot be made; see `writing`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        is_ours = _lock(handle)
        if is_ours:
            os.ftruncate(handle, 0)
            os.write(handle, f"process {os.getpid()} on {_nodename()}".encode())
        os.lseek(handle, 0, os.SEEK_SET)
        holder = os.read(handle, 300).decode(errors="replace")
        yield is_ours, shown(holder) or "its process is not known"
    finally:
        os.close(handle)


@contextlib.contextmanager
def temporary_folder(place: Path) -> Iterator[Path]:
    """A folder beside `place`, to be filled and then renamed to it; else it is removed at the end.

    What killed processes left for the same place is removed first.

    Raises:
      OSError: it cannot be made; see `writing`.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    sweep(place.parent, place.name)
    while True:
        temporary = _temporary_name(place)
        temporary.mkdir()
        with _locked(temporary) as is_ours:
            if not is_ours:  # swept in the instant before it was locked
                continue
            try:
                yield temporary
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
            return


def put_aside(path: Path) -> None:
    """Removes a file, link or folder, which is never seen there half removed."""
    aside = _temporary_name(path)
    path.rename(aside)
    _remove(aside)


def sweep(folder: Path, name: str | None = None) -> None:
    """Removes the temporaries in `folder` whose writer is gone.

    A writer holds a lock, which ends with its process. Where locks do not work or the writer runs
    on another machine, a temporary is removed after a day without a change.

    Args:
      folder: to look in, not below it; what cannot be read or removed is left.
      name: of the file that they are for; None for all.
    """
    start = None if name is None else f".{_short(name)}."
    try:
        entries = list(folder.iterdir())
    except OSError:
        return
    for entry in entries:
        match = _TEMPORARY.fullmatch(entry.name)
        if match and (start is None or entry.name.startswith(start)):
            with contextlib.suppress(OSError):
                _sweep_one(entry, match["machine"])


def reserve(file: BinaryIO, size: int) -> None:
    """Gives a file `size` bytes that are really there, so that writing through a map cannot fail.

    A map of a file with holes kills the process ("Bus error") when the disk is full.

    Raises:
      OSError: there is no room.
    """
    if size > free_bytes(Path(file.name)):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if hasattr(os, "posix_fallocate") and size:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
            return
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
    held = file.seek(0, os.SEEK_END)  # what is there stays
    for start in range(held, size, len(_BLOCK)):
        file.write(_BLOCK[: size - start])
    file.flush()


def sync(path: Path) -> None:
    """Makes the content of a file durable.

    Raises:
      OSError: the disk did not take it.
    """
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Makes the names in a folder durable, where the system can."""
    # Some systems cannot open or sync a folder; their files are as durable as they get.
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def free_bytes(path: Path) -> int:
    """Bytes that are free where `path` is or would be."""
    path = path.absolute()
    for place in (path, *path.parents):
        with contextlib.suppress(OSError):
            return shutil.disk_usage(place).free
    return 0


def checksum(path: Path) -> int:
    """CRC-32 of a file, read once from its beginning.

    Raises:
      OSError: it cannot be read.
    """
    crc, block = 0, bytearray(1 << 20)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(block):
            crc = zlib.crc32(memoryview(block)[:count], crc)
    return crc


def size_and_checksum(path: Path) -> list[int]:
    """What `damage` compares a file with later."""
    return [path.stat().st_size, checksum(path)]


def damage(path: Path, size: int, crc: int) -> str:
    """What has changed in a file since it was written, in words; "" where nothing has.

    Its content is read once per process, unless it changes.

    Raises:
      OSError: it cannot be read.
    """
    now = path.stat()
    if now.st_size != size:
        return f"{path.name} has {now.st_size:,} bytes, not {size:,}"
    if _checksum_of(path, now.st_ino, now.st_dev, now.st_mtime_ns) != crc:
        return f"{path.name} has a different checksum than when it was written"
    return ""


@functools.lru_cache(maxsize=256)
def _checksum_of(path: Path, *_: int) -> int:
    """The further arguments change when the file does."""
    return checksum(path)


@contextlib.contextmanager
def writing(path: StrPath, remedy: str = "") -> Iterator[None]:
    """Around whatever writes `path`: errors of the system become a `FileError` of one line.

    Args:
      path: what is being written.
      remedy: what to do when there is no room, or no permission: a clause without a full stop.
    """
    try:
        yield
    except OSError as error:
        raise file_error(path, error, remedy) from error
    except ValueError as error:
        if "null" not in str(error) or isinstance(error, UserError):
            raise
        raise FileError(
            f"{shown(path)} cannot be written: a path cannot hold a zero byte; choose another path"
        ) from error


def unreadable(path: StrPath, error: OSError, remedy: str) -> str:
    """Says in one line that a file cannot be read: the path, the reason and what to do."""
    return f"{shown(path)} cannot be read: {_reason(error)}; {remedy}"


def file_error(path: StrPath, error: OSError, remedy: str = "") -> FileError:
    """An error of the system in one line: the path, the reason and what to do."""
    place = Path(path)
    if error.errno in FULL or "requested and" in str(error):  # numpy's words, without a number
        free = free_bytes(place.parent)
        remedy = remedy or "free some space there, or choose a folder on another disk"
        return DiskFullError(
            f"{shown(path)} cannot be written: {_reason(error)} ({free:,} bytes are free); {remedy}"
        )
    reason = _reason(error)
    if error.errno in (errno.ENOTDIR, errno.EEXIST) and (file := _file_above(place)):
        reason = f"{shown(file)} is a file, not a folder"
    remedy = remedy or _REMEDIES.get(error.errno or 0, "choose another path")
    return FileError(f"{shown(path)} cannot be written: {reason}; {remedy}")


def _reason(error: OSError) -> str:
    return shown(error.strerror or str(error) or type(error).__name__)


def _file_above(path: Path) -> Path | None:
    with contextlib.suppress(OSError, ValueError):
        for place in (path, *path.absolute().parents):
            if place.exists() and not place.is_dir():
                return place
    return None


def _mode_of_regular(path: Path) -> int | None:
    """The permissions of a file that is to be replaced; a device or folder must not be."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is a device or pipe, not a file")
    if not os.access(path, os.W_OK):  # to rename over it would need no such permission
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))
    if fcntl is None:
        try:
            path.open("r+b").close()
        except OSError as error:
            raise OSError(errno.EBUSY, "another program has it open") from error
    return stat.S_IMODE(mode)


@contextlib.contextmanager
def _temporary_file(target: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """A locked file beside `target`, gone at the end unless renamed."""
    while True:
        temporary = _temporary_name(target)
        with contextlib.ExitStack() as stack:
            stack.callback(temporary.unlink, missing_ok=True)
            # "x": the name is random, and what has it by chance is not ours. Closed first: Windows
            # removes no open file, and closing may fail when the disk is full.
            file = stack.enter_context(contextlib.closing(temporary.open("xb")))
            if not _locked_in_place(file.fileno(), temporary):
                continue  # swept in the instant before it was locked
            yield file, temporary
            return


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Locks a folder, where that works; gives whether it is still there."""
    if fcntl is None:  # Windows opens no folder
        yield True
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        yield False
        return
    try:
        yield _locked_in_place(handle, folder)
    finally:
        os.close(handle)


def _lock(handle: int) -> bool | None:
    """Whether the lock was free and is taken now; None where there are no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _locked_in_place(handle: int, path: Path) -> bool:
    """Whether a temporary is locked and still there; without locks nobody sweeps what is new."""
    if fcntl is None:
        return True
    try:
        return _lock(handle) is not False and os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _sweep_one(path: Path, machine: str) -> None:
    if fcntl is None or machine != _machine():
        if _is_old(path):
            _remove(path)
        return
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        free = _lock(handle)
        # Removed while locked: a writer that comes between sees that its file is gone.
        if free or (free is None and _is_old(path)):
            _remove(path)
    finally:
        os.close(handle)


def _is_old(path: Path) -> bool:
    inside = path.iterdir() if path.is_dir() else []
    newest = max(p.stat().st_mtime for p in (path, *inside))
    return time.time() - newest > _OLD


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _temporary_name(place: Path) -> Path:
    return place.with_name(f".{_short(place.name)}.{_machine()}.{secrets.token_hex(6)}.tmp")


def _short(name: str) -> str:
    return name[:50]  # at most 200 bytes of the 255 that a name may have


def _machine() -> str:
    """Locks may be known to one machine only, though a disk is shared by many."""
    return f"{zlib.crc32(_nodename().encode('utf-8', 'replace')):08x}"


def _nodename() -> str:
    return os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")
