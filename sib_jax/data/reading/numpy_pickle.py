"""Pickles of numpy arrays, read without running anything stored in them.

A pickle may name any function to call. Here only what arrays and plain values are made of is let
through, and arrays are rebuilt by this module; anything else is refused by name.
"""

import io
import pickle
from typing import Any

import numpy as np

from sib_jax.data.errors import DataError

_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")


class UnsafePickleError(DataError):
    """The pickle names something to run that no array needs; nothing of it was run."""


def loads(content: bytes, where: str) -> Any:
    """The arrays and plain values in a pickle of Python 2 or 3.

    Args:
      content: of the file.
      where: what messages call it.

    Returns:
      What was stored; byte strings of Python 2 as str (latin-1).

    Raises:
      UnsafePickleError: the pickle names something other than arrays and plain values.
      DataError: it is damaged, or no pickle.
    """
    try:
        return _Unpickler(content, where).load()
    except DataError:
        raise
    except Exception as error:  # a damaged pickle fails in any way there is
        raise DataError(
            f"{where} is damaged or no pickle ({type(error).__name__}: {error})"
        ) from error


class _Unpickler(pickle.Unpickler):
    def __init__(self, content: bytes, where: str):
        super().__init__(io.BytesIO(content), encoding="latin1")
        self._where = where

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        if module in _MULTIARRAY and name == "_reconstruct":
            return _empty
        if module in _MULTIARRAY and name == "scalar":
            return _scalar
        if (module, name) == ("_codecs", "encode"):
            return _encode
        raise UnsafePickleError(
            f"{self._where} wants to use {module}.{name}, which is refused: only numpy arrays and "
            "plain values are read, nothing is run"
        )


def _empty(kind: Any, shape: Any, code: Any) -> np.ndarray:
    """An array that numpy's own __setstate__ fills next: its shape there is always (0,)."""
    if kind is not np.ndarray or shape != (0,):
        raise ValueError("an array that numpy would not write")
    return np.empty(0, np.uint8)


def _scalar(kind: np.dtype, data: str | bytes) -> Any:
    raw = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(raw, kind, count=1)[0]


def _encode(text: str, encoding: str) -> bytes:
    """How Python 3 stores bytes in pickles that Python 2 can read."""
    if encoding != "latin1":
        raise ValueError(f"bytes as {encoding!r}")
    return text.encode("latin1")
