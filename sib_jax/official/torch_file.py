"""PyTorch's .pth files, read without torch and without running anything stored in them.

A .pth is a pickle beside raw tensor data, and a pickle may name any function to call. Here only
what state_dicts are made of is let through: plain values, OrderedDict, and tensors, which are
rebuilt as numpy arrays by this module. Anything else is refused by name.

Two layouts exist: a zip archive (torch 1.6 and later) and the older sequence of pickles. Memory and
time to read either are bounded by the file's size.
"""

import collections
import functools
import io
import math
import os
import stat
import sys
import zipfile
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from sib_jax.data.reading import plain_pickle
from sib_jax.data.reading.plain_pickle import Budget, Function, Named, PickleError
from sib_jax.errors import UserError
from sib_jax.runtime.words import shown

_MAGIC = 0x1950A86A20F9469CFC6C
_BFLOAT16 = "bfloat16"
# Times the file's size: what all tensors may take. Tied weights are copied, bfloat16 is doubled.
_COPIES = 16
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
    """The file is missing, damaged, or not a PyTorch file."""


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
      TorchFileError: the file is missing, damaged, or not a PyTorch file.
    """
    path = os.path.expanduser(path)
    where = shown(path)
    try:
        _check_regular(path, where)
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if zipfile.is_zipfile(file):
                return _read_zip(file, size, where)
            file.seek(0)
            return _read_legacy(file, size, where)
    except TorchFileError:
        raise
    except FileNotFoundError:
        raise TorchFileError(f"{where} does not exist") from None
    except OSError as error:
        raise TorchFileError(f"{where} cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise TorchFileError(f"{where} is too large for the available memory") from error
    except Exception as error:  # a damaged pickle fails in any way there is
        reason = plain_pickle.reason(error)
        raise TorchFileError(
            f"{where} is damaged or not a file of torch.save ({reason})"
        ) from error


def _check_regular(path: str | os.PathLike[str], where: str) -> None:
    """Before it is opened: to open a pipe is to wait for its writer."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise TorchFileError(f"{where} is a pipe or device; give a file that torch.save wrote")


class _Storage(Named):
    """The flat data of one or more tensors, in the file's type."""

    def __init__(self, kind: str, data: bytes | bytearray, little: bool):
        of_file = np.dtype("u2" if kind == _BFLOAT16 else kind)
        values = np.frombuffer(data, of_file.newbyteorder("<" if little else ">")).astype(of_file)
        if kind == _BFLOAT16:  # the upper half of a float32
            values = (values.astype(np.uint32) << 16).view(np.float32)
        self.values = values


class _Type(Named):
    """Stands for torch.FloatStorage and its like, which a pickle names to give a data type."""

    def __init__(self, kind: str):
        self.kind = kind


class _Content:
    """What state_dicts are made of; all else is refused by name."""

    def __init__(self, where: str, size: int, load: Callable[[str, str, int], _Storage]):
        self._where, self._size, self._load = where, size, load
        self._budget = Budget(_COPIES * size + 1000)

    def read(self, file: BinaryIO) -> Any:
        """The pickle at the current position of `file`."""
        return plain_pickle.load(
            file,
            self._size,
            self.find,
            persistent=self.persistent_load,
            build=_drop_state,
            encoding="utf-8",
        )

    def find(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return Function(self._ordered)
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return Function(self.tensor)
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return Function(lambda data=None, *_: data)
        if (module, name) == ("torch", "Size"):
            return Function(self._torch_size)
        if module == "torch" and name in _STORAGES:
            return _Type(_STORAGES[name])
        raise UnsafeFileError(
            f"{self._where} wants to use {plain_pickle.brief(f'{module}.{name}')[1:-1]}, which is "
            "refused: only tensors and plain values are read, nothing is run. If you trust the "
            "file, load it where torch is installed and save only the weights: "
            "torch.save(model.state_dict(), 'weights.pth')"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage"):
            raise TorchFileError(
                f"{self._where} refers to {plain_pickle.brief(pid)}, which is not a tensor storage"
            )
        kind, key, count = pid[1], pid[2], pid[4]
        if not isinstance(kind, _Type) or not isinstance(count, int) or count < 0:
            raise TorchFileError(f"{self._where} holds a storage of an unknown type")
        if not isinstance(key, (str, int)):
            raise TorchFileError(f"{self._where} names a storage by {plain_pickle.brief(key)}")
        if len(pid) > 5 and pid[5] is not None:
            raise TorchFileError(f"{self._where} holds a view of a storage, which is not supported")
        return self._load(kind.kind, str(key), count)

    def tensor(self, *arguments: Any) -> Any:
        """A copy of a tensor's part of its storage."""
        if len(arguments) < 4:
            raise TorchFileError(f"{self._where} describes a tensor that makes no sense")
        view = _tensor(self._where, *arguments)
        self._budget.spend(view.nbytes)
        return view.copy()

    def _ordered(self, pairs: Any = ()) -> dict[Any, Any]:
        """An OrderedDict, whose pairs Python 2 wrote as an argument."""
        made: dict[Any, Any] = collections.OrderedDict()
        if not isinstance(pairs, (list, tuple)):
            raise PickleError("a dict of no pairs")
        self._budget.spend(len(pairs))
        for pair in pairs:
            if not isinstance(pair, (list, tuple)) or len(pair) != 2:
                raise PickleError("a dict of no pairs")
            made[plain_pickle.checked_key(pair[0])] = pair[1]
        return made

    def _torch_size(self, sizes: Any = ()) -> tuple[Any, ...]:
        if not isinstance(sizes, (list, tuple)):
            raise PickleError("a size of no numbers")
        self._budget.spend(len(sizes))
        return tuple(sizes)


def _drop_state(made: Any, state: Any) -> None:
    """Ignores the state of a state_dict: versions of its modules, which no weight depends on."""
    if not isinstance(made, collections.OrderedDict) or not isinstance(state, dict):
        raise PickleError("a state of something that has none")


def _tensor(where: str, storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> np.ndarray:
    """A tensor as torch lays it out, a view: entry i... is at offset + sum(i * stride)."""
    plain = (
        isinstance(storage, _Storage)
        and isinstance(size, tuple)
        and isinstance(stride, tuple)
        and len(size) == len(stride) <= 32
        and all(type(n) is int and 0 <= n < 2**62 for n in (offset, *size, *stride))
    )
    if not plain:
        raise TorchFileError(f"{where} describes a tensor that makes no sense")
    values = storage.values
    if 0 in size:
        return np.zeros(size, values.dtype)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if last >= len(values):
        raise TorchFileError(f"{where} describes a tensor that reaches beyond its data")
    # Strides of 0 could make a small file an enormous array.
    if math.prod(size) > len(values):
        raise TorchFileError(f"{where} describes a tensor larger than its data")
    # A stride along an axis of one entry is never taken, and may be any.
    steps = (step if n > 1 else 0 for n, step in zip(size, stride, strict=True))
    strides = tuple(step * values.itemsize for step in steps)
    return np.lib.stride_tricks.as_strided(values[offset:], size, strides, writeable=False)


def _read_zip(file: BinaryIO, size: int, where: str) -> Any:
    budget = Budget(size)  # entries that overlap could hold more than the file
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        pickles = [n for n in names if n.count("/") == 1 and n.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise TorchFileError(f"{where} is a zip archive, but not one of torch.save")
        root = pickles[0].removesuffix("data.pkl")

        def content(name: str) -> bytes:
            member = archive.getinfo(name)
            if member.compress_type != zipfile.ZIP_STORED:
                raise TorchFileError(f"{where}: {shown(name)} is compressed; torch.save does not")
            budget.spend(max(member.file_size, member.compress_size))
            return archive.read(member)

        little = f"{root}byteorder" not in names or content(f"{root}byteorder") == b"little"

        @functools.cache
        def load(kind: str, key: str, count: int) -> _Storage:
            name = f"{root}data/{key}"
            if name not in archive.NameToInfo:
                raise TorchFileError(f"{where} lacks the data of storage {shown(key)}")
            if archive.getinfo(name).file_size != _size(kind, count):
                raise TorchFileError(
                    f"{where}: the data of storage {shown(key)} have the wrong size"
                )
            return _Storage(kind, content(name), little)

        return _Content(where, size, load).read(io.BytesIO(content(pickles[0])))


def _read_legacy(file: BinaryIO, size: int, where: str) -> Any:
    if file.read(1) != b"\x80":  # before all of a large file is read
        raise PickleError("it does not begin with a pickle")
    file.seek(0)
    file = io.BytesIO(file.read())

    def no_storage(kind: str, key: str, count: int) -> _Storage:
        raise TorchFileError(f"{where} is not a file of torch.save")

    plain = _Content(where, size, no_storage)
    if plain.read(file) != _MAGIC:
        raise TorchFileError(f"{where} is not a file of torch.save")
    plain.read(file)  # the protocol's version
    system = plain.read(file)
    little = sys.byteorder == "little"
    if isinstance(system, dict):
        little = bool(system.get("little_endian", little))
    start = file.tell()

    # The data come after the pickle that describes them: it is read twice, first for the types.
    wanted: dict[str, tuple[str, int]] = {}

    def note(kind: str, key: str, count: int) -> _Storage:
        wanted[key] = (kind, count)
        return _Storage(kind, b"", little)

    _Sketch(where, size, note).read(file)
    storages: dict[str, _Storage] = {}
    for key in plain.read(file):
        kind, count = wanted[str(key)]
        if int.from_bytes(file.read(8), "little" if little else "big") != count:
            raise TorchFileError(f"{where}: the data of storage {key} have the wrong size")
        data = file.read(_size(kind, count))
        if len(data) != _size(kind, count):
            raise TorchFileError(f"{where} ends in the middle of storage {key}")
        storages[str(key)] = _Storage(kind, data, little)
    file.seek(start)

    def load(kind: str, key: str, count: int) -> _Storage:
        return storages[key]

    return _Content(where, size, load).read(file)


class _Sketch(_Content):
    """Goes through a pickle for its storages only; tensors are left empty."""

    def tensor(self, *_: Any) -> None:
        """None: the data are not read yet."""


def _size(kind: str, count: int) -> int:
    return count * (2 if kind == _BFLOAT16 else np.dtype(kind).itemsize)
