"""Wide residual networks with pre-activation (Zagoruyko and Komodakis 2016, arXiv 1605.07146).

The paper uses `wrn_28_10`, with 640 features. Strides are those of the official SIB code.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from sib_jax.backbones.layers import BatchNorm, Conv


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, each after batch normalization and ReLU, and a shortcut.

    Where the number of channels changes, the shortcut is a 1x1 convolution of the activated input.
    """

    filters: int
    stride: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[b, h, w, c] -> [b, ceil(h / stride), ceil(w / stride), filters]."""
        activated = nn.relu(BatchNorm(self.dtype, name="bn1")(x, train))
        out = Conv(self.filters, 3, self.stride, self.dtype, name="conv1")(activated)
        out = nn.relu(BatchNorm(self.dtype, name="bn2")(out, train))
        out = Conv(self.filters, 3, 1, self.dtype, name="conv2")(out)
        if x.shape[-1] != self.filters:
            x = Conv(self.filters, 1, self.stride, self.dtype, name="shortcut")(activated)
        return x + out


class WideResNet(nn.Module):
    """Wide residual network: 3 groups of (depth - 4) / 6 residual blocks, then average pooling."""

    depth: int
    width: int
    first_stride: int
    final_relu: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Images [b, h, w, c] -> features [b, 64 * width]."""
        x = Conv(16, dtype=self.dtype, name="conv1")(x)
        for group, stride in enumerate((self.first_stride, 2, 2)):
            filters = 16 * 2**group * self.width
            for i in range((self.depth - 4) // 6):
                name = f"block{group + 1}_{i}"
                x = ResidualBlock(filters, stride if i == 0 else 1, self.dtype, name=name)(x, train)
        x = BatchNorm(self.dtype, name="bn1")(x, train)
        if self.final_relu:
            x = nn.relu(x)
        return x.astype(jnp.float32).mean((1, 2))
