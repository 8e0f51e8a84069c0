"""Gradients against finite differences: one program, which gives values and gradients."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def agrees_with_differences(
    function: Callable[..., jax.Array], arguments: tuple, *, eps: float, rtol: float, atol: float
) -> None:
    """Asserts it of the derivative in a random direction, of all arguments at once.

    Args:
      function: of pytrees of arrays, to a scalar.
      arguments: where.
      eps: half of the step.
      rtol: relative tolerance.
      atol: absolute tolerance.
    """
    of = jax.jit(jax.value_and_grad(function, tuple(range(len(arguments)))))
    rng = np.random.default_rng(0)
    arguments = jax.tree.map(np.asarray, arguments)
    toward = jax.tree.map(lambda x: np.asarray(rng.standard_normal(x.shape), x.dtype), arguments)

    def moved(by: float) -> Any:
        return jax.tree.map(lambda x, d: x + np.asarray(by * d, x.dtype), arguments, toward)

    above, below = (float(of(*moved(by))[0]) for by in (eps, -eps))
    _, gradient = of(*arguments)
    products = jax.tree.map(lambda g, d: np.vdot(np.asarray(g), d), gradient, toward)
    slope = sum(map(float, jax.tree.leaves(products)))
    np.testing.assert_allclose(slope, (above - below) / (2 * eps), rtol=rtol, atol=atol)
