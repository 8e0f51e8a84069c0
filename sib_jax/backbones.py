"""Backbones f: images -> features, as Flax modules behind pure functions.

  * `conv4_64`, `conv4_128`: four blocks of convolution, batch normalization, ReLU and 2x2 max
    pooling; 64-64-64-64 filters (Vinyals et al. 2016, arXiv 1606.04080) or 64-64-128-128 (Gidaris
    and Komodakis 2018, arXiv 1804.09458).
  * `wrn_<depth>_<width>`: wide residual network with pre-activation (Zagoruyko and Komodakis 2016,
    arXiv 1605.07146); the paper uses `wrn_28_10`, with 640 features.

Initialization, strides and the order of the features are those of the official SIB code.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from sib_jax import convolution

Variables = Mapping[str, Any]

BATCH_NORM_EPSILON = 1e-5
BATCH_NORM_MOMENTUM = 0.9  # share of the old running value that is kept: 1 - PyTorch's 0.1

CONV4_FILTERS = {"conv4_64": (64, 64, 64, 64), "conv4_128": (64, 64, 128, 128)}
_WRN_NAME = re.compile(r"wrn_(\d+)_(\d+)")

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


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A backbone as pure functions. Make one with `make`.

    Hashable, and equal to any other of equal settings, so it can be a static argument of `jax.jit`.

    Attributes:
      name: such as `conv4_64`.
      image_size: height and width of the images, in pixels.
      channels: of the images.
      features: number d of features.
      module: the Flax module.
    """

    name: str
    image_size: int
    channels: int
    features: int
    module: nn.Module

    def init(self, key: jax.Array) -> dict[str, Any]:
        """Draws variables {"params": ..., "batch_stats": ...}, all float32."""
        shape = (1, self.image_size, self.image_size, self.channels)
        # Compiled, so that what the forward pass would compute is dropped.
        return jax.jit(lambda key: self.module.init(key, jnp.zeros(shape)))(key)

    def apply(self, variables: Variables, images: jax.Array) -> jax.Array:
        """Features in evaluation: batch normalization by the running statistics.

        Args:
          variables: as `init` gives them.
          images: float [b, image_size, image_size, channels], already normalised.

        Returns:
          float32 [b, features].

        Raises:
          ValueError: if the images have another shape.
        """
        self._check(images)
        features = self.module.apply(variables, images)
        return jnp.asarray(features, jnp.float32)

    def apply_train(
        self, variables: Variables, images: jax.Array
    ) -> tuple[jax.Array, dict[str, Any]]:
        """Features in training: batch normalization by the statistics of this batch.

        Args:
          variables: as `init` gives them.
          images: float [b, image_size, image_size, channels], already normalised.

        Returns:
          float32 [b, features], and the new value of `variables["batch_stats"]`.

        Raises:
          ValueError: if the images have another shape.
        """
        self._check(images)
        features, updated = self.module.apply(
            variables, images, train=True, mutable=["batch_stats"]
        )
        return features.astype(jnp.float32), updated["batch_stats"]

    def _check(self, images: jax.Array) -> None:
        wanted = (self.image_size, self.image_size, self.channels)
        if images.ndim != 4 or images.shape[1:] != wanted:
            raise ValueError(
                f"{self.name} wants images [b, {wanted[0]}, {wanted[1]}, {wanted[2]}], "
                f"got {list(images.shape)}"
            )


def make(
    name: str,
    *,
    image_size: int,
    channels: int = 3,
    dtype: DTypeLike = jnp.float32,
    final_relu: bool = True,
    first_stride: int | None = None,
) -> Backbone:
    """The backbone of this name.

    Args:
      name: `conv4_64`, `conv4_128`, or `wrn_<depth>_<width>` such as `wrn_28_10`.
      image_size: height and width of the images, in pixels.
      channels: of the images.
      dtype: of the computation, such as `jnp.bfloat16`. Parameters, statistics and features are
        float32.
      final_relu: whether the last block ends in a ReLU: True in the official code, False in the
        Conv4 of Gidaris and Komodakis.
      first_stride: stride of a wide residual network's first group: 1 in its 32-pixel form, 2 in
        its 80-pixel form. The default goes by the image size. Conv4 has no such choice.

    Returns:
      A `Backbone`.

    Raises:
      ValueError: for an unknown name, or settings that do not fit it.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from sib_jax import backbones
      >>> backbone = backbones.make("conv4_64", image_size=80)
      >>> variables = backbone.init(jax.random.key(0))
      >>> backbone.apply(variables, jnp.zeros((2, 80, 80, 3))).shape
      (2, 1600)
    """
    dtype = jnp.dtype(dtype)
    match = _WRN_NAME.fullmatch(name)
    if name in CONV4_FILTERS:
        if first_stride is not None:
            raise ValueError(f"first_stride is for wide residual networks, not for {name}")
        if image_size < 16:
            raise ValueError(f"{name} wants images of 16 pixels or more, got {image_size}")
        filters = CONV4_FILTERS[name]
        features = filters[-1] * (image_size // 16) ** 2
        return Backbone(name, image_size, channels, features, Conv4(filters, final_relu, dtype))
    if match is None:
        known = ", ".join([*CONV4_FILTERS, "wrn_<depth>_<width> such as wrn_28_10"])
        raise ValueError(f"unknown backbone {name!r}; known are {known}")
    depth, width = int(match[1]), int(match[2])
    if first_stride is None:
        first_stride = 1 if image_size <= 32 else 2
    _check_wrn(name, depth, width, first_stride)
    module = WideResNet(depth, width, first_stride, final_relu, dtype)
    return Backbone(name, image_size, channels, 64 * width, module)


def _check_wrn(name: str, depth: int, width: int, first_stride: int) -> None:
    if depth < 10 or (depth - 4) % 6:
        raise ValueError(f"{name}: the depth must be 6 n + 4 with n >= 1, got {depth}")
    if first_stride not in (1, 2):
        raise ValueError(f"{name}: first_stride must be 1 or 2, got {first_stride}")
    if width < 2:
        # At width 1 a stride of 2 would meet a shortcut without convolution.
        raise ValueError(f"{name}: the width must be 2 or more, got {width}")
