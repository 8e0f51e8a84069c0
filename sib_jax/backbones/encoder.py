"""Any model in place of a backbone: a function of the user's own, or a timm model."""

import hashlib
import os
import runpy
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from sib_jax.errors import UserError
from sib_jax.on_host import on_host
from sib_jax.runtime.words import shown

FUNCTION = "encode"
"""What a user's file must define."""

_TIMM = "timm:"
_SIMILAR = 5  # names in a message

Encode = Callable[[list[Image.Image]], Any]


class EncoderError(UserError):
    """An encoder that is missing, or gives no features; the message says what is wanted."""


class Encoder(NamedTuple):
    """A function from images to features.

    Attributes:
      name: as the user gave it.
      encode: n Pillow images in RGB, each in its own size -> features [n, d], an array of any
        library.
    """

    name: str
    encode: Encode

    def features(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Features of n images, float32 [n, d].

        Raises:
          EncoderError: the function gives something else, or features that are not finite.
        """
        found = self.encode(list(images))
        try:
            array = np.asarray(on_host(found), np.float32)
        except (TypeError, ValueError) as error:
            raise EncoderError(
                f"{self.name} must give an array of features [n, d], got {type(found).__name__}"
            ) from error
        if array.ndim != 2 or len(array) != len(images) or not array.shape[1]:
            raise EncoderError(
                f"{self.name} must give features [{len(images)}, d] of {len(images)} images, got "
                f"an array of shape {list(array.shape)}"
            )
        if not np.isfinite(array).all():
            raise EncoderError(f"{self.name} gives features that are not finite")
        return array


def open_encoder(given: str | os.PathLike[str] | Encode) -> Encoder:
    """Opens an encoder.

    Args:
      given: a function; the name of a Python file that defines it as `encode`; or "timm:MODEL", a
        timm model with its own weights and preprocessing.

    Raises:
      EncoderError: there is no such file, function, package or model.
    """
    if callable(given):
        return Encoder(getattr(given, "__name__", "the encoder"), given)
    if not isinstance(given, str | os.PathLike):
        raise EncoderError(f"encoder must be a function or a name, got {type(given).__name__}")
    name = os.fspath(given)
    encode = _of_timm(name[len(_TIMM) :]) if name.startswith(_TIMM) else _of_file(name)
    return Encoder(name, encode)


def version(given: str) -> str:
    """What changes with an encoder that a name stands for: its file's content, or timm's version.

    Not what its file imports or reads, which cannot be told.
    """
    if given.startswith(_TIMM):
        return f"{given} {metadata.version('timm')}"
    return hashlib.sha256(_path(given).read_bytes()).hexdigest()


def _path(name: str) -> Path:
    return Path(os.path.expanduser(name))


def _of_file(name: str) -> Encode:
    path = _path(name)
    if path.suffix != ".py" or not path.is_file():
        what = "does not exist" if path.suffix == ".py" else "is not an encoder"
        raise EncoderError(
            f"{shown(name)} {what}: give a Python file with a function {FUNCTION}(images) that "
            f"gives features [n, d], or {_TIMM}MODEL"
        )
    if (folder := str(path.parent.resolve())) not in sys.path:
        sys.path.append(folder)  # what it imports may be beside it
    try:
        encode = runpy.run_path(str(path)).get(FUNCTION)
    except ModuleNotFoundError as error:
        raise EncoderError(f"{shown(name)} needs {error.name}, which is not installed") from error
    if not callable(encode):
        raise EncoderError(
            f"{shown(name)} defines no function {FUNCTION}(images) that takes a list of Pillow "
            "images and gives features [n, d]"
        )
    return encode


def _of_timm(name: str) -> Encode:
    try:
        import timm
        import torch
    except ModuleNotFoundError as error:
        raise EncoderError(f"{_TIMM}{name} needs {error.name}: pip install timm") from error
    if name.split(".")[0] not in (known := timm.list_models()):
        similar = [k for k in known if name and name.split("_")[0] in k][:_SIMILAR]
        hint = f"; there are {', '.join(similar)}" if similar else ""
        raise EncoderError(f"timm has no model {name!r}{hint} (timm.list_models() lists all)")
    try:
        model = timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:  # of several libraries that fetch
        raise EncoderError(
            f"the weights of {_TIMM}{name} cannot be fetched ({shown(str(error))}); they are "
            "downloaded once, which needs a network connection"
        ) from error
    transform = timm.data.create_transform(
        **timm.data.resolve_model_data_config(model), is_training=False
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = model.eval().to(device)

    def encode(images: list[Image.Image]) -> Any:
        with torch.inference_mode():
            return model(torch.stack([transform(image) for image in images]).to(device))

    return encode
