"""Backbones f: images -> features, as Flax modules behind pure functions."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

Variables = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A backbone as pure functions. Make one with `backbones.make`.

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
      program: digest of what the module computes, for one of the user's own, whose code may change
        while its settings and weights do not; otherwise empty.
    """

    name: str
    image_size: int
    channels: int
    features: int
    module: nn.Module
    # Not in the repr: that goes into fingerprints of features, and the module implies this.
    stride: int | None = dataclasses.field(default=None, repr=False)
    program: str = dataclasses.field(default="", repr=False)

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
        features = self.module.apply(variables, images, train=False)
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
        return features.astype(jnp.float32), updated.get("batch_stats", {})

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
    drawn = backbone.module.init(key, jnp.zeros((1, size, size, backbone.channels)), train=False)
    return {"params": {}, "batch_stats": {}, **drawn}  # a network of one's own may have none
