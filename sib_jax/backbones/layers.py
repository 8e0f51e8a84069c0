"""What the backbones are built of: convolution and batch normalization, fast on CPUs too.

Initialization is that of the official SIB code.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from sib_jax.backbones import convolution

BATCH_NORM_EPSILON = 1e-5
BATCH_NORM_MOMENTUM = 0.9  # share of the old running value that is kept: 1 - PyTorch's 0.1

# Standard deviation sqrt(2 / (kernel area * output channels)).
_kernel_init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class Conv(nn.Module):
    """Convolution without bias: 3x3 padded by one pixel, or 1x1."""

    filters: int
    size: int = 3
    stride: int = 1
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[b, h, w, c] -> [b, ceil(h / stride), ceil(w / stride), filters]."""
        shape = (self.size, self.size, x.shape[-1], self.filters)
        kernel = self.param("kernel", _kernel_init, shape).astype(self.dtype)
        x = x.astype(self.dtype)
        if self.size == 1:
            return x[:, :: self.stride, :: self.stride] @ kernel[0, 0]
        return convolution.conv3x3(x, kernel, self.stride)


class BatchNorm(nn.Module):
    """Batch normalization over all axes but the last, with float32 statistics.

    The batch is normalised by its biased variance; the running variance averages the unbiased one,
    as in PyTorch (Flax's own module averages the biased one).

    With `pool`, the result is 2x2 max pooled. The affine map is monotone in each channel, so the
    pooling can go first and leave it a quarter of the elements.
    """

    dtype: DTypeLike = jnp.float32
    pool: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[b, h, w, c] -> the same, or [b, h // 2, w // 2, c] with `pool`.

        In training, the collection `batch_stats` is updated.
        """
        channels = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, channels)
        bias = self.param("bias", nn.initializers.zeros, channels)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, channels)
        running_var = self.variable("batch_stats", "var", jnp.ones, channels)
        if train:
            mean, var = _batch_statistics(x)
            count = x.size // x.shape[-1]
            if not self.is_initializing():
                unbiased = var * (count / max(count - 1, 1))
                running_mean.value = _running(running_mean.value, mean)
                running_var.value = _running(running_var.value, unbiased)
        else:
            mean, var = running_mean.value, running_var.value
        gain = scale * jax.lax.rsqrt(var + BATCH_NORM_EPSILON)
        mean, gain, bias = (a[None, None, None] for a in (mean, gain, bias))
        if self.pool and train:
            # Where the map is decreasing, the largest result is that of the smallest entry.
            sign = jnp.where(gain < 0, -1, 1).astype(x.dtype)
            x = sign * convolution.max_pool2x2(sign * x)
        x = ((x - mean) * gain + bias).astype(self.dtype)
        if self.pool and not train:
            # In this order XLA on the CPU takes half the time or less.
            x = nn.max_pool(x, (2, 2), (2, 2))
        return x


def _batch_statistics(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and biased variance of each channel; [..., c] -> float32 [c], [c]."""
    axes = tuple(range(x.ndim - 1))
    x = x.astype(jnp.float32)
    mean = x.mean(axes)
    # One pass over x instead of two. Rounding may turn a variance of zero negative.
    return mean, jnp.maximum(jnp.square(x).mean(axes) - jnp.square(mean), 0.0)


def _running(old: jax.Array, new: jax.Array) -> jax.Array:
    return BATCH_NORM_MOMENTUM * old + (1 - BATCH_NORM_MOMENTUM) * new
