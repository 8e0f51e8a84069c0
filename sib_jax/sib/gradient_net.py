"""The gradient network xi: from the logits of the queries to a synthetic dloss/dlogits (eq. 9)."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

_EPSILON = 1e-5


class Layer(NamedTuple):
    """x @ kernel + bias; kernel [in, out], bias [out]."""

    kernel: jax.Array
    bias: jax.Array


class Normalization(NamedTuple):
    """Batch normalization's learned part: scale [h], shift [h]. There is no running state."""

    scale: jax.Array
    shift: jax.Array


class GradientNet(NamedTuple):
    """A three-layer MLP, k + s -> h -> h -> k; ReLU and normalization between layers.

    Attributes:
      layers: three `Layer`s.
      normalizations: one for each hidden layer; None is the form without normalization.
    """

    layers: tuple[Layer, Layer, Layer]
    normalizations: tuple[Normalization, Normalization] | None

    @property
    def ways(self) -> int:
        """k, the classes of the tasks it is for."""
        return self.layers[2].bias.shape[-1]

    @property
    def summary_size(self) -> int:
        """s, the further numbers that it reads of each query."""
        return self.layers[0].kernel.shape[-2] - self.ways


def init(
    key: jax.Array,
    *,
    ways: int,
    hidden: int | None = None,
    normalize: bool = True,
    summary_size: int = 0,
) -> GradientNet:
    """Random parameters, uniform in +-1/sqrt(fan in) as the official code draws them.

    Args:
      key: PRNG key.
      ways: k, the number of logits.
      hidden: width of the hidden layers; 8k unless given (section 3).
      normalize: whether hidden activations are normalised over the queries.
      summary_size: s, further numbers that the network reads of each query (see `base_classes`).
    """
    hidden = 8 * ways if hidden is None else hidden
    keys = jax.random.split(key, 3)
    layers = (
        _dense(keys[0], ways + summary_size, hidden),
        _dense(keys[1], hidden, hidden),
        _dense(keys[2], hidden, ways),
    )
    if not normalize:
        return GradientNet(layers, None)
    # Arrays of their own, not one shared: a training loop may donate the parameters' buffers.
    return GradientNet(layers, (_identity(hidden), _identity(hidden)))


def apply(net: GradientNet, logits: jax.Array) -> jax.Array:
    """xi(y): the synthetic gradient of the loss with respect to each query's logits.

    Normalization uses the mean and (biased) variance over this episode's queries, in training and
    in evaluation alike, so the result is a pure function of the episode.

    Args:
      net: parameters.
      logits: [n, k + s].

    Returns:
      [n, k].
    """
    x = logits
    for i, layer in enumerate(net.layers[:2]):
        x = jax.nn.relu(_affine(layer, x))
        if net.normalizations is not None:
            x = _normalize(net.normalizations[i], x)
    return _affine(net.layers[2], x)


def _dense(key: jax.Array, size_in: int, size_out: int) -> Layer:
    bound = 1 / math.sqrt(size_in)
    kernel_key, bias_key = jax.random.split(key)
    return Layer(
        jax.random.uniform(kernel_key, (size_in, size_out), minval=-bound, maxval=bound),
        jax.random.uniform(bias_key, (size_out,), minval=-bound, maxval=bound),
    )


def _identity(size: int) -> Normalization:
    return Normalization(jnp.ones(size), jnp.zeros(size))


def _affine(layer: Layer, x: jax.Array) -> jax.Array:
    return x @ layer.kernel + layer.bias[None]


def _normalize(parameters: Normalization, x: jax.Array) -> jax.Array:
    centred = x - jnp.mean(x, axis=0, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=0, keepdims=True)
    return (
        centred * (jax.lax.rsqrt(variance + _EPSILON) * parameters.scale[None])
        + parameters.shift[None]
    )
