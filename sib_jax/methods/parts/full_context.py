"""Full context embeddings of matching networks: every example is embedded in view of the others.

A support example x_i, embedded as g'_i, becomes g_i = g'_i + forward_i + backward_i, the outputs of
two LSTMs that read the support set in both directions. A query, embedded as f', is read K times by
an LSTM that attends to the g_i:
  h^_k, c_k = LSTM(f', [h_{k-1}, r_{k-1}], c_{k-1});  h_k = h^_k + f';
  r_k = sum_i softmax_i(h_k . g_i) g_i;  f = h_K.
As h is added to f', the LSTMs have as many units as there are features: the parameters are about 28
times the square of that number.

References:
  Vinyals et al., "Matching networks for one shot learning", NeurIPS 2016 (arXiv 1606.04080),
    section 2.1.2 and appendix A.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sib_jax.methods.parts import lstm
from sib_jax.methods.parts.lstm import Lstm


class FullContext(NamedTuple):
    """Parameters of the embeddings.

    Attributes:
      forward: reads the support set from its first example.
      backward: reads it from its last.
      read: reads a query, and what it attends to.
    """

    forward: Lstm
    backward: Lstm
    read: Lstm


def init(key: jax.Array, features: int) -> FullContext:
    """Embeddings before training, for `features` numbers."""
    keys = jax.random.split(key, 3)
    size = {"inputs": features, "hidden": features}
    return FullContext(
        lstm.init(keys[0], **size),
        lstm.init(keys[1], **size),
        lstm.init(keys[2], **size, recurrent=2 * features),
    )


def of_support(params: FullContext, support: jax.Array) -> jax.Array:
    """Support examples in view of one another; their order matters.

    Args:
      params: of the embeddings.
      support: [m, d].

    Returns:
      g, [m, d].
    """
    forward = _outputs(params.forward, support)
    return support + forward + _outputs(params.backward, support[::-1])[::-1]


def of_query(params: FullContext, support: jax.Array, query: jax.Array, *, steps: int) -> jax.Array:
    """Queries in view of the support set, each by itself.

    Args:
      params: of the embeddings.
      support: g, [m, d].
      query: f', [n, d].
      steps: K.

    Returns:
      f, [n, d]; the query itself where K = 0.
    """

    def step(
        state: tuple[jax.Array, jax.Array, jax.Array], _: None
    ) -> tuple[tuple[jax.Array, jax.Array, jax.Array], None]:
        hidden, read, cell = state
        recurrent = jnp.concatenate([hidden, read], axis=1)
        output, cell = lstm.step(params.read, query, recurrent, cell)
        hidden = output + query
        read = jax.nn.softmax(hidden @ support.T, axis=1) @ support
        return (hidden, read, cell), None

    if not steps:
        return query
    query = query.astype(jnp.result_type(query, support, params.read.weights))
    zeros = jnp.zeros_like(query)
    return jax.lax.scan(step, (zeros, zeros, zeros), None, length=steps)[0][0]


def _outputs(params: Lstm, sequence: jax.Array) -> jax.Array:
    """Output at each place, [m, d] -> [m, d]."""

    def step(
        state: tuple[jax.Array, jax.Array], row: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        output, cell = lstm.step(params, row[None], *state)
        return (output, cell), output[0]

    sequence = sequence.astype(jnp.result_type(sequence, params.weights))
    zeros = jnp.zeros_like(sequence[:1])
    return jax.lax.scan(step, (zeros, zeros), sequence)[1]
