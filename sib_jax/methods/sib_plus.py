"""SIB with a gradient network that sees more than one query's logits, and is shared by all classes.

It departs from the paper's form in four ways, so that the inner loop starts where soft k-means ends
and learns from there, and serves tasks of any number of ways:

- The prior of a task is centred at its own theta^0: its pull keeps theta near the support set, as
  the fixed labels of the support examples do in k-means. With gamma = 1 a step forgets all but it.
- xi is one small network for every pair of a query and a class, so it is equivariant to the order
  of the classes. It reads the class's log-probability at this query, at its neighbours and over all
  queries, and that of the nearest support examples. All are relative to 1 / k, as is its output,
  so that it can learn from tasks of several k and serve them.
- eta, gamma and the scale of the logits are learned, each step its own.
- The synthetic gradient is that of unnormalised logits, f(x) . w: dy/dw = f(x).

    theta_{t+1} = theta^0 + (1 - gamma_t) (theta_t - theta^0) + eta_t sum_j g_j f(x_j)^T / m_k
    g = softmax(y) + xi(...)

with m_k support examples of class k. Before training xi gives 0, gamma = eta = 1 and the scale is
that of the settings: T steps of `soft_kmeans`, or of `sinkhorn_kmeans` where assignments are
balanced.
theta moves in the span of theta^0 and the queries, so a step needs only their inner products and
costs n^2 k, whatever d is (see `sib.inner_products`).
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sib_jax.methods.method import Classes, Method, cross_entropy
from sib_jax.methods.parts.checked import scored
from sib_jax.methods.parts.transport import balanced
from sib_jax.sib.classifier import normalize
from sib_jax.sib.init_net import class_means

_WAYS = 5  # what xi reads of more or fewer classes is scaled as if there were so many
_SEEN = 5  # numbers that xi reads of each query and class


class Settings(NamedTuple):
    """Hyper-parameters.

    Attributes:
      steps: T.
      hidden: width of the gradient network.
      scale: of the cosines, before training.
      iterations: of Sinkhorn, which gives every class the same number of queries in each step's
        assignment and in the answer; 0 for none.
    """

    steps: int = 10
    hidden: int = 32
    scale: float = 10.0
    iterations: int = 0


class Params(NamedTuple):
    """What is meta-learned.

    Attributes:
      coefficient: of each feature's dimension, in support and queries alike, [d].
      log_scale: of the cosines, in each step and at the end, [T + 1].
      log_step: log eta of each step, [T].
      pull: gamma of each step is 2 sigmoid(pull), so 0 gives 1, [T].
      sharpness: log of the factor on cosines between examples, for neighbours and support, [2].
      kernels: of the gradient network's three layers.
      biases: of the first two; one of the last would be the same for all classes.
    """

    coefficient: jax.Array
    log_scale: jax.Array
    log_step: jax.Array
    pull: jax.Array
    sharpness: jax.Array
    kernels: tuple[jax.Array, ...]
    biases: tuple[jax.Array, ...]


def init(key: jax.Array, settings: Settings, features: int) -> Params:
    """Parameters before training: those of soft k-means.

    Args:
      key: PRNG key.
      settings: hyper-parameters.
      features: d.
    """
    sizes = (_SEEN, settings.hidden, settings.hidden, 1)
    kernels = [
        jax.random.normal(k, (a, b)) * math.sqrt(2 / a)
        for k, a, b in zip(jax.random.split(key, 3), sizes, sizes[1:], strict=False)
    ]
    kernels[-1] = jnp.zeros_like(kernels[-1])  # at first the network gives 0
    steps = settings.steps
    return Params(
        coefficient=jnp.ones(features),
        log_scale=jnp.full(steps + 1, math.log(settings.scale), float),
        log_step=jnp.zeros(steps),
        pull=jnp.zeros(steps),
        sharpness=jnp.full(2, math.log(settings.scale), float),
        kernels=tuple(kernels),
        biases=tuple(jnp.zeros(b) for b in sizes[1:-1]),
    )


def logits(
    params: Params,
    support: jax.Array,
    support_labels: jax.Array,
    query: jax.Array,
    *,
    ways: int,
    iterations: int = 0,
) -> jax.Array:
    """Scores of the queries under theta^T, or the log of their balanced assignment.

    Args:
      params: for any number of ways.
      support: features [m, d].
      support_labels: int [m], in 0..ways-1.
      query: features [n, d].
      ways: k.
      iterations: of Sinkhorn, as in `Settings`.

    Returns:
      [n, k].
    """
    unit_support, unit = (normalize(x * params.coefficient[None]) for x in (support, query))
    start = class_means(unit_support, support_labels, ways)  # theta^0
    member = jax.nn.one_hot(support_labels, ways, dtype=unit.dtype)  # [m, k]
    shots = jnp.maximum(jnp.sum(member, axis=0), 1)
    gram, at_start = unit @ unit.T, unit @ start.T
    length = jnp.maximum(jnp.sum(start * start, axis=1), 1e-12)
    sharp = jnp.exp(params.sharpness)
    neighbours = _neighbours(sharp[0] * gram)
    relative = ways / _WAYS
    shift = math.log(relative)
    near_support = shift + _log(jax.nn.softmax(sharp[1] * (unit @ unit_support.T), axis=1) @ member)

    def scores(moved: jax.Array, scale: jax.Array) -> jax.Array:
        """Scaled cosines under theta = theta^0 + moved^T F; moved [n, k]."""
        of_moved = gram @ moved
        squared = length + 2 * jnp.sum(moved * at_start, 0) + jnp.sum(moved * of_moved, 0)
        inverse = jax.lax.rsqrt(jnp.maximum(squared, 1e-12))
        return scale * (at_start + of_moved) * inverse[None]

    def step(moved: jax.Array, of_step: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
        log_scale, log_step, pull = of_step
        alone = jax.nn.log_softmax(scores(moved, jnp.exp(log_scale)))
        log_p = balanced(alone, iterations)
        p = jnp.exp(log_p)
        marginal = jnp.broadcast_to(_log(jnp.mean(jnp.exp(alone), axis=0))[None], p.shape) + shift
        seen = (log_p + shift, p * ways, _log(neighbours @ p) + shift, marginal, near_support)
        g = p + _network(params, jnp.stack(seen, axis=-1)) / relative
        kept = 1 - 2 * jax.nn.sigmoid(pull)
        return kept * moved + jnp.exp(log_step) * g / shots[None], None

    of_steps = (params.log_scale[:-1], params.log_step, params.pull)
    moved, _ = jax.lax.scan(step, jnp.zeros_like(at_start), of_steps)
    found = scores(moved, jnp.exp(params.log_scale[-1]))
    return balanced(found, iterations) if iterations else found


def make(settings: Settings, ways: int) -> Method:
    """The variant on features, with T = `settings.steps`."""
    if settings.steps < 1:
        raise ValueError(f"steps is {settings.steps}, but must be 1 or more")

    def start(key: jax.Array, classes: Classes) -> Params:
        return init(key, settings, classes.shape[-1])

    scores = functools.partial(logits, ways=ways, iterations=settings.iterations)
    of_episode = scored(scores, ways)
    name = "SIB+ balanced" if settings.iterations else "SIB+"
    loss, balances = cross_entropy(of_episode), settings.iterations > 0
    return Method(name, start, of_episode, loss, steps=settings.steps, balances=balances)


def _network(params: Params, x: jax.Array) -> jax.Array:
    """One number for each query and class; [n, k, seen] -> [n, k], of mean 0 over the classes."""
    for kernel, bias in zip(params.kernels[:-1], params.biases, strict=True):
        x = jax.nn.relu(x @ kernel + bias[None, None])
    x = (x @ params.kernels[-1])[..., 0]
    return x - jnp.mean(x, axis=1, keepdims=True)


def _neighbours(similarity: jax.Array) -> jax.Array:
    """How much each query listens to each other one; rows sum to 1 (to 0 for a single query)."""
    itself = jnp.eye(similarity.shape[0], dtype=bool)
    lowest = jnp.finfo(similarity.dtype).min
    return jax.nn.softmax(jnp.where(itself, lowest, similarity), axis=1) * ~itself


def _log(p: jax.Array) -> jax.Array:
    return jnp.log(jnp.maximum(p, 1e-6))
