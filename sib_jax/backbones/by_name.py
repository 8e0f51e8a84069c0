"""Backbones by their names, with the user's own among them."""

import re

import jax.numpy as jnp
from jax.typing import DTypeLike

from sib_jax.backbones import conv4, own, wide_resnet
from sib_jax.backbones.backbone import Backbone

_WRN_NAME = re.compile(r"wrn_(\d{1,2})_(\d{1,2})")


def is_known(name: str) -> bool:
    """Whether there is a backbone of this name, ours or the user's own."""
    return name in conv4.FILTERS or name in own.OWN or bool(_WRN_NAME.fullmatch(name))


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
      name: `conv4_64`, `conv4_128`, `wrn_<depth>_<width>` such as `wrn_28_10`, or one that was
        registered.
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
    if name in own.OWN:
        if first_stride is not None:
            raise ValueError(f"first_stride is for wide residual networks, not for {name}")
        return own.make(name, image_size, channels, dtype, final_relu)
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
        known = ", ".join([*conv4.FILTERS, "wrn_<depth>_<width> such as wrn_28_10", *own.OWN])
        raise ValueError(
            f"unknown backbone {name!r}; known are {known}; one of your own is known once the file "
            "that registers it is imported (--import=FILE.py)"
        )
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
