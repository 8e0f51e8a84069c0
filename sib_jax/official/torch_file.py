"""PyTorch's .pth files, read without torch and without running anything stored in them.

A .pth is a pickle beside raw tensor data, and a pickle may name any function to call. Here only
what state_dicts are made of is let through: plain values, OrderedDict, and tensors, which are
rebuilt as numpy arrays by this module. Anything else is refused by name.

Two layouts exist: a zip archive (torch 1.6 and later) and the older sequence of pickles.
"""

import collections
import functools
import io
import os
import pickle
import sys
import zipfile
from collections.abc import Callable
from typing import IO, Any

import numpy as np

from sib_jax.errors import UserError

_MAGIC = 0x1950A86A20F9469CFC6C
_BFLOAT16 = "bfloat16"
_STORAGES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": _BFLOAT16,
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


class TorchFileError(UserError):
    """The file is missing, damaged, or no PyTorch file."""


class UnsafeFileError(TorchFileError):
    """The file names something to run that no state_dict needs; nothing of it was run."""


def read(path: str | os.PathLike[str]) -> Any:
    """The content of a .pth file.

    Args:
      path: file written by `torch.save`.

    Returns:
      What was saved: dicts, lists, numbers, strings, and a numpy array for each tensor (bfloat16
      tensors as float32).

    Raises:
      UnsafeFileError: the file names something other than tensors and plain values.
      TorchFileError: the file is missing, damaged, or no PyTorch file.
    """
    try:
        with open(path, "rb") as file:
            if zipfile.is_zipfile(file):
                return _read_zip(file, path)
            file.seek(0)
            return _read_legacy(file, path)
    except TorchFileError:
        raise
    except FileNotFoundError:
        raise TorchFileError(f"{path} does not exist") from None
    except OSError as error:
        raise TorchFileError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a damaged pickle fails in any way there is
        raise TorchFileError(
            f"{path} is damaged or no file of torch.save ({type(error).__name__}: {error})"
        ) from error


class _Storage:
    """The flat data of one or more tensors, in the file's type."""

    def __init__(self, kind: str, data: bytes | bytearray, little: bool):
        of_file = np.dtype("u2" if kind == _BFLOAT16 else kind)
        values = np.frombuffer(data, of_file.newbyteorder("<" if little else ">")).astype(of_file)
        if kind == _BFLOAT16:  # the upper half of a float32
            values = (values.astype(np.uint32) << 16).view(np.float32)
        self.values = values


class _Type:
    """Stands for torch.FloatStorage and its like, which a pickle names to give a data type."""

    def __init__(self, kind: str):
        self.kind = kind


class _Unpickler(pickle.Unpickler):
    """Finds nothing but what state_dicts are made of."""

    def __init__(self, file: IO[bytes], path: object, load: Callable[[str, str, int], _Storage]):
        super().__init__(file, encoding="utf-8")
        self._path = path
        self._load = load

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return functools.partial(_tensor, self._path)
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _parameter
        if (module, name) == ("torch", "Size"):
            return tuple
        if module == "torch" and name in _STORAGES:
            return _Type(_STORAGES[name])
        raise UnsafeFileError(
            f"{self._path} wants to use {module}.{name}, which is refused: only tensors and plain "
            "values are read, nothing is run. If you trust the file, load it where torch is and "
            "save the weights alone: torch.save(model.state_dict(), 'weights.pth')"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage"):
            raise TorchFileError(f"{self._path} refers to {pid!r}, which is no tensor storage")
        kind, key, count = pid[1], pid[2], pid[4]
        if not isinstance(kind, _Type) or not isinstance(count, int) or count < 0:
            raise TorchFileError(f"{self._path} holds a storage of an unknown type")
        if len(pid) > 5 and pid[5] is not None:
            raise TorchFileError(f"{self._path} holds a view of a storage, which is not supported")
        return self._load(kind.kind, str(key), count)


def _tensor(
    path: object, storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> np.ndarray:
    """A tensor as torch lays it out: entry i... is at offset + sum(i * stride)."""
    plain = all(type(n) is int and n >= 0 for n in (offset, *size, *stride))
    if not isinstance(storage, _Storage) or not plain or len(size) != len(stride):
        raise TorchFileError(f"{path} describes a tensor that makes no sense")
    values = storage.values
    if 0 in size:
        return np.zeros(size, values.dtype)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if last >= len(values):
        raise TorchFileError(f"{path} describes a tensor that reaches beyond its data")
    strides = tuple(step * values.itemsize for step in stride)
    view = np.lib.stride_tricks.as_strided(values[offset:], size, strides, writeable=False)
    # Strides of 0 could make a small file an enormous array.
    if view.size > len(values):
        raise TorchFileError(f"{path} describes a tensor larger than its data")
    return view.copy()


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _read_zip(file: IO[bytes], path: str | os.PathLike[str]) -> Any:
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        pickles = [n for n in names if n.count("/") == 1 and n.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise TorchFileError(f"{path} is a zip archive, but not one of torch.save")
        root = pickles[0].removesuffix("data.pkl")
        little = f"{root}byteorder" not in names or archive.read(f"{root}byteorder") == b"little"

        @functools.cache
        def load(kind: str, key: str, count: int) -> _Storage:
            member = archive.getinfo(f"{root}data/{key}")
            if member.compress_type != zipfile.ZIP_STORED or member.file_size != _size(kind, count):
                raise TorchFileError(f"{path}: the data of storage {key} have the wrong size")
            return _Storage(kind, archive.read(member), little)

        return _Unpickler(io.BytesIO(archive.read(pickles[0])), path, load).load()


def _read_legacy(file: IO[bytes], path: str | os.PathLike[str]) -> Any:
    def no_storage(kind: str, key: str, count: int) -> _Storage:
        raise TorchFileError(f"{path} is no file of torch.save")

    def unpickle() -> Any:
        return _Unpickler(file, path, no_storage).load()

    if unpickle() != _MAGIC:
        raise TorchFileError(f"{path} is no file of torch.save")
    unpickle()  # the protocol's version
    little = bool(unpickle().get("little_endian", sys.byteorder == "little"))
    start = file.tell()

    # The data stand behind the pickle that describes them: it is read twice, first for the types.
    wanted: dict[str, tuple[str, int]] = {}

    def note(kind: str, key: str, count: int) -> _Storage:
        wanted[key] = (kind, count)
        return _Storage(kind, b"", little)

    _Sketch(file, path, note).load()
    storages = {}
    for key in unpickle():
        kind, count = wanted[str(key)]
        if int.from_bytes(file.read(8), "little" if little else "big") != count:
            raise TorchFileError(f"{path}: the data of storage {key} have the wrong size")
        data = file.read(_size(kind, count))
        if len(data) != _size(kind, count):
            raise TorchFileError(f"{path} ends in the middle of storage {key}")
        storages[str(key)] = _Storage(kind, data, little)
    file.seek(start)
    return _Unpickler(file, path, lambda kind, key, count: storages[key]).load()


class _Sketch(_Unpickler):
    """Goes through a pickle for its storages alone; tensors are left empty."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda *_: None
        return super().find_class(module, name)


def _size(kind: str, count: int) -> int:
    return count * (2 if kind == _BFLOAT16 else np.dtype(kind).itemsize)
