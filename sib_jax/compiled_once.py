"""Functions that a user may call outside jit: compiled there, once for each set of shapes."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import jax

Result = TypeVar("Result")


def is_traced(tree: object) -> bool:
    """Whether anything in it is known only inside a transformation."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


def compiled_once(function: Callable[..., Result]) -> Callable[..., Result]:
    """`function` itself where an argument is traced, and otherwise compiled.

    Outside jit a scan, and a vmap of a new function, would be compiled anew in every call.

    Args:
      function: takes pytrees by position, and what is static by keyword only.
    """
    of = inspect.signature(function).parameters.values()
    static = [parameter.name for parameter in of if parameter.kind is parameter.KEYWORD_ONLY]
    compiled = jax.jit(function, static_argnames=static)

    @functools.wraps(function)
    def call(*arrays: Any, **settings: Any) -> Result:
        return (function if is_traced(arrays) else compiled)(*arrays, **settings)

    return call
