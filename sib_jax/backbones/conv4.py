"""Conv4: four blocks of convolution, batch normalization, ReLU and 2x2 max pooling.

`conv4_64` has 64-64-64-64 filters (Vinyals et al. 2016, arXiv 1606.04080), `conv4_128` has
64-64-128-128 (Gidaris and Komodakis 2018, arXiv 1804.09458).
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from sib_jax.backbones.layers import BatchNorm, Conv

FILTERS = {"conv4_64": (64, 64, 64, 64), "conv4_128": (64, 64, 128, 128)}
STRIDE = 16  # of four poolings


class Conv4(nn.Module):
    """Four blocks of convolution, batch normalization, ReLU and 2x2 max pooling."""

    filters: tuple[int, ...]
    final_relu: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Images [b, h, w, c] -> features [b, filters[-1] * (h // 16) * (w // 16)]."""
        for i, filters in enumerate(self.filters):
            x = Conv(filters, dtype=self.dtype, name=f"conv_{i}")(x)
            x = BatchNorm(self.dtype, pool=True, name=f"batch_norm_{i}")(x, train)
            if self.final_relu or i + 1 < len(self.filters):
                x = nn.relu(x)
        # Features in the order (channel, row, column) of the official code.
        return x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
