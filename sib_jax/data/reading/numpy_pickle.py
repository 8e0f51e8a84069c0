"""Pickles of numpy arrays, read without running anything stored in them.

A pickle may name any function to call. Here only what arrays and plain values are made of is let
through, and arrays are rebuilt by this module; anything else is refused by name.
"""

import io
import math
import re
from typing import Any

import numpy as np

from sib_jax.data.errors import DataError
from sib_jax.data.reading import plain_pickle
from sib_jax.data.reading.npy import is_text
from sib_jax.data.reading.plain_pickle import Budget, Function, Named, PickleError

_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
_TYPES = re.compile(r"[biufcSU]\d{0,9}")  # nothing that holds Python objects
_COPIES = 4  # times the file's size: what arrays may take in all


class UnsafePickleError(DataError):
    """The pickle names something to run that no array needs; nothing of it was run."""


def loads(content: bytes, where: str) -> Any:
    """The arrays and plain values in a pickle of Python 2 or 3.

    Args:
      content: of the file.
      where: what messages call it.

    Returns:
      What was stored; byte strings of Python 2 as str (latin-1). Memory and time are bounded by
      the size of `content`.

    Raises:
      UnsafePickleError: the pickle names something other than arrays and plain values.
      DataError: it is damaged, or not a pickle.
    """
    arrays = _Arrays(where, Budget(_COPIES * len(content) + 1000))
    try:
        found = plain_pickle.load(
            io.BytesIO(content), len(content), arrays.find, build=arrays.build
        )
        if arrays.empty:
            raise PickleError("an array without its data")
        return found
    except DataError:
        raise
    except Exception as error:  # a damaged pickle fails in any way there is
        raise DataError(
            f"{where} is damaged or not a pickle ({plain_pickle.reason(error)})"
        ) from error


class _Type(Named):
    """Stands for a dtype: numpy's own are shared by all, and a pickle would change them."""

    def __init__(self, name: str):
        self.name, self.order = name, "|"

    def dtype(self) -> np.dtype:
        return np.dtype(self.order + self.name)


class _Arrays:
    """What arrays are made of."""

    def __init__(self, where: str, budget: Budget):
        self._where, self._budget = where, budget
        self.empty: dict[int, np.ndarray] = {}  # by their id: those that nothing has filled yet

    def find(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return Function(_type)
        if module in _MULTIARRAY and name == "_reconstruct":
            return Function(self._empty)
        if module in _MULTIARRAY and name == "scalar":
            return Function(self._scalar)
        if (module, name) == ("_codecs", "encode"):
            return Function(self._encode)
        if (module, name) in (("__builtin__", "bytes"), ("builtins", "bytes")):
            return Function(lambda: b"")  # as Python 3 stores it for Python 2
        raise UnsafePickleError(
            f"{self._where} wants to use {plain_pickle.brief(f'{module}.{name}')[1:-1]}, which is "
            "refused: only numpy arrays and plain values are read, nothing is run"
        )

    def build(self, made: Any, state: Any) -> None:
        """Fills what `_type` and `_empty` made, as numpy's __setstate__ does."""
        if isinstance(made, _Type):
            made.order = _order(state, flags=8 if made.name.startswith("U") else 0)
            return
        if not isinstance(made, np.ndarray) or not isinstance(state, tuple) or len(state) != 5:
            raise PickleError("a state of something that has none")
        version, shape, kind, fortran, raw = state
        plain = isinstance(kind, _Type) and _is_shape(shape) and version == 1
        if made.size or not plain or fortran not in (True, False):
            raise PickleError("an array that numpy would not write")
        raw = self._raw(raw)
        dtype = kind.dtype()
        if len(raw) != math.prod(shape) * dtype.itemsize:
            raise PickleError("an array whose data have another size than its shape")
        state = (1, shape, dtype, bool(fortran), raw)
        made.__setstate__(state)
        self.empty.pop(id(made), None)
        if not is_text(made):
            raise PickleError("text of numbers that are not characters")

    def _empty(self, kind: Any, shape: Any, code: Any) -> np.ndarray:
        """An array that `build` fills next: its shape here is always (0,)."""
        if kind is not np.ndarray or shape != (0,) or code not in ("b", b"b"):
            raise PickleError("an array that numpy would not write")
        made = np.empty(0, np.uint8)
        self.empty[id(made)] = made
        return made

    def _raw(self, raw: Any) -> bytes:
        if not isinstance(raw, (str, bytes, bytearray)):
            raise PickleError("an array whose data are not bytes")
        self._budget.spend(len(raw))
        return raw.encode("latin1") if isinstance(raw, str) else bytes(raw)

    def _scalar(self, kind: Any, data: Any) -> Any:
        if not isinstance(kind, _Type):
            raise PickleError("a number of an unknown type")
        return np.frombuffer(self._raw(data), kind.dtype(), count=1)[0]

    def _encode(self, text: Any, encoding: Any) -> bytes:
        """How Python 3 stores bytes in pickles that Python 2 can read."""
        if encoding != "latin1" or not isinstance(text, str):
            raise PickleError("bytes in an unknown encoding")
        return self._raw(text)


def _type(name: Any, *flags: Any) -> _Type:
    if (
        not isinstance(name, str)
        or not _TYPES.fullmatch(name)
        or any(f not in (0, 1) for f in flags)
    ):
        raise PickleError(f"an array of {plain_pickle.brief(name)}")
    return _Type(name)


def _order(state: Any, flags: int) -> str:
    """The byte order in a dtype's state, which holds nothing else for plain types."""
    plain = isinstance(state, tuple) and len(state) == 8 and state[2:5] == (None, None, None)
    if not plain or state[0] != 3 or state[7] != flags:
        raise PickleError("an array of an unknown type")
    if state[1] not in ("<", ">", "|", "="):
        raise PickleError("an array of an unknown byte order")
    return state[1]


def _is_shape(shape: Any) -> bool:
    # Of more dimensions numpy would complain itself.
    return (
        isinstance(shape, tuple)
        and len(shape) <= 32
        and all(type(n) is int and 0 <= n < 2**62 for n in shape)
    )
