"""A small convolutional classifier as pure functions, to be adapted to each task as a whole.

Blocks of 3x3 convolution, batch normalization, ReLU and 2x2 max pooling, then a linear layer. The
batch is always normalised by its own statistics, so there is no state beside the parameters.

`backbones.conv4` is the same network, but is not used here: its convolution has a gradient rule of
its own, which cannot be differentiated again, as second-order MAML needs. And where each task has
its own kernels, `vmap` makes one grouped convolution of all tasks, which is slow in XLA on the CPU.
A matrix product over image patches has neither problem.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

EPSILON = 1e-3  # of the variance, as in cbfinn/maml


class Block(NamedTuple):
    """One block.

    Attributes:
      kernel: [9 * channels, filters], the patch in the order row, column, channel.
      scale: of the batch normalization, [filters].
      bias: [filters].
    """

    kernel: jax.Array
    scale: jax.Array
    bias: jax.Array


class ConvNet(NamedTuple):
    """Parameters of the network.

    Attributes:
      blocks: one after another.
      weights: [d, k].
      bias: [k].
    """

    blocks: tuple[Block, ...]
    weights: jax.Array
    bias: jax.Array


def init(key: jax.Array, shape: Sequence[int], *, ways: int, filters: int, blocks: int) -> ConvNet:
    """Draws kernels and weights by Glorot and Bengio's uniform rule.

    Args:
      key: PRNG key.
      shape: of an image, (height, width, channels).
      ways: k.
      filters: of each block.
      blocks: how many.
    """
    glorot = jax.nn.initializers.glorot_uniform()
    *block_keys, last = jax.random.split(key, blocks + 1)
    height, width, channels = shape
    made = []
    for block_key in block_keys:
        kernel = glorot(block_key, (3, 3, channels, filters)).reshape(9 * channels, filters)
        made.append(Block(kernel, jnp.ones(filters), jnp.zeros(filters)))
        height, width, channels = *_pooled(height, width), filters
    size = height * width * channels
    return ConvNet(tuple(made), glorot(last, (size, ways)), jnp.zeros(ways))


def logits(params: ConvNet, images: jax.Array) -> jax.Array:
    """Scores of images, each normalised by the statistics of all of them.

    Args:
      params: the network.
      images: uint8 [n, height, width, channels].

    Returns:
      [n, k].
    """
    x = images.astype(jnp.float32) / 255
    for block in params.blocks:
        x = _block(block, x)
    return x.reshape(x.shape[0], -1) @ params.weights + params.bias[None]


def _block(block: Block, x: jax.Array) -> jax.Array:
    """[n, h, w, c] -> [n, h // 2, w // 2, filters]."""
    x = _patches(x) @ block.kernel
    mean, var = x.mean((0, 1, 2), keepdims=True), x.var((0, 1, 2), keepdims=True)
    scale, bias = block.scale[None, None, None], block.bias[None, None, None]
    x = (x - mean) * jax.lax.rsqrt(var + EPSILON) * scale + bias
    h, w = x.shape[1:3]
    if (h, w) != _pooled(h, w):
        x = _max_pool(x)
    return jax.nn.relu(x)


def _max_pool(x: jax.Array) -> jax.Array:
    """2x2, a last odd row or column dropped: [n, h, w, c] -> [n, h // 2, w // 2, c].

    Of equal entries, the first gets the gradient. That of `jnp.max` asks which entry equals the
    maximum, and is NaN where a compiler computes the entries twice and rounds them differently.
    """
    h, w = (size // 2 * 2 for size in x.shape[1:3])
    one, two, three, four = (x[:, i:h:2, j:w:2] for i in range(2) for j in range(2))
    return _larger(_larger(one, two), _larger(three, four))


def _larger(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.where(a >= b, a, b)


def _patches(x: jax.Array) -> jax.Array:
    """What a 3x3 kernel sees at each pixel: [n, h, w, c] -> [n, h, w, 9 c]."""
    h, w = x.shape[1:3]
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return jnp.concatenate([x[:, i : i + h, j : j + w] for i in range(3) for j in range(3)], -1)


def _pooled(height: int, width: int) -> tuple[int, int]:
    """The size after a block; a single row or column is left as it is."""
    return (height // 2, width // 2) if min(height, width) > 1 else (height, width)
