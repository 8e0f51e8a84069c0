"""A field of the config: its default, what values it may have, and what it means, in one place."""

import inspect
import re
import typing
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple


class Kind(NamedTuple):
    """What values a field may have.

    Attributes:
      wanted: in words, for messages and documentation: "config.x is 3, but must be <wanted>".
      fits: whether a value is one of them; never raises.
    """

    wanted: str
    fits: Callable[[Any], bool]


class Field(NamedTuple):
    """One hyper-parameter.

    Attributes:
      default: its value unless another is given.
      kind: what values it may have.
      help: what it means, a clause without a full stop.
    """

    default: Any
    kind: Kind
    help: str


def meanings(settings: object) -> dict[str, str]:
    """What the fields of a class mean, from the "Attributes:" of its docstring."""
    _, _, attributes = (inspect.getdoc(settings) or "").partition("Attributes:\n")
    found = re.findall(r"^  (\w+): (.*(?:\n    .*)*)", attributes, re.MULTILINE)
    return {name: " ".join(text.split()).removesuffix(".") for name, text in found}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def whole(least: int, most: int) -> Kind:
    """An integer from `least` to `most`."""
    return Kind(
        f"a whole number from {least} to {most:,}",
        lambda v: _is_number(v) and isinstance(v, int) and least <= v <= most,
    )


def number(least: float, most: float, *, above: bool = False) -> Kind:
    """A number from `least` to `most`; with `above`, greater than `least`."""
    wanted = f"above {least:g}, at most {most:g}" if above else f"from {least:g} to {most:g}"
    return Kind(
        f"a number {wanted}",
        lambda v: _is_number(v) and (least < v if above else least <= v) and v <= most,
    )


def choice(*known: str) -> Kind:
    """One of some words."""
    return Kind(f"one of {', '.join(known)}", lambda v: v in known)


def flag() -> Kind:
    """True or False."""
    return Kind("True or False", lambda v: isinstance(v, bool))


def text() -> Kind:
    """Any text."""
    return Kind("text", lambda v: isinstance(v, str))


def matching(pattern: str, wanted: str) -> Kind:
    """Text of a form."""
    return Kind(wanted, lambda v: isinstance(v, str) and bool(re.fullmatch(pattern, v, re.ASCII)))


def of_type(annotation: Any, default: Any = None) -> Kind:
    """What a type allows, within what a run can finish with; unknown types allow all but a dict.

    Args:
      annotation: of a field of a method's settings: `int`, `float | None`, `tuple[int, int]`.
      default: its value; one below 0 allows others below 0.
    """
    parts = typing.get_args(annotation)
    if type(None) in parts:
        inner = of_type(next(part for part in parts if part is not type(None)), default)
        return Kind(f"{inner.wanted}, or None", lambda v: v is None or inner.fits(v))
    if typing.get_origin(annotation) is typing.Literal:
        return Kind(f"one of {', '.join(map(repr, parts))}", lambda v: v in parts)
    if typing.get_origin(annotation) is tuple and parts:
        inner = of_type(parts[0], default[0] if default else None)
        if parts[-1] is Ellipsis:
            return several(inner, f"a tuple, each {inner.wanted}")
        wanted = f"a tuple of {len(parts)}, each {inner.wanted}"
        return several(inner, wanted, least=len(parts), most=len(parts))
    below = isinstance(default, int | float) and default < 0
    least = -1e6 if below else 0.0
    known = {bool: flag(), int: whole(0, 10**5), float: number(least, 1e6), str: text()}
    return known.get(annotation) or Kind("anything but a dict", lambda v: not isinstance(v, dict))


def each(*kinds: Kind) -> Kind:
    """A tuple of one value of each kind; `several` of them say what is wanted in words."""

    def fits(values: Any) -> bool:
        there = isinstance(values, list | tuple) and len(values) == len(kinds)
        return there and all(k.fits(v) for k, v in zip(kinds, values, strict=True))

    return Kind("", fits)


def several(
    kind: Kind, wanted: str, *, least: int = 0, most: int | None = None, distinct: bool = False
) -> Kind:
    """A tuple of values, `least` to `most` of them."""

    def fits(values: Any) -> bool:
        return (
            isinstance(values, Sequence)
            and not isinstance(values, str)
            and least <= len(values) <= (len(values) if most is None else most)
            and all(kind.fits(v) for v in values)
            and (not distinct or len(set(values)) == len(values))
        )

    return Kind(wanted, fits)
