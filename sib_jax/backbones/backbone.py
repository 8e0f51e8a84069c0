"""Backbones f: images -> features, as Flax modules behind pure functions; found by their names."""

import dataclasses
import functools
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from sib_jax.backbones import conv4, wide_resnet

Variables = Mapping[str, Any]

_WRN_NAME = re.compile(r"wrn_(\d+)_(\d+)")


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
      stride: pixels of a side of the image for each cell of the feature map, where the features are
        all its cells, in the order (channel, row, column); None where they are averages over it,
        as many for images of any size.
    """

    name: str
    image_size: int
    channels: int
    features: int
    module: nn.Module
    # Not in the repr: that goes into fingerprints of features, and the module implies this.
    stride: int | None = dataclasses.field(default=None, repr=False)

    @property
    def final_relu(self) -> bool | None:
        """Whether the last block ends in a ReLU; None for a network without that choice."""
        return getattr(self.module, "final_relu", None)

    def init(self, key: jax.Array) -> dict[str, Any]:
        """Draws variables {"params": ..., "batch_stats": ...}, all float32."""
        return _init(self, key)

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

    def at(self, image_size: int) -> "Backbone":
        """The same network for images of another size; its variables fit both."""
        channels, side = self._map(image_size)
        return dataclasses.replace(self, image_size=image_size, features=channels * side**2)

    def resize(self, weights: jax.Array, image_size: int) -> jax.Array:
        """A classifier's weights for the features of another image size, interpolated.

        Args:
          weights: [classes, d], over features of this image size.
          image_size: the other size.

        Returns:
          [classes, d of the other size].
        """
        classes = len(weights)
        channels, before = self._map(self.image_size)
        _, after = self._map(image_size)
        if before == after:
            return weights
        maps = weights.reshape(classes, channels, before, before)
        shape = (classes, channels, after, after)
        return jax.image.resize(maps, shape, "linear").reshape(classes, -1)

    def _map(self, image_size: int) -> tuple[int, int]:
        """Channels of the features, and the side of their map, for images of a size."""
        if self.stride is None:
            return self.features, 1
        return self.features // (self.image_size // self.stride) ** 2, image_size // self.stride

    def _check(self, images: jax.Array) -> None:
        wanted = (self.image_size, self.image_size, self.channels)
        if images.ndim != 4 or images.shape[1:] != wanted:
            raise ValueError(
                f"{self.name} wants images [b, {wanted[0]}, {wanted[1]}, {wanted[2]}], "
                f"got {list(images.shape)}"
            )


# Compiled, so that what the forward pass would compute is dropped; once for equal backbones.
@functools.partial(jax.jit, static_argnums=0)
def _init(backbone: Backbone, key: jax.Array) -> dict[str, Any]:
    size = backbone.image_size
    return dict(backbone.module.init(key, jnp.zeros((1, size, size, backbone.channels))))


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

    Examples:
      >>> import jax, jax.numpy as jnp
      >>> from sib_jax import backbones
      >>> backbone = backbones.make("conv4_64", image_size=80)
      >>> variables = backbone.init(jax.random.key(0))
      >>> backbone.apply(variables, jnp.zeros((2, 80, 80, 3))).shape
      (2, 1600)
    """
    dtype = jnp.dtype(dtype)
    match = _WRN_NAME.fullmatch(name)
    if name in conv4.FILTERS:
        if first_stride is not None:
            raise ValueError(f"first_stride is for wide residual networks, not for {name}")
        if image_size < conv4.STRIDE:
            raise ValueError(
                f"{name} wants images of {conv4.STRIDE} pixels or more, got {image_size}"
            )
        filters = conv4.FILTERS[name]
        features = filters[-1] * (image_size // conv4.STRIDE) ** 2
        module = conv4.Conv4(filters, final_relu, dtype)
        return Backbone(name, image_size, channels, features, module, conv4.STRIDE)
    if match is None:
        known = ", ".join([*conv4.FILTERS, "wrn_<depth>_<width> such as wrn_28_10"])
        raise ValueError(f"unknown backbone {name!r}; known are {known}")
    depth, width = int(match[1]), int(match[2])
    if first_stride is None:
        first_stride = 1 if image_size <= 32 else 2
    _check_wrn(name, depth, width, first_stride)
    wide = wide_resnet.WideResNet(depth, width, first_stride, final_relu, dtype)
    return Backbone(name, image_size, channels, 64 * width, wide)


def _check_wrn(name: str, depth: int, width: int, first_stride: int) -> None:
    if depth < 10 or (depth - 4) % 6:
        raise ValueError(f"{name}: the depth must be 6 n + 4 with n >= 1, got {depth}")
    if first_stride not in (1, 2):
        raise ValueError(f"{name}: first_stride must be 1 or 2, got {first_stride}")
    if width < 2:
        # At width 1 a stride of 2 would meet a shortcut without convolution.
        raise ValueError(f"{name}: the width must be 2 or more, got {width}")
