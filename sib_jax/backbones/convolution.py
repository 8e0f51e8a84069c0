"""The 3x3 convolution and the 2x2 max pooling of the backbones, fast on CPUs too.

XLA's own gradient of a convolution with respect to its kernel is slow on the CPU: 17 to 37 GFLOP/s
where the convolution itself reaches 220 (4 to 40 times slower again inside a loop). There, it is
computed here as a matrix product over image patches (im2col), some images at a time: 210 to 240.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

_LAYOUT = ("NHWC", "HWIO", "NHWC")

# Images are taken in chunks whose operands need about this much, so that they stay in the cache.
_CHUNK_BYTES = 6 * 2**20


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv3x3(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """3x3 convolution with one pixel of zero padding on each side and no bias.

    It has a gradient rule of its own, so only reverse-mode differentiation is defined.

    Args:
      x: [b, h, w, c_in].
      kernel: [3, 3, c_in, c_out], of the dtype of x.
      stride: 1 or more, the same in both directions.

    Returns:
      [b, ceil(h / stride), ceil(w / stride), c_out], of the dtype of x.
    """
    return _conv(x, kernel, stride)


def _conv(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), ((1, 1), (1, 1)), dimension_numbers=_LAYOUT
    )


def _forward(x: jax.Array, kernel: jax.Array, stride: int) -> tuple[jax.Array, Any]:
    return _conv(x, kernel, stride), (x, kernel)


def _backward(stride: int, residuals: Any, dy: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    (dx,) = jax.vjp(lambda x: _conv(x, kernel, stride), x)[1](dy)
    dkernel = jax.lax.platform_dependent(
        x,
        dy,
        cpu=functools.partial(_kernel_gradient_by_patches, stride=stride),
        default=functools.partial(_kernel_gradient, stride=stride),
    )
    return dx, dkernel


conv3x3.defvjp(_forward, _backward)


def _kernel_gradient(x: jax.Array, dy: jax.Array, stride: int) -> jax.Array:
    kernel = jax.ShapeDtypeStruct((3, 3, x.shape[-1], dy.shape[-1]), x.dtype)
    return jax.linear_transpose(lambda kernel: _conv(x, kernel, stride), kernel)(dy)[0]


def _kernel_gradient_by_patches(x: jax.Array, dy: jax.Array, stride: int) -> jax.Array:
    """The same as a sum over chunks of images of a product with patches."""
    b, c_in, c_out = x.shape[0], x.shape[-1], dy.shape[-1]
    h, w = dy.shape[1:3]
    # The form whose operands are smaller, of so many numbers for an image.
    if stride == 1 and 3 * c_in > c_out:
        product, numbers = _by_rows, (h + 2) * w * (3 * c_in + 3 * c_out)
    else:
        product = functools.partial(_by_patches, stride=stride)
        numbers = h * w * (9 * c_in + c_out)
    limit = max(1, min(b, _CHUNK_BYTES // (numbers * x.dtype.itemsize)))
    # Sizes that divide b first: to slice off a rest copies x and dy.
    even = [size for size in range(limit, limit // 2, -1) if b % size == 0]
    chunk = even[0] if even else limit
    whole = b // chunk * chunk

    def split(a: jax.Array) -> jax.Array:
        return a[:whole].reshape(-1, chunk, *a.shape[1:])

    total = jnp.zeros((3, 3, c_in, c_out), jnp.float32)
    total, _ = jax.lax.scan(lambda t, a: (t + product(*a), None), total, (split(x), split(dy)))
    if whole < b:
        total += product(x[whole:], dy[whole:])
    return total.astype(x.dtype)


def _by_patches(x: jax.Array, dy: jax.Array, stride: int) -> jax.Array:
    """patches^T dy, of whole 3x3 patches."""
    return _product(_patches(x, stride), dy).reshape(3, 3, x.shape[-1], dy.shape[-1])


def _by_rows(x: jax.Array, dy: jax.Array) -> jax.Array:
    """The same for stride 1, of patches of one row, with dy moved by 0, 1 and 2 rows instead."""
    w = x.shape[2]
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    patches = jnp.concatenate([x[:, :, j : j + w] for j in range(3)], axis=-1)
    moved = [jnp.pad(dy, ((0, 0), (i, 2 - i), (0, 0), (0, 0))) for i in range(3)]
    product = _product(patches, jnp.concatenate(moved, axis=-1))
    return product.reshape(3, x.shape[-1], 3, dy.shape[-1]).transpose(2, 0, 1, 3)


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    """Sum over all pixels; [b, h, w, m], [b, h, w, n] -> float32 [m, n]."""
    a, b = (x.reshape(-1, x.shape[-1]) for x in (a, b))
    return jnp.matmul(a.T, b, preferred_element_type=jnp.float32)


def _patches(x: jax.Array, stride: int) -> jax.Array:
    """What the kernel sees at each output pixel: [b, h, w, c] -> [b, h', w', 9 c]."""
    h, w = x.shape[1:3]
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifted = [x[:, i : i + h : stride, j : j + w : stride] for i in range(3) for j in range(3)]
    return jnp.concatenate(shifted, axis=-1)


@jax.custom_vjp
def max_pool2x2(x: jax.Array) -> jax.Array:
    """2x2 max pooling with stride 2; a last odd row or column is dropped.

    Where entries tie, the gradient is shared equally among them, as in `jnp.max`; PyTorch and
    `lax.reduce_window` give it all to the first. Reverse-mode differentiation only.

    Args:
      x: [b, h, w, c].

    Returns:
      [b, h // 2, w // 2, c].
    """
    a, b, c, d = _corners(x)
    return jnp.maximum(jnp.maximum(a, b), jnp.maximum(c, d))


def _corners(x: jax.Array) -> list[jax.Array]:
    """The four entries of each 2x2 window."""
    h, w = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    return [x[:, i:h:2, j:w:2] for i in range(2) for j in range(2)]


def _pool_forward(x: jax.Array) -> tuple[jax.Array, Any]:
    y = max_pool2x2(x)
    return y, (x, y)


def _pool_backward(residuals: Any, dy: jax.Array) -> tuple[jax.Array]:
    x, y = residuals
    ties = sum((corner == y).astype(dy.dtype) for corner in _corners(x))
    # Elementwise in x, so that it fuses with what else contributes to the gradient.
    dx = jnp.where(x == _upsample(y, x.shape), _upsample(dy / ties, x.shape), 0)
    return (dx.astype(x.dtype),)


def _upsample(y: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Repeats each entry over its 2x2 window; [b, h // 2, w // 2, c] -> [b, h, w, c]."""
    b, h, w, c = y.shape
    y = jnp.broadcast_to(y[:, :, None, :, None], (b, h, 2, w, 2, c)).reshape(b, 2 * h, 2 * w, c)
    odd = ((0, 0), (0, shape[1] - 2 * h), (0, shape[2] - 2 * w), (0, 0))
    return jnp.pad(y, odd, constant_values=jnp.nan)  # NaN equals nothing


max_pool2x2.defvjp(_pool_forward, _pool_backward)
