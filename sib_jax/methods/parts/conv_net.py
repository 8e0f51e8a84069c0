"""A small convolutional classifier as pure functions, to be adapted to each task as a whole.

Blocks of 3x3 convolution, batch normalization, ReLU and 2x2 max pooling, then a linear layer. The
batch is always normalised by its own statistics, so there is no state beside the parameters.

`backbones.conv4` is the same network, but is not used here: its convolution has a gradient rule of
its own, which cannot be differentiated again, as second-order MAML needs. And where each task has
its own kernels, `vmap` makes one grouped convolution of all tasks, which is slow in XLA on the CPU.
Matrix products over image patches have neither problem.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

EPSILON = 1e-3  # of the variance, as in cbfinn/maml

_MANY = 16  # channels


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
    x = _convolution(x, block.kernel)
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


# The convolution and its gradient with respect to the kernel are bilinear, and the gradients of
# each are these two again. So both can be differentiated as often as one likes, without what XLA
# makes of the gradients of slices and padding, which takes longer than the products.
@jax.custom_vjp
def _convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """With zero padding: [n, h, w, c], [9 c, f] -> [n, h, w, f]."""
    patches = _patches(x)
    kernels = jnp.split(kernel, len(patches))
    return functools.reduce(jnp.add, (p @ k for p, k in zip(patches, kernels, strict=True)))


@jax.custom_vjp
def _kernel_gradient(x: jax.Array, dy: jax.Array) -> jax.Array:
    """[n, h, w, c], [n, h, w, f] -> [9 c, f]."""
    # As (dy^T patches)^T only dy has to be copied, of which there is less.
    columns = dy.reshape(-1, dy.shape[-1]).T
    products = [columns @ patches.reshape(-1, patches.shape[-1]) for patches in _patches(x)]
    return jnp.concatenate(products, axis=1).T


def _turned(kernel: jax.Array) -> jax.Array:
    """The kernel that takes dy to dx: [9 c, f] -> [9 f, c]."""
    by_place = kernel.reshape(9, -1, kernel.shape[1])
    return by_place[::-1].transpose(0, 2, 1).reshape(-1, by_place.shape[1])


_Pair = tuple[jax.Array, jax.Array]


def _convolution_forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, _Pair]:
    return _convolution(x, kernel), (x, kernel)


def _convolution_backward(operands: _Pair, dy: jax.Array) -> _Pair:
    x, kernel = operands
    return _convolution(dy, _turned(kernel)), _kernel_gradient(x, dy)


def _kernel_gradient_forward(x: jax.Array, dy: jax.Array) -> tuple[jax.Array, _Pair]:
    return _kernel_gradient(x, dy), (x, dy)


def _kernel_gradient_backward(operands: _Pair, kernel: jax.Array) -> _Pair:
    x, dy = operands
    return _convolution(dy, _turned(kernel)), _convolution(x, kernel)


_convolution.defvjp(_convolution_forward, _convolution_backward)
_kernel_gradient.defvjp(_kernel_gradient_forward, _kernel_gradient_backward)


def _patches(x: jax.Array) -> list[jax.Array]:
    """What a 3x3 kernel sees at each pixel, [n, h, w, 9 c]; or its three rows, [n, h, w, 3 c] each.

    Of many channels whole patches take more memory than the products are worth.
    """
    h, w, c = x.shape[1:]
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows = jnp.concatenate([x[:, :, j : j + w] for j in range(3)], axis=-1)
    of_rows = [rows[:, i : i + h] for i in range(3)]
    return of_rows if c >= _MANY else [jnp.concatenate(of_rows, axis=-1)]


def _pooled(height: int, width: int) -> tuple[int, int]:
    """The size after a block; a single row or column is left as it is."""
    return (height // 2, width // 2) if min(height, width) > 1 else (height, width)
