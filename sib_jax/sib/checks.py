"""Arguments of the public functions, checked as far as they are known: values inside jit are not.

Constants that a jitted function closes over are known. NumPy reads them, where an operation of
jax.numpy on a constant would give a tracer.
"""

import operator

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from sib_jax.sib.distributions import Gaussian, PointMass


def features(name: str, given: ArrayLike, length: int | None = None) -> jax.Array:
    """`given` as an array [n, d].

    Args:
      name: what the user calls it.
      given: an array, or what becomes one.
      length: d of the parameters that will read it, where they have one.

    Raises:
      ValueError: another shape, or another d.
    """
    array = jnp.asarray(given)
    if array.ndim != 2:
        raise ValueError(
            f"{name} must be [n, d], the features of one episode (use jax.vmap for more); got "
            f"shape {array.shape}"
        )
    if length is not None and array.shape[1] != length:
        raise ValueError(
            f"{name} has features of length {array.shape[1]}, but these parameters are for "
            f"{length}: make parameters with features={array.shape[1]}"
        )
    return array


def labels(
    name: str, given: ArrayLike, of: jax.Array, classes: int, *, every: int = 0, known_as: str
) -> jax.Array:
    """`given` as an int array [n].

    Args:
      name: what the user calls it.
      given: an array, or what becomes one.
      of: [n, d], what is labelled.
      classes: labels are 0 to `classes` - 1.
      every: the first so many of these must occur.
      known_as: what the number of classes is called, such as "ways=5".

    Raises:
      TypeError: no integers.
      ValueError: another shape, a label that is no class, or a class without a label.
    """
    values = None if isinstance(given, jax.core.Tracer) else np.asarray(given)
    array = jnp.asarray(given) if values is None else values
    if not array.size:  # an empty list has no type of its own
        array = array.astype(np.int32)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"{name} must be integers in 0..{classes - 1}, got dtype {array.dtype}")
    if array.shape != of.shape[:1]:
        raise ValueError(
            f"{name} must be one label for each of {of.shape[0]} rows of features; got shape "
            f"{array.shape}"
        )
    if values is not None and values.size and (values.min() < 0 or values.max() >= classes):
        raise ValueError(
            f"{name} must lie in 0..{classes - 1} for {known_as}, "
            f"got {values.min()}..{values.max()}"
        )
    if values is not None and (missing := sorted(set(range(every)) - set(values.tolist()))):
        raise ValueError(
            f"{name} holds {every - len(missing)} of the {every} classes of {known_as}; without an "
            f"example: {', '.join(map(str, missing[:5]))}{', ...' if len(missing) > 5 else ''}"
        )
    return jnp.asarray(array)


def posterior(given: object) -> None:
    """Raises TypeError where `given` is no posterior."""
    if not isinstance(given, Gaussian | PointMass):
        raise TypeError(
            "the posterior must be a PointMass or a Gaussian, such as sib_jax.PointMass(mean); got "
            f"{type(given).__name__}"
        )


def whole(name: str, given: object, least: int) -> int:
    """`given` as an int.

    Args:
      name: what the user calls it.
      given: an int, or a number of NumPy or JAX that stands for one.
      least: the smallest that may be.

    Raises:
      TypeError: no whole number, such as 5.0, or a value inside jit: it decides shapes.
      ValueError: below `least`.
    """
    try:
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
    """Raises ValueError where `given` is known, and 0, negative or NaN somewhere; or TypeError."""
    if not isinstance(given, jax.core.Tracer) and not np.all(_number(name, given) > 0):
        raise ValueError(f"{name} must be above 0, got {given}")


def not_negative(name: str, given: ArrayLike) -> None:
    """Raises ValueError where `given` is known, and negative or NaN somewhere; or TypeError."""
    if not isinstance(given, jax.core.Tracer) and not np.all(_number(name, given) >= 0):
        raise ValueError(f"{name} must be 0 or more, got {given}")


def _number(name: str, given: ArrayLike) -> np.ndarray:
    array = np.asarray(given)
    if array.dtype.kind not in "biufV":  # V: bfloat16 and the like
        raise TypeError(f"{name} must be a number, got {given!r}")
    return array
