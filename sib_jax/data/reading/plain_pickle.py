"""Pickles read by a machine of our own, in memory and time that their size bounds.

Python's unpickler runs what a pickle names, and even where it is told to find nothing, a few bytes
can make it take gigabytes (an index into its memo) or for ever (a list that is copied again and
again). This machine knows the same opcodes. Calls reach only the functions that its user gives it;
what they copy is counted; and what comes out is a tree of plain values: no value holds itself, and
none is shared so often that going through the tree takes longer than the file is long.
"""

import codecs
import dataclasses
import reprlib
import struct
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

_MARK = object()
_NEWEST = 5  # protocol
_LONGEST_INT = 1000  # bytes: PyTorch's magic number has 10
_SHARED = 16  # times the file's size: a tree may be so much larger where values are shared
_FIXED = {  # opcode -> format of its argument
    b"\x80": "<B",
    b"\x95": "<Q",
    b"K": "<B",
    b"M": "<H",
    b"J": "<i",
    b"G": ">d",
    b"h": "<B",
    b"j": "<I",
    b"q": "<B",
    b"r": "<I",
}
_COUNTED = {  # opcode -> format of the number of bytes that follow
    b"T": "<i",
    b"U": "<B",
    b"B": "<I",
    b"C": "<B",
    b"\x8e": "<Q",
    b"\x96": "<Q",
    b"X": "<I",
    b"\x8c": "<B",
    b"\x8d": "<Q",
    b"\x8a": "<B",
    b"\x8b": "<i",
}


class PickleError(ValueError):
    """The pickle is damaged, or holds what no plain value needs."""


class Named:
    """What stands for a name in a pickle, and is no value: a result that holds one is refused."""


@dataclasses.dataclass(frozen=True)
class Function(Named):
    """What a pickle may call.

    Attributes:
      call: is given the arguments that the pickle names.
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
    """Reads one pickle, of any protocol, from where `file` stands to its end.

    Args:
      file: an `io.BytesIO`, or another whose `read` never takes more memory than there are bytes.
      size: of all of it, in bytes.
      find: gives what a module and a name stand for: a `Function`, or a value. It raises for all
        that the pickle has no need to name.
      persistent: gives what an identifier outside the pickle stands for.
      build: puts a state into what a function made.
      encoding: of the byte strings of Python 2.

    Raises:
      PickleError: it is damaged, or holds what no plain value needs.
    """
    value = _Machine(file, size, find, persistent, build, encoding).run()
    _check_tree(value, _SHARED * size + 1000)
    return value


class _Machine:
    """A stack of values, the memo, and one function for each kind of opcode."""

    def __init__(
        self,
        file: BinaryIO,
        size: int,
        find: Callable[[str, str], Any],
        persistent: Callable[[Any], Any] | None,
        build: Callable[[Any, Any], None] | None,
        encoding: str,
    ):
        self._file, self._find, self._persistent, self._build = file, find, persistent, build
        self._encoding, self._size = encoding, size
        self._frame_end = 0  # where the frame ends that is being read; 0 for none
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        while (code := self._exactly(1)) != b".":
            argument = self._argument(code)
            for step in _STEPS:
                if step(self, code, argument):
                    break
            else:
                raise PickleError(f"no plain value needs the opcode {code!r}")
        return self._pop()

    def _argument(self, code: bytes) -> Any:
        if code in _FIXED:
            return self._number(_FIXED[code])
        if code in _COUNTED:
            return self._exactly(self._number(_COUNTED[code]))
        return self._line() if code in _LINES else None

    def _exactly(self, count: int) -> bytes:
        if count < 0:
            raise PickleError("a negative number of bytes")
        self._leave_frame()
        content = self._file.read(count)
        if len(content) != count:
            raise PickleError("it ends too early")
        self._check_frame()
        return content

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._exactly(struct.calcsize(form)))[0]

    def _line(self) -> bytes:
        self._leave_frame()
        line = self._file.readline()
        if not line.endswith(b"\n"):
            raise PickleError("it ends too early")
        self._check_frame()
        return line[:-1]

    def _enter_frame(self, length: int) -> None:
        """Frames only help buffering; but where one of another length is, the file is damaged."""
        self._leave_frame()
        if self._frame_end or length > self._size - self._file.tell():
            raise PickleError("a frame where none can be")
        self._frame_end = self._file.tell() + length

    def _leave_frame(self) -> None:
        if self._frame_end and self._file.tell() == self._frame_end:
            self._frame_end = 0

    def _check_frame(self) -> None:
        if self._frame_end and self._file.tell() > self._frame_end:
            raise PickleError("a frame ends within a value")

    def _pop(self) -> Any:
        if not self._stack or self._stack[-1] is _MARK:
            raise PickleError("an opcode finds no value")
        return self._stack.pop()

    def _top(self, kind: type) -> Any:
        if not self._stack or not isinstance(self._stack[-1], kind):
            raise PickleError(f"an opcode finds no {kind.__name__}")
        return self._stack[-1]

    def _to_mark(self) -> list[Any]:
        values: list[Any] = []
        while self._stack:
            value = self._stack.pop()
            if value is _MARK:
                return values[::-1]
            values.append(value)
        raise PickleError("an opcode finds no mark")

    # Each gives whether the opcode was one of its own.

    def _literal(self, code: bytes, argument: Any) -> bool:
        if code in _CONSTANTS:
            self._stack.append(_CONSTANTS[code])
        elif code in _EMPTY:
            self._stack.append(_EMPTY[code]())
        elif code in b"KMJG" and argument is not None:
            self._stack.append(argument)
        elif code in _OF_BYTES:
            self._stack.append(_OF_BYTES[code](argument))
        elif code in (b"S", b"T", b"U"):
            raw = _unquoted(argument) if code == b"S" else argument
            self._stack.append(raw.decode(self._encoding))
        else:
            return False
        return True

    def _remember(self, code: bytes, argument: Any) -> bool:
        if code in (b"q", b"r", b"p", b"\x94"):
            key = len(self._memo) if code == b"\x94" else int(argument)
            value = self._pop()
            self._stack.append(value)
            self._memo[key] = value
        elif code in (b"h", b"j", b"g"):
            if int(argument) not in self._memo:
                raise PickleError("it refers to a value that was not stored")
            self._stack.append(self._memo[int(argument)])
        else:
            return False
        return True

    def _shape(self, code: bytes, argument: Any) -> bool:
        if code == b"(":
            self._stack.append(_MARK)
        elif code == b"0":  # the mark may be what is dropped
            if not self._stack:
                raise PickleError("an opcode finds no value")
            self._stack.pop()
        elif code == b"1":
            self._to_mark()
        elif code == b"2":
            value = self._pop()
            self._stack += [value, value]
        elif code == b"\x80":
            if argument > _NEWEST:
                raise PickleError(f"protocol {argument}, which does not exist")
        elif code == b"\x95":
            self._enter_frame(argument)
        else:
            return False
        return True

    def _collect(self, code: bytes, _: Any) -> bool:
        if code in (b"t", b"l", b"d", b"\x91"):
            self._stack.append(_COLLECTIONS[code](self._to_mark()))
        elif code in (b"\x85", b"\x86", b"\x87"):
            count = code[0] - 0x84
            self._stack.append(tuple(reversed([self._pop() for _ in range(count)])))
        elif code in (b"a", b"e"):
            values = [self._pop()] if code == b"a" else self._to_mark()
            self._top(list).extend(values)
        elif code in (b"s", b"u"):
            values = [self._pop(), self._pop()][::-1] if code == b"s" else self._to_mark()
            self._top(dict).update(_pairs(values))
        elif code == b"\x90":
            values = self._to_mark()
            self._top(set).update(map(checked_key, values))
        else:
            return False
        return True

    def _named(self, code: bytes, argument: Any) -> bool:
        if code == b"c":
            self._stack.append(self._find(argument.decode(), self._line().decode()))
        elif code == b"i":  # names and calls at once, as Python 1 did
            self._find(argument.decode(), self._line().decode())
            raise PickleError("no plain value needs an instance of a class")
        elif code == b"\x93":
            name, module = self._pop(), self._pop()
            if not isinstance(name, str) or not isinstance(module, str):
                raise PickleError("a name that is no text")
            self._stack.append(self._find(module, name))
        elif code in (b"R", b"\x81"):
            arguments, function = self._pop(), self._pop()
            if not isinstance(function, Function) or not isinstance(arguments, tuple):
                raise PickleError("it calls what is no function")
            self._stack.append(function.call(*arguments))
        elif code == b"b" and self._build:
            state = self._pop()
            made = self._pop()
            self._stack.append(made)
            self._build(made, state)
        elif code == b"Q" and self._persistent:
            self._stack.append(self._persistent(self._pop()))
        else:
            return False
        return True


_STEPS = (
    _Machine._remember,
    _Machine._literal,
    _Machine._collect,
    _Machine._shape,
    _Machine._named,
)


def checked_key(value: Any) -> Any:
    """A key whose hash costs no more than its bytes, each time it is taken."""
    of = value if type(value) is tuple and len(value) <= 8 else (value,)
    for part in of:
        plain = part is None or type(part) in (str, bytes, float, bool)
        if not plain and not (type(part) is int and part.bit_length() <= 64):
            raise PickleError(f"a key of a dict or set that is no plain value: {brief(part)}")
    return value


def _pairs(values: list[Any]) -> Iterator[tuple[Any, Any]]:
    if len(values) % 2:
        raise PickleError("a key of a dict without a value")
    return ((checked_key(k), v) for k, v in zip(values[::2], values[1::2], strict=True))


def _unquoted(line: bytes) -> bytes:
    if len(line) < 2 or line[:1] not in (b'"', b"'") or line[-1:] != line[:1]:
        raise PickleError("a text without quotes")
    return codecs.escape_decode(line[1:-1])[0]  # pickletools' way


def _integer(line: bytes) -> int | bool:
    if line in (b"00", b"01"):
        return line == b"01"
    return _long(line)


def _long(line: bytes) -> int:
    if len(line) > 2 * _LONGEST_INT:
        raise PickleError("an enormous number")
    return int(line.rstrip(b"L"))


def _binary_long(raw: bytes) -> int:
    if len(raw) > _LONGEST_INT:
        raise PickleError("an enormous number")
    return int.from_bytes(raw, "little", signed=True)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogatepass")


_CONSTANTS = {b"N": None, b"\x88": True, b"\x89": False, b")": ()}
_EMPTY: dict[bytes, Callable[[], Any]] = {b"]": list, b"}": dict, b"\x8f": set}
_OF_BYTES: dict[bytes, Callable[[bytes], Any]] = {
    b"I": _integer,
    b"L": _long,
    b"F": float,
    b"V": lambda line: line.decode("raw-unicode-escape"),
    b"X": _text,
    b"\x8c": _text,
    b"\x8d": _text,
    b"B": bytes,
    b"C": bytes,
    b"\x8e": bytes,
    b"\x96": bytearray,
    b"\x8a": _binary_long,
    b"\x8b": _binary_long,
}
_COLLECTIONS: dict[bytes, Callable[[list[Any]], Any]] = {
    b"t": tuple,
    b"l": list,
    b"d": lambda values: dict(_pairs(values)),
    b"\x91": lambda values: frozenset(map(checked_key, values)),
}
_LINES = frozenset({b"I", b"L", b"F", b"S", b"V", b"c", b"i", b"p", b"g"})


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


def brief(value: object) -> str:
    """A value in one short line, however large or nested it is."""
    text = reprlib.repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def reason(error: BaseException) -> str:
    """An error in one short line."""
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(error)[:200])
    return text if isinstance(error, PickleError) else f"{type(error).__name__}: {text}"
