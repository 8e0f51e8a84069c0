"""Writes and reads the file of a head's parameters, which also says what they are for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from sib_jax.config import ConfigError
from sib_jax.experiment.settings import Head
from sib_jax.methods import contract
from sib_jax.methods.method import Method, parameter_shapes
from sib_jax.runtime import weights
from sib_jax.runtime.console import log


class Stored(NamedTuple):
    """What a file holds.

    Attributes:
      params: of the method.
      input_shape: of one input, as in `Classes`.
      base_classes: names of the training classes, in label order.
    """

    params: Any
    input_shape: tuple[int, ...]
    base_classes: tuple[str, ...]


def program(head: Head, shape: tuple[int, ...]) -> list[str]:
    """What changes where the code of a user's own method does; empty for methods of ours.

    Args:
      head: of the experiment.
      shape: of one input.
    """
    if not head.is_own:
        return []
    of = head.setting
    return [contract.digest(head.method, of.task, of.name, shape), jax.__version__]


def save(
    path: Path,
    params: Any,
    head: Head,
    *,
    input_shape: tuple[int, ...],
    base_classes: Sequence[str],
    made_by: str,
) -> None:
    """Writes the parameters of a head; the rest is as in `Stored`, and see `Inputs.made_by`."""
    about = {
        "method": head.method.name,
        "steps": head.method.steps,
        "seed": head.training.seed,
        "input_shape": list(input_shape),
        "base_classes": list(base_classes),
        "made_by": made_by,
        "program": program(head, input_shape),
    }
    weights.save(path, params, about)


def check(path: Path, made_by: str, head: Head, shape: tuple[int, ...]) -> None:
    """Looks whether parameters are for what reads them now.

    Args:
      path: what `save` wrote.
      made_by: fingerprint of the backbone now.
      head: as it is now; where its code is a user's and has changed, the log says so.
      shape: of one input.

    Raises:
      ConfigError: they were trained on features of another backbone.
    """
    about = weights.about(path)
    if about.get("made_by") != made_by:
        raise ConfigError(
            f"{path} was trained on features of another backbone; choose another --workdir, or "
            f"delete the folder {path.parent.parent} to start anew"
        )
    now = program(head, shape)
    if about.get("program", now) != now:
        log.warning(
            "%s was trained with other code of %s, or another version of jax: these parameters "
            "may not be for what it computes now; to train it anew, use another --workdir",
            path,
            head.method.name,
        )


def load(path: Path, method: Method) -> Stored:
    """Reads what `save` wrote for this method.

    Raises:
      WeightsError: the file is damaged, is of another method, or is not a head's at all.
    """
    about = weights.about(path)
    if not all(isinstance(about.get(name), list) for name in ("input_shape", "base_classes")):
        raise weights.WeightsError(
            f"{path} does not say what its parameters are for: it is not the file of a head"
        )
    shape, names = tuple(about["input_shape"]), tuple(about["base_classes"])
    return Stored(weights.load(path, parameter_shapes(method, shape, len(names))), shape, names)
