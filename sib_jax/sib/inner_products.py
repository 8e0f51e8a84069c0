"""Eq. 9 for a point mass under the cosine classifier, in only inner products: the fast form.

Cosine scores ignore the length of theta, and each synthetic gradient is a combination of the
normalised queries F [n, d] and of theta itself. So the steps close over

    A = F theta^T [n, k],    r = |theta|^2 [k],    G = F F^T [n, n]

and with g = s xi(logits), c = sum_n g A (columnwise, as all below), one step is

    logits = s (b + A / sqrt r)
    theta <- theta - eta (F^T g / sqrt r - theta c / r^(3/2))
    A     <- A     - eta (G g   / sqrt r - A     c / r^(3/2))
    r     <- r     + eta^2 (g . G g / r - c^2 / r^2)          (theta is orthogonal to its gradient)

at a cost of n^2 k whatever d is. G is one large matrix product, made once; backbone features are
frozen, so nothing is differentiated through it. `inner_loop` is the general form.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sib_jax.sib import gradient_net
from sib_jax.sib.classifier import Cosine
from sib_jax.sib.gradient_net import GradientNet


class _State(NamedTuple):
    """theta = own theta^0 + F^T of_queries; own and r [k], of_queries and A [n, k]."""

    own: jax.Array
    of_queries: jax.Array
    a: jax.Array
    r: jax.Array


def pays(queries: int, ways: int, steps: int) -> bool:
    """Whether this form is the faster one, for static n, k and T.

    It trades T products of [n, d] with [k, d], each way, for one of [n, d] with [n, d], which runs
    at several times their rate. In training the two forms cross near n = 15 k T for d = 640. In
    evaluation this one gains only for 5 ways (`benchmarks/forms.py`). Where a program serves any n
    (`jax.export`), which is then not an int, it takes the general form.
    """
    return isinstance(queries, int) and queries <= 10 * ways * steps


def unroll(steps: int) -> int:
    """How many of T steps to write out in a scan over them.

    A few steps fuse with each other when written out, which saves up to a quarter of the time at
    T = 3; from T = 5 on a plain loop is the faster one, up to 1.7 times.
    """
    return steps if steps <= 3 else 1


def adapt(
    net: GradientNet,
    classifier: Cosine,
    theta: jax.Array,
    unit_query: jax.Array,
    summary: jax.Array,
    *,
    steps: int,
    step_size: float | jax.Array,
    checkpoint: bool,
) -> tuple[jax.Array, jax.Array]:
    """T steps of eq. 9.

    Args:
      net: xi.
      classifier: scale s and bias b.
      theta: theta^0, [k, d]; a row shorter than 1e-6 (a class whose support features vanish) is
        taken to have that length.
      unit_query: F, normalised query features [n, d].
      summary: what xi reads beside the logits, [n, s].
      steps: T, at least 1.
      step_size: eta.
      checkpoint: recompute each step in the backward pass.

    Returns:
      theta^T [k, d], and the logits there [n, k]. Whichever of the two is not used costs nothing
      once compiled.
    """
    gram = unit_query @ unit_query.T

    def logits(state: _State) -> jax.Array:
        return classifier.scale * (classifier.bias + state.a * jax.lax.rsqrt(state.r)[None])

    def step(state: _State, _: None) -> tuple[_State, None]:
        seen = jnp.concatenate([logits(state), summary], axis=1)
        g = classifier.scale * gradient_net.apply(net, seen)
        inverse = jax.lax.rsqrt(state.r)
        c = jnp.sum(g * state.a, axis=0)
        gram_g = gram @ g
        kept = 1 + step_size * c * inverse**3
        length = jnp.sum(g * gram_g, axis=0) * inverse**2 - c**2 * inverse**4
        return _State(
            own=state.own * kept,
            of_queries=state.of_queries * kept[None] - step_size * g * inverse[None],
            a=state.a * kept[None] - step_size * gram_g * inverse[None],
            r=state.r + step_size**2 * length,
        ), None

    start = _State(
        own=jnp.ones_like(theta[:, 0]),
        of_queries=jnp.zeros((unit_query.shape[0], theta.shape[0]), theta.dtype),
        a=unit_query @ theta.T,
        # Classes whose support features vanish stay finite; 1 / r^2 must not overflow.
        r=jnp.maximum(jnp.sum(theta * theta, axis=1), 1e-12),
    )
    if checkpoint:
        step = jax.checkpoint(step)
    end, _ = jax.lax.scan(step, start, None, length=steps, unroll=unroll(steps))
    return end.own[:, None] * theta + end.of_queries.T @ unit_query, logits(end)
