"""Numbers given to the public functions, checked where they are known: inside jit they are not."""

import operator

import jax
import numpy as np
from jax.typing import ArrayLike


def is_whole(given: object) -> bool:
    """Whether it is a whole number of Python or NumPy; True and False are none."""
    return isinstance(given, int | np.integer) and not isinstance(given, bool)


def whole(name: str, given: object, least: int) -> int:
    """`given` as an int.

    Args:
      name: what the user calls it.
      given: an int, or a number of NumPy or JAX that stands for one.
      least: the smallest allowed.

    Raises:
      TypeError: not a whole number, such as 5.0, or a value inside jit: it decides shapes.
      ValueError: below `least`.
    """
    try:
        if isinstance(given, bool):
            raise TypeError
        number = operator.index(given)  # type: ignore[arg-type]
    except jax.errors.TracerIntegerConversionError as error:
        raise TypeError(
            f"{name} decides shapes and must be a number that jit knows: close over it, or make it "
            "one of static_argnames"
        ) from error
    except TypeError:
        raise TypeError(f"{name} must be a whole number, got {given!r}") from None
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    return number


def positive(name: str, given: ArrayLike) -> None:
    """Raises ValueError if `given` is known and somewhere 0, negative or NaN; or TypeError."""
    if not isinstance(given, jax.core.Tracer) and not np.all(_number(name, given) > 0):
        raise ValueError(f"{name} must be above 0, got {given}")


def not_negative(name: str, given: ArrayLike) -> None:
    """Raises ValueError if `given` is not a single number or, if known, below 0; or TypeError."""
    if not isinstance(given, jax.core.Tracer) and not np.all(_number(name, given) >= 0):
        raise ValueError(f"{name} must be 0 or more, got {given}")
    if np.ndim(given):
        raise ValueError(f"{name} must be one number, got an array of shape {np.shape(given)}")


def _number(name: str, given: ArrayLike) -> np.ndarray:
    array = np.asarray(given)
    if array.dtype.kind not in "biufV":  # V: bfloat16 and the like
        raise TypeError(f"{name} must be a number, got {given!r}")
    return array
