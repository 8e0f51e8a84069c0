"""Pickles read without running anything, in memory and time that their size bounds.

Python's reader runs what a pickle names, and even where it is told to find nothing, a few bytes can
make it take gigabytes (an index into its memo, which in C is an array) or for ever (a list that is
copied again and again). This is Python's own reader in Python, whose memo is a dict, but for the
opcodes that name, call or hash. Calls reach only the functions that its user gives it; what they
copy is counted; and what comes out is a tree of plain values: no value holds itself, and none is
shared so often that going through the tree takes longer than the file is long.
"""

import dataclasses
import pickle
import pickletools
import reprlib
import struct
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

_LONGEST_INT = 8000  # bits: PyTorch's magic number has 80
_SHARED = 16  # times the file's size: a tree may be so much larger where values are shared
_REFUSED = {
    *(pickle.OBJ[0], pickle.NEWOBJ_EX[0], pickle.EXT1[0], pickle.EXT2[0], pickle.EXT4[0]),
    *(pickle.PERSID[0], pickle.NEXT_BUFFER[0], pickle.READONLY_BUFFER[0]),
}
# Of the protocols that this was written for: a later one may add what runs code.
_KNOWN = {ord(opcode.code) for opcode in pickletools.opcodes if opcode.proto <= 5} - _REFUSED


class PickleError(ValueError):
    """The pickle is damaged, or holds what no plain value needs."""


class Named:
    """Stands for a name in a pickle, and is not a value: a result that holds one is refused."""


@dataclasses.dataclass(frozen=True)
class Function(Named):
    """What a pickle may call.

    Attributes:
      call: gets the arguments that the pickle gives.
    """

    call: Callable[..., Any]


class Budget:
    """Counts what is copied or made anew beyond the bytes of the file."""

    def __init__(self, limit: int):
        """Allows `limit` in all."""
        self._left = limit

    def spend(self, count: int) -> None:
        """Counts `count` bytes or values.

        Raises:
          PickleError: they are more than allowed.
        """
        self._left -= count
        if count < 0 or self._left < 0:
            raise PickleError("it asks for more than a file of its size can hold")


def load(
    file: BinaryIO,
    size: int,
    find: Callable[[str, str], Any],
    *,
    persistent: Callable[[Any], Any] | None = None,
    build: Callable[[Any, Any], None] | None = None,
    encoding: str = "latin1",
) -> Any:
    """Reads one pickle, of any protocol, from the current position of `file` to its end.

    Args:
      file: an `io.BytesIO`, or another whose `read` never takes more memory than there are bytes.
      size: of all of it, in bytes.
      find: gives what a module and a name stand for: a `Function`, or a value. It raises for
        anything that the pickle has no need to name.
      persistent: gives what an identifier outside the pickle stands for.
      build: puts a state into what a function made.
      encoding: of the byte strings of Python 2.

    Raises:
      PickleError: it is damaged, or holds what no plain value needs; a damaged one fails in other
        ways too.
    """
    value = _Reader(file, find, persistent, build, encoding).load()
    _check_tree(value, _SHARED * size + 1000)
    return value


class _Opcodes(dict[int, Any]):
    """What reads each opcode."""

    def __missing__(self, code: int) -> Any:
        raise PickleError(f"no plain value needs the opcode {bytes([code])!r}")


class _Reader(pickle._Unpickler):
    """Python's own, without the opcodes that make instances, and with others than its calls."""

    # What it has, but its type stubs do not declare.
    stack: list[Any]
    pop_mark: Callable[[], list[Any]]
    read: Callable[[int], bytes]
    readline: Callable[[], bytes]

    def __init__(
        self,
        file: BinaryIO,
        find: Callable[[str, str], Any],
        persistent: Callable[[Any], Any] | None,
        build: Callable[[Any, Any], None] | None,
        encoding: str,
    ):
        super().__init__(file, encoding=encoding)
        self._find, self._persistent, self._build = find, persistent, build

    def find_class(self, module: str, name: str) -> Any:
        return self._find(module, name)

    def persistent_load(self, pid: Any) -> Any:
        if self._persistent is None:
            raise PickleError("it refers to something outside it")
        return self._persistent(pid)

    def _call(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Function) or not isinstance(arguments, tuple):
            raise PickleError("it calls something that is not a function")
        self.stack.append(function.call(*arguments))

    def _put_state(self) -> None:
        state = self.stack.pop()
        if self._build is None:
            raise PickleError("a state of something that has none")
        self._build(self.stack[-1], state)

    def _instance(self) -> None:
        """Names and calls at once, as Python 1 did."""
        self._find(*(self.readline()[:-1].decode() for _ in range(2)))
        raise PickleError("no plain value needs an instance of a class")

    def _bytearray(self) -> None:
        self.stack.append(bytearray(self.read(struct.unpack("<Q", self.read(8))[0])))

    def _top(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise PickleError(f"an opcode finds no {kind.__name__}")
        return self.stack[-1]

    def _item(self) -> None:
        pair = [self.stack.pop(), self.stack.pop()][::-1]
        self._top(dict).update(_pairs(pair))

    def _items(self) -> None:
        values = self.pop_mark()
        self._top(dict).update(_pairs(values))

    def _dict(self) -> None:
        values = self.pop_mark()
        self.stack.append(dict(_pairs(values)))

    def _members(self) -> None:
        values = self.pop_mark()
        self._top(set).update(map(checked_key, values))

    def _frozenset(self) -> None:
        values = self.pop_mark()
        self.stack.append(frozenset(map(checked_key, values)))

    dispatch = _Opcodes(
        {code: of for code, of in pickle._Unpickler.dispatch.items() if code in _KNOWN}
        | {
            pickle.REDUCE[0]: _call,
            pickle.NEWOBJ[0]: _call,
            pickle.BUILD[0]: _put_state,
            pickle.INST[0]: _instance,
            pickle.BYTEARRAY8[0]: _bytearray,  # Python's takes the memory first
            # Keys are checked before they are hashed.
            pickle.SETITEM[0]: _item,
            pickle.SETITEMS[0]: _items,
            pickle.DICT[0]: _dict,
            pickle.ADDITEMS[0]: _members,
            pickle.FROZENSET[0]: _frozenset,
        }
    )


def checked_key(value: Any) -> Any:
    """A key whose hash costs no more than its bytes, each time it is taken."""
    of = value if type(value) is tuple and len(value) <= 8 else (value,)
    for part in of:
        plain = part is None or type(part) in (str, bytes, float, bool)
        if not plain and not (type(part) is int and part.bit_length() <= 64):
            raise PickleError(f"a key of a dict or set that is not a plain value: {brief(part)}")
    return value


def _pairs(values: list[Any]) -> Iterator[tuple[Any, Any]]:
    if len(values) % 2:
        raise PickleError("a key of a dict without a value")
    return ((checked_key(k), v) for k, v in zip(values[::2], values[1::2], strict=True))


def _check_tree(value: Any, limit: int) -> None:
    """Raises where a value holds itself or a name, or going through it takes too many steps."""
    budget, waiting = Budget(limit), [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, (list, tuple, dict, set, frozenset)):
            budget.spend(len(value) + 1)
            waiting.extend(value.values() if isinstance(value, dict) else value)
        elif isinstance(value, Named | type):
            raise PickleError("a name where a value should be")
        elif isinstance(value, int) and value.bit_length() > _LONGEST_INT:
            raise PickleError("an enormous number")


def brief(value: object) -> str:
    """A value in one short line, however large or nested it is."""
    text = reprlib.repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def reason(error: BaseException) -> str:
    """An error in one short line."""
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(error)[:200])
    return text if isinstance(error, PickleError) else f"{type(error).__name__}: {text}"
