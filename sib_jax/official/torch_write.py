"""PyTorch's .pth files, written without torch: what `torch_file` reads, the other way.

The layout is that of `torch.save` since torch 1.6: an uncompressed zip of a pickle, which describes
the tensors, and one entry of raw data for each. The pickle is put together from its opcodes here: a
pickler would have to import torch to name its functions.

References:
  Python's `pickletools` (the opcodes); torch/serialization.py and torch/_utils.py (the layout).
"""

import io
import os
import struct
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from sib_jax.runtime import files

_STORAGES = {"<f4": "FloatStorage", "<f8": "DoubleStorage", "<i8": "LongStorage"}
_DATE = (1980, 1, 1, 0, 0, 0)  # the same content gives the same file
_ALIGNMENT = 64  # of tensor data in the file, as torch has it: they can be mapped into memory


def write(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Writes what `torch.load(path, weights_only=True)` gives as a dict.

    Args:
      path: of the file; it is replaced as a whole.
      content: names to arrays (tensors there), numbers, or mappings of these (OrderedDicts there).

    Raises:
      FileError: the path cannot be written.
    """
    path = os.path.expanduser(path)
    pickle = _Pickle()
    pickle.dictionary(content)
    entries = {"data.pkl": pickle.ended(), "byteorder": b"little", "version": b"3\n"}
    entries |= {f"data/{i}": array.tobytes() for i, array in enumerate(pickle.tensors)}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, data in entries.items():
            _store(archive, packed, f"archive/{name}", data)
    files.write_bytes(path, packed.getvalue())


def _store(archive: zipfile.ZipFile, file: io.BytesIO, name: str, data: bytes) -> None:
    """Adds an entry whose data begin at a multiple of `_ALIGNMENT`."""
    entry = zipfile.ZipInfo(name, _DATE)
    begins = file.tell() + 30 + len(name) + 4  # the header, and that of the padding in it
    padding = -begins % _ALIGNMENT
    entry.extra = struct.pack("<2sH", b"FB", padding) + b"Z" * padding
    archive.writestr(entry, data)


class _Pickle:
    """A pickle of protocol 2, opcode after opcode.

    Attributes:
      tensors: the arrays whose data it refers to by their number.
    """

    def __init__(self) -> None:
        self._out = [b"\x80\x02"]
        self.tensors: list[np.ndarray] = []

    def ended(self) -> bytes:
        """The whole of it."""
        return b"".join([*self._out, b"."])

    def dictionary(self, content: Mapping[str, Any]) -> None:
        """An OrderedDict, as a state_dict is."""
        self._call("collections", "OrderedDict", lambda: None)
        self._out.append(b"(")
        for name, value in content.items():
            self._text(name)
            self._value(value)
        self._out.append(b"u")

    def _value(self, value: Any) -> None:
        if isinstance(value, Mapping):
            self.dictionary(value)
        elif isinstance(value, float):
            self._out.append(b"G" + struct.pack(">d", value))
        elif isinstance(value, int):
            self._number(value)
        else:
            self._tensor(np.asarray(value))

    def _tensor(self, array: np.ndarray) -> None:
        """torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)."""
        array = np.asarray(array, array.dtype.newbyteorder("<"), order="C")
        if array.dtype.str not in _STORAGES:
            raise TypeError(f"arrays must be float32, float64 or int64, got {array.dtype}")
        strides = [stride // array.itemsize for stride in array.strides]

        def arguments() -> None:
            self._storage(array)
            self._number(0)
            self._numbers(array.shape)
            self._numbers(strides)
            self._out.append(b"\x89")  # requires_grad = False
            self._call("collections", "OrderedDict", lambda: None)

        self._call("torch._utils", "_rebuild_tensor_v2", arguments)

    def _storage(self, array: np.ndarray) -> None:
        """A reference to the data: ("storage", type, number, device, count)."""
        self._out.append(b"(")
        self._text("storage")
        self._global("torch", _STORAGES[array.dtype.str])
        self._text(str(len(self.tensors)))
        self._text("cpu")
        self._number(array.size)
        self._out.append(b"tQ")
        self.tensors.append(array)

    def _call(self, module: str, name: str, arguments: Any) -> None:
        self._global(module, name)
        self._out.append(b"(")
        arguments()
        self._out.append(b"tR")

    def _global(self, module: str, name: str) -> None:
        self._out.append(f"c{module}\n{name}\n".encode())

    def _numbers(self, values: Any) -> None:
        self._out.append(b"(")
        for value in values:
            self._number(int(value))
        self._out.append(b"t")

    def _number(self, value: int) -> None:
        if -(2**31) <= value < 2**31:
            self._out.append(b"J" + struct.pack("<i", value))
        else:
            data = value.to_bytes(9, "little", signed=True)
            self._out.append(b"\x8a" + bytes([len(data)]) + data)

    def _text(self, value: str) -> None:
        data = value.encode()
        self._out.append(b"X" + struct.pack("<I", len(data)) + data)
