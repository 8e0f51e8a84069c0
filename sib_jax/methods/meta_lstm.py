"""Meta-learner LSTM: an LSTM whose cell state is the learner's parameters.

theta_t = f_t theta_{t-1} - i_t g_t, where g_t is the gradient of the support set's loss. Forget
gate f and input gate i are computed for each parameter separately, with weights that all share,
from what a first LSTM makes of gradient and loss, and from theta_{t-1} and the previous gate.
theta_0 is learned too. Gradients and losses of the learner are taken as constants.

The learner is a linear or cosine classifier on frozen features, or the network of the paper on
images, whose batch normalization uses the statistics of the support set or of all queries.

Differences from the authors' code:
  The gradient is that of the mean loss; the code divides it once more by the number of examples.
  Every step uses the whole support set, where the code may take a part of it.
  The gradient of meta-training is not clipped to the norm 0.25.
  In evaluation the code normalises queries by running statistics of the support set.
As in the code, and unlike in the paper, the previous gate enters without its sigmoid.

References:
  Ravi and Larochelle, "Optimization as a model for few-shot learning", ICLR 2017.
  github.com/twitter/meta-learning-lstm.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from sib_jax.methods.method import Classes, Method, cross_entropy
from sib_jax.methods.parts import conv_net, lstm
from sib_jax.methods.parts.checked import checked
from sib_jax.methods.parts.lstm import Lstm
from sib_jax.sib.classifier import normalize
from sib_jax.tasks.calibration import negative_log_likelihood
from sib_jax.tasks.episode import Episode

LEARNERS = ("linear", "cosine", "conv")
P = 10.0  # of the preprocessing


class Settings(NamedTuple):
    """Hyper-parameters.

    Attributes:
      learner: "linear" or "cosine" on features of unit length, or "conv" on images.
      steps: T; None for 12 with one shot and 8 with more.
      hidden: h, of the first LSTM.
      scale: of the features, or of the cosine, before training.
      filters: of each convolution of the learner on images.
      blocks: of that learner.
    """

    learner: str = "linear"
    steps: int | None = None
    hidden: int = 20
    scale: float = 10.0
    filters: int = 32
    blocks: int = 4


class Gate(NamedTuple):
    """sigmoid([first LSTM's output, theta, previous gate] @ weights + bias).

    Attributes:
      weights: [h + 2].
      bias: scalar.
    """

    weights: jax.Array
    bias: jax.Array


class MetaLstm(NamedTuple):
    """Parameters of the meta-learner.

    Attributes:
      start: theta_0, a pytree of the learner's form.
      first: the LSTM that reads gradient and loss.
      forget: gate f.
      enter: gate i.
      scale: of the features or of the cosine, a scalar; not used on images.
    """

    start: Any
    first: Lstm
    forget: Gate
    enter: Gate
    scale: jax.Array


class State(NamedTuple):
    """What a step changes, for each of the learner's p parameters.

    Attributes:
      theta: [p].
      output: of the first LSTM, [h, p].
      cell: of the first LSTM, [h, p].
      forget: gate f before its sigmoid, [p].
      enter: gate i before its sigmoid, [p].
    """

    theta: jax.Array
    output: jax.Array
    cell: jax.Array
    forget: jax.Array
    enter: jax.Array


def preprocess(x: jax.Array) -> jax.Array:
    """Size and sign of numbers of very different sizes, [...] -> [2, ...].

    (log|x| / p, sign x) where |x| >= exp(-p), else (-1, exp(p) x), with p = 10.
    """
    size = jnp.abs(x)
    large = size >= math.exp(-P)
    log = jnp.log(jnp.where(large, size, 1.0)) / P
    return jnp.stack([jnp.where(large, log, -1.0), jnp.where(large, jnp.sign(x), math.exp(P) * x)])


def init(key: jax.Array, start: Any, *, hidden: int, scale: float) -> MetaLstm:
    """Gates that start as gradient descent: f is 0.98 to 0.993, i is 0.007 to 0.018.

    Args:
      key: PRNG key.
      start: the learner's parameters.
      hidden: h.
      scale: see `MetaLstm`.
    """
    keys = jax.random.split(key, 6)

    def small(key: jax.Array, *shape: int) -> jax.Array:
        return jax.random.uniform(key, shape, minval=-0.01, maxval=0.01)

    return MetaLstm(
        start,
        Lstm(small(keys[0], 4 + hidden, 4 * hidden), small(keys[1], 4 * hidden)),
        Gate(small(keys[2], hidden + 2), jax.random.uniform(keys[3], minval=4.0, maxval=5.0)),
        Gate(small(keys[4], hidden + 2), jax.random.uniform(keys[5], minval=-5.0, maxval=-4.0)),
        jnp.asarray(scale, float),
    )


def start_state(params: MetaLstm) -> State:
    """The state before the first step."""
    theta = ravel_pytree(params.start)[0]
    zeros = jnp.zeros((params.forget.weights.shape[0] - 2, theta.shape[0]), theta.dtype)
    return State(theta, zeros, zeros, jnp.zeros_like(theta), jnp.zeros_like(theta))


def update(params: MetaLstm, state: State, gradient: jax.Array, loss: jax.Array) -> State:
    """One step of the meta-learner.

    Args:
      params: the meta-learner.
      state: before the step.
      gradient: of the loss in theta, [p].
      loss: scalar.

    Returns:
      The state after it.
    """
    of_loss = jnp.broadcast_to(preprocess(loss)[:, None], (2, gradient.shape[0]))
    inputs = jnp.concatenate([of_loss, preprocess(gradient)])
    output, cell = lstm.step(params.first, inputs, state.output, state.cell, axis=0)

    def gate(gate: Gate, before: jax.Array) -> jax.Array:
        read = jnp.concatenate([output, state.theta[None], before[None]])
        return gate.weights @ read + gate.bias

    forget, enter = gate(params.forget, state.forget), gate(params.enter, state.enter)
    theta = jax.nn.sigmoid(forget) * state.theta - jax.nn.sigmoid(enter) * gradient
    return State(theta, output, cell, forget, enter)


def _own_weights(params: MetaLstm, labels: jax.Array) -> MetaLstm:
    """The same meta-learner, as if each episode had weights of its own.

    For weights that a batch of episodes shares, XLA multiplies all episodes at once, and copies
    what it multiplies into another order and back; that takes longer than the products.
    """
    zero = 0.0 * labels[0]  # depends on the episode, which is not known to be nothing
    first, forget, enter = jax.tree.map(
        lambda leaf: leaf + zero.astype(leaf.dtype), (params.first, params.forget, params.enter)
    )
    return params._replace(first=first, forget=forget, enter=enter)


def adapt(params: MetaLstm, loss: Callable[[Any], jax.Array], *, steps: int) -> Any:
    """The learner's parameters after some steps.

    Args:
      params: the meta-learner.
      loss: learner's parameters -> scalar.
      steps: T.

    Returns:
      Parameters like `params.start`.
    """
    unravel = ravel_pytree(params.start)[1]

    def step(state: State, _: None) -> tuple[State, None]:
        value, gradient = jax.value_and_grad(lambda theta: loss(unravel(theta)))(state.theta)
        gradient, value = jax.lax.stop_gradient((gradient, value.astype(gradient.dtype)))
        return update(params, state, gradient, value), None

    # It takes no longer to compute a step again than to store and read it.
    step = jax.checkpoint(step)
    return unravel(jax.lax.scan(step, start_state(params), None, length=steps)[0].theta)


def make(settings: Settings, ways: int) -> Method:
    """The meta-learner LSTM, on features or on images as its learner needs."""
    if settings.learner not in LEARNERS:
        raise ValueError(f"learner is {settings.learner!r}, but must be one of {LEARNERS}")
    reads = "images" if settings.learner == "conv" else "features"

    def learner(key: jax.Array, classes: Classes) -> Any:
        if settings.learner == "conv":
            size = {"filters": settings.filters, "blocks": settings.blocks}
            return conv_net.init(key, classes.shape, ways=ways, **size)
        weights = jax.nn.initializers.glorot_uniform()(key, (classes.shape[0], ways))
        return (weights, jnp.zeros(ways)) if settings.learner == "linear" else (weights,)

    def scores(params: MetaLstm, theta: Any, inputs: jax.Array) -> jax.Array:
        if settings.learner == "conv":
            return conv_net.logits(theta, inputs)
        features = params.scale * normalize(inputs)
        if settings.learner == "linear":
            return features @ theta[0] + theta[1][None]
        return features @ normalize(theta[0].T).T

    def start(key: jax.Array, classes: Classes) -> MetaLstm:
        learner_key, meta_key = jax.random.split(key)
        return init(
            meta_key,
            learner(learner_key, classes),
            hidden=settings.hidden,
            scale=settings.scale,
        )

    def of_episode(params: MetaLstm, episode: Episode, key: jax.Array) -> jax.Array:
        del key
        episode = checked(episode, ways, reads)
        steps = settings.steps
        if steps is None:
            steps = 12 if episode.support.shape[0] <= ways else 8

        def loss(theta: Any) -> jax.Array:
            return negative_log_likelihood(
                scores(params, theta, episode.support), episode.support_labels
            )

        params = _own_weights(params, episode.support_labels)
        return scores(params, adapt(params, loss, steps=steps), episode.query)

    return Method(
        f"meta_lstm {settings.learner}",
        start,
        of_episode,
        cross_entropy(of_episode),
        reads=reads,
    )
