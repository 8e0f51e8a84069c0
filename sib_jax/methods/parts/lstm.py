"""The long short-term memory cell (Hochreiter and Schmidhuber 1997, with forget gate)."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Lstm(NamedTuple):
    """Parameters; the 4 h columns are the input gate, forget gate, new value and output gate.

    Attributes:
      weights: of input and of what recurs, below one another, [inputs + recurrent, 4 h].
      bias: [4 h].
    """

    weights: jax.Array
    bias: jax.Array


def init(key: jax.Array, *, inputs: int, hidden: int, recurrent: int | None = None) -> Lstm:
    """Draws all parameters from -1 / sqrt(h) to 1 / sqrt(h), as PyTorch does.

    Args:
      key: PRNG key.
      inputs: number of inputs.
      hidden: h.
      recurrent: numbers that recur; h, the output, where None.
    """
    rows = inputs + (hidden if recurrent is None else recurrent)
    bound = 1 / math.sqrt(hidden)
    weights_key, bias_key = jax.random.split(key)
    return Lstm(
        jax.random.uniform(weights_key, (rows, 4 * hidden), minval=-bound, maxval=bound),
        jax.random.uniform(bias_key, (4 * hidden,), minval=-bound, maxval=bound),
    )


def step(
    params: Lstm, inputs: jax.Array, recurrent: jax.Array, cell: jax.Array, *, axis: int = 1
) -> tuple[jax.Array, jax.Array]:
    """One step, for rows that do not see one another.

    Args:
      params: see `Lstm`.
      inputs: [n, inputs].
      recurrent: [n, recurrent].
      cell: state [n, h].
      axis: 0 where the rows are columns, in all arguments and results: faster for small h.

    Returns:
      The output [n, h] and the new cell state [n, h].
    """
    both = jnp.concatenate([inputs, recurrent], axis=axis)
    if axis == 1:
        gates = both @ params.weights + params.bias[None]
    else:
        gates = params.weights.T @ both + params.bias[:, None]
    enter, forget, new, leave = jnp.split(gates, 4, axis=axis)
    cell = jax.nn.sigmoid(forget) * cell + jax.nn.sigmoid(enter) * jnp.tanh(new)
    return jax.nn.sigmoid(leave) * jnp.tanh(cell), cell
