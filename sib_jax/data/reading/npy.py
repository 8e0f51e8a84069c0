"""Arrays from .npy and .npz files: without pickles, and never more of them than the file holds."""

import math
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import IO, Literal, NamedTuple

import numpy as np

from sib_jax.data.errors import DataError
from sib_jax.data.reading import archives, files, plain_pickle
from sib_jax.runtime.files import shown


class _Header(NamedTuple):
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype


def memory_map(path: Path) -> np.ndarray:
    """The array in a .npy file, read-only and read when it is used.

    Raises:
      DataError: the file is damaged, not a .npy, or holds Python objects.
    """
    where = shown(path)
    with files.reading(path), path.open("rb") as file:
        header = _header(file, where)
        _check_size(header, path.stat().st_size - file.tell(), where)
        if not math.prod(header.shape):  # an empty file cannot be mapped
            return np.zeros(header.shape, header.dtype)
    return np.load(path, mmap_mode="r", allow_pickle=False)


def read_npz(path: Path, wanted: Collection[str]) -> dict[str, np.ndarray]:
    """The wanted arrays, as far as a .npz file holds them.

    Raises:
      DataError: the file is damaged, not a .npz, or holds Python objects.
    """
    where = shown(path)
    if not path.stat().st_size:
        raise DataError(f"{where} is empty; write it with numpy.savez")
    try:
        with zipfile.ZipFile(path) as archive:
            archives.check_packed(path, archive.infolist())
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            arrays = {}
            for name in wanted:
                if name in members:
                    with archive.open(members[name]) as file:
                        arrays[name] = _read(file, members[name].file_size, f"{where}: {name}")
            return arrays
    except (DataError, OSError, MemoryError):
        raise
    except Exception as error:  # a damaged archive fails in any way there is
        reason = plain_pickle.reason(error)
        raise DataError(f"{where} is damaged or not a .npz ({reason}); write it again") from error


def is_text(array: np.ndarray) -> bool:
    """Whether an array of strings holds characters only: of other numbers Python makes no text."""
    if array.dtype.kind != "U" or not array.size or not array.dtype.itemsize:
        return True
    codes = np.ascontiguousarray(array).reshape(-1).view(np.dtype("u4").newbyteorder(_order(array)))
    return bool(codes.max() < 0x110000)


def _order(array: np.ndarray) -> Literal["=", ">", "<"]:
    return ">" if array.dtype.str.startswith(">") else "<"


def _read(file: IO[bytes], size: int, where: str) -> np.ndarray:
    header = _header(file, where)
    _check_size(header, size - file.tell(), where)
    content = file.read()  # to its end, where the archive's checksum is compared
    flat = np.frombuffer(content, header.dtype, math.prod(header.shape))
    return flat.reshape(header.shape, order="F" if header.fortran else "C")


def _header(file: IO[bytes], where: str) -> _Header:
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            header = _Header(*np.lib.format.read_array_header_1_0(file))
        elif version == (2, 0):
            header = _Header(*np.lib.format.read_array_header_2_0(file))
        else:
            raise ValueError(f"version {version[0]}.{version[1]}, which no plain array has")
    except OSError:
        raise
    except Exception as error:  # a damaged header fails in any way there is
        reason = plain_pickle.reason(error)
        raise DataError(f"{where} is damaged or not a .npy ({reason}); write it again") from error
    if header.dtype.hasobject:
        raise DataError(
            f"{where} is an array of Python objects, which only a pickle can hold, and pickles "
            "are not read: store numbers, or strings with numpy.array(strings, dtype=str)"
        )
    return header


def _check_size(header: _Header, held: int, where: str) -> None:
    needed = math.prod(header.shape) * header.dtype.itemsize
    if min(header.shape, default=0) < 0 or needed != held:
        raise DataError(
            f"{where} is damaged: its shape {header.shape} needs {needed:,} bytes, but it holds "
            f"{held:,}; write it again"
        )
