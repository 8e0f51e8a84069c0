"""Parts of the official code's checkpoints: `netFeat` is a backbone, `SIB` a head.

`netFeat*.pth` is the state_dict of a backbone; `netSIB*.pth` holds both parts.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from sib_jax import backbones
from sib_jax.backbones import Backbone
from sib_jax.official import names, torch_file
from sib_jax.official.names import StateDictError

StateDict = Mapping[str, np.ndarray]


def read_backbone(path: str | os.PathLike[str], *, image_size: int = 80) -> tuple[Backbone, Any]:
    """As `load_backbone`, with the `Backbone` itself in place of its `apply`."""
    state = part(path, "netFeat")
    with naming(path):
        backbone = backbones.make(names.infer_backbone(state), image_size=image_size)
        return backbone, names.variables_from_official(backbone, state)


@contextlib.contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Names the file in errors about what it holds."""
    try:
        yield
    # Also where such a network cannot be made for such images.
    except (ValueError, TypeError) as error:
        raise StateDictError(f"{path}: {error}") from None


def part(path: str | os.PathLike[str], name: str) -> StateDict:
    """The part `name` of a checkpoint that holds several, or the whole of one that is a part."""
    content = torch_file.read(path)
    if not isinstance(content, Mapping):
        raise StateDictError(f"{path} holds a {type(content).__name__}, not a state_dict")
    found = content.get(name, content)
    if not isinstance(found, Mapping) or not all(
        isinstance(key, str) and isinstance(value, np.ndarray) for key, value in found.items()
    ):
        raise StateDictError(
            f"{path} holds no {name!r}; it has {', '.join(sorted(map(str, content))[:8])}"
        )
    return found
