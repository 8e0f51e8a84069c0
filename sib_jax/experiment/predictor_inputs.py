"""Checks what a predictor is given (images or features, and labels) and brings it to one form."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from sib_jax.data.features import check_scale
from sib_jax.data.reading.decode import fit, pixels_of
from sib_jax.errors import UserError

Labels = Sequence[int] | Sequence[str] | np.ndarray
Images = np.ndarray | Sequence[Any]  # of arrays, or of Pillow images


class PredictionError(UserError):
    """Examples or queries that cannot be answered; the message says what is wanted."""


def is_features(values: Images) -> bool:
    """Whether these are features [n, d] rather than images."""
    if isinstance(values, np.ndarray | jax.Array) and values.dtype != object:
        return values.ndim == 2
    return all(not isinstance(value, Image.Image) and np.ndim(value) == 1 for value in values)


def check_many(values: Images, name: str) -> None:
    """Raises `PredictionError` for an image [h, w, c] or a feature [d], where many are wanted."""
    if isinstance(values, str | Path):
        raise PredictionError(
            f"{name} is a file name, {str(values)!r}: give images, or use python -m "
            "sib_jax.predict, which reads files"
        )
    if not hasattr(values, "__len__"):  # an image of Pillow, an iterator
        raise PredictionError(
            f"{name} must be an array or a list, got {type(values).__name__}: put it in a list"
        )
    # An array of objects is a list of images of several sizes.
    array = isinstance(values, np.ndarray | jax.Array) and values.dtype != object
    shape = np.shape(values) if array else ()
    if len(shape) == 1 or (len(shape) == 3 and shape[-1] <= 4):  # 2 and 4: with alpha
        what = "feature" if len(shape) == 1 else "image"
        raise PredictionError(
            f"{name} is a single {what}, of shape {list(shape)}: put it in a list"
        )


def checked_labels(labels: Labels) -> np.ndarray:
    """Whole numbers or strings [m]; raises `PredictionError` where they are neither."""
    if not hasattr(labels, "__len__"):
        raise PredictionError(f"support_labels must be a list, got {type(labels).__name__}")
    array = np.asarray(labels)
    if array.dtype == object and all(isinstance(label, str) for label in array.flat):
        array = array.astype(str)  # a column of a table
    text = array.ndim == 1 and array.dtype.kind in "US"
    mixed = text and not all(isinstance(label, str | bytes) for label in labels)
    if mixed or array.ndim != 1 or array.dtype.kind not in "iuUST":
        raise PredictionError(
            "support_labels must be whole numbers or strings, one for each example, got "
            f"{'both, or a missing one' if mixed else f'{array.dtype} {list(array.shape)}'}"
        )
    try:
        return np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array
    except UnicodeDecodeError as error:
        raise PredictionError(
            f"support_labels are bytes that are not UTF-8 text: {error}"
        ) from None


def checked_features(features: Images, length: int | None, whose: str) -> np.ndarray:
    """As float32 [n, d].

    Args:
      features: n of length d.
      length: the only d there may be; None for any.
      whose: what it is the length of, for a message.

    Raises:
      PredictionError: they are of another length or of several, complex, or not finite.
    """
    listed = not isinstance(features, np.ndarray | jax.Array)
    lengths = sorted({np.size(feature) for feature in features}) if listed else []
    if len(lengths) > 1:
        shown = ", ".join(map(str, lengths[:5]))
        raise PredictionError(f"features must all have one length, got {shown}")
    if np.iscomplexobj(features):
        raise PredictionError("features must be real numbers, got complex ones")
    try:
        array = np.asarray(features, np.float32)
    except (TypeError, ValueError):
        raise PredictionError("features must be real numbers [n, d]") from None
    if length not in (None, array.shape[1]):
        raise PredictionError(f"{whose} features of length {length}, got {array.shape[1]}")
    if not np.isfinite(array).all():
        raise PredictionError("features must be finite")
    check_scale(float(np.abs(array).max(initial=0)), "features")
    return array


def prepare(images: Images, size: int, channels: int) -> np.ndarray:
    """Images as the data sets store them: shorter side scaled, cropped to a square.

    Args:
      images: uint8 [n, h, w, c], or n of [h, w, c] (gray ones also [h, w]), or n Pillow images.
      size: height and width of the result.
      channels: 1 or 3, of the result.

    Returns:
      uint8 [n, size, size, channels].
    """
    out = np.empty((len(images), size, size, channels), np.uint8)
    for row, image in enumerate(images):
        out[row] = fit(_pixels(image), size, channels)
    return out


def pictures(images: Images) -> list[Image.Image]:
    """Images as in `prepare`, as Pillow images in RGB and in their own size."""
    whole = [_pixels(image) for image in images]
    return [Image.fromarray(np.broadcast_to(p, (*p.shape[:2], 3)).copy()) for p in whole]


def _pixels(image: Any) -> np.ndarray:
    """The pixels of one image, uint8 [h, w, 1 or 3]."""
    if isinstance(image, str | Path):
        raise PredictionError(
            f"{image} is the name of a file: give images, such as Pillow's "
            "[Image.open(name) for name in names]"
        )
    pixels = _opened(image) if isinstance(image, Image.Image) else np.asarray(image)
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    is_image = pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] in (1, 3, 4)
    if not is_image or not pixels.size:
        raise PredictionError(
            "images must be uint8 [n, h, w, c] with values 0..255 and c 1, 3 or 4, got "
            f"{pixels.dtype} {list(pixels.shape)} for one of them{_hint(pixels)}"
        )
    return _opened(Image.fromarray(pixels)) if pixels.shape[2] == 4 else pixels


def _hint(pixels: np.ndarray) -> str:
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3, 4) and pixels.shape[2] > 4:
        return "; channels come last: images.transpose(0, 2, 3, 1)"
    if pixels.dtype.kind == "f" and pixels.max(initial=0) <= 1:
        return "; for values 0..1: (255 * images).astype(np.uint8)"
    return ""


def _opened(image: Image.Image) -> np.ndarray:
    try:
        return pixels_of(image)
    except AssertionError as error:  # Pillow's own, without a message
        raise PredictionError(
            "a Pillow image is closed: load() or copy() it before its file is closed"
        ) from error
    except (ValueError, OSError) as error:  # a damaged file, which Pillow reads only now
        raise PredictionError(f"a Pillow image cannot be read: {error}") from error
