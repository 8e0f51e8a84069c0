"""Checks arrays given to the public functions; values only outside jit, where they are known.

Constants that a jitted function closes over are known too. NumPy reads them, where an operation of
jax.numpy on a constant would give a tracer.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from sib_jax.compiled_once import is_traced
from sib_jax.sib.distributions import Gaussian, PointMass
from sib_jax.tasks.episode import Episode


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


def images(name: str, given: ArrayLike) -> jax.Array:
    """`given` as an array [n, height, width, channels].

    Args:
      name: what the user calls it.
      given: an array, or what becomes one.

    Raises:
      ValueError: another shape.
    """
    array = jnp.asarray(given)
    if array.ndim != 4:
        raise ValueError(
            f"{name} must be [n, height, width, channels], the images of one episode (use jax.vmap "
            f"for more); got shape {array.shape}"
        )
    return array


def labels(
    name: str, given: ArrayLike, of: jax.Array, classes: int, *, every: int = 0, known_as: str
) -> jax.Array:
    """`given` as an int array [n].

    Args:
      name: what the user calls it.
      given: an array, or what becomes one.
      of: [n, ..], what is labelled.
      classes: labels are 0 to `classes` - 1.
      every: the first so many of these must occur.
      known_as: what the number of classes is called, such as "ways=5".

    Raises:
      TypeError: they are not integers.
      ValueError: another shape, a label that is not a class, or a class without a label.
    """
    # A list that goes through jit holds tracers.
    values = None if is_traced(given) else np.asarray(given)
    array = jnp.asarray(given) if values is None else values
    if not array.size:  # an empty list has no type of its own
        array = array.astype(np.int32)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"{name} must be integers in 0..{classes - 1}, got dtype {array.dtype}")
    if array.shape != of.shape[:1]:
        raise ValueError(
            f"{name} must be one label for each of {of.shape[0]} rows; got shape {array.shape}"
        )
    if values is not None and values.size and (values.min() < 0 or values.max() >= classes):
        raise ValueError(
            f"{name} must be in 0..{classes - 1} for {known_as}, got {values.min()}..{values.max()}"
        )
    if values is not None and (missing := sorted(set(range(every)) - set(values.tolist()))):
        raise ValueError(
            f"{name} holds {every - len(missing)} of the {every} classes of {known_as}; without an "
            f"example: {', '.join(map(str, missing[:5]))}{', ...' if len(missing) > 5 else ''}"
        )
    return jnp.asarray(array)


def episode(given: object) -> None:
    """Raises TypeError where `given` is not an episode."""
    if not isinstance(given, Episode):
        raise TypeError(
            "the episode must be a sib_jax.Episode(support, support_labels, query, query_labels); "
            f"got {type(given).__name__}"
        )


def posterior(given: object) -> None:
    """Raises TypeError where `given` is not a posterior."""
    if not isinstance(given, Gaussian | PointMass):
        raise TypeError(
            "the posterior must be a PointMass or a Gaussian, such as sib_jax.PointMass(mean); got "
            f"{type(given).__name__}"
        )
