"""Arrays from .npy and .npz files, without pickles."""

import contextlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from sib_jax.data.errors import DataError
from sib_jax.data.reading import plain_pickle
from sib_jax.runtime import npz
from sib_jax.runtime.words import shown


def memory_map(path: Path) -> np.ndarray:
    """The array in a .npy file, read-only and read when it is used.

    Raises:
      DataError: the file is damaged, not a .npy, or holds Python objects.
    """
    with _damage_named(path, ".npy"):
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(found, np.memmap):
            raise ValueError("it is another kind of file")
        if found.offset + found.nbytes != path.stat().st_size:
            raise ValueError(f"an array {list(found.shape)} needs {found.nbytes:,} bytes")
        return found


def read_npz(path: Path, wanted: Collection[str]) -> dict[str, np.ndarray]:
    """The wanted arrays, as far as a .npz file holds them.

    Raises:
      DataError: the file is damaged, not a .npz, or holds Python objects.
    """
    with _damage_named(path, ".npz"):
        return npz.read(path, wanted)


@contextlib.contextmanager
def _damage_named(path: Path, kind: str) -> Iterator[None]:
    try:
        yield
    except (OSError, MemoryError):
        raise
    except Exception as error:  # a damaged file fails in any way there is
        reason, mend = plain_pickle.reason(error), "write it again"
        if "Object arrays" in reason or "Python objects" in reason:
            mend = "store numbers, or strings with numpy.array(strings, dtype=str)"
        raise DataError(
            f"{shown(path)} is damaged or not a plain {kind} ({reason}); {mend}"
        ) from error


def is_text(array: np.ndarray) -> bool:
    """Whether an array of strings holds characters only: of other numbers Python makes no text."""
    if array.dtype.kind != "U" or not array.size or not array.dtype.itemsize:
        return True
    codes = np.ascontiguousarray(array).reshape(-1).view(np.dtype("u4").newbyteorder(_order(array)))
    return bool(codes.max() < 0x110000)


def _order(array: np.ndarray) -> Literal["=", ">", "<"]:
    return ">" if array.dtype.str.startswith(">") else "<"
