"""Writes and reads the file of a head's parameters, which also says what they are for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from sib_jax.config import ConfigError
from sib_jax.experiment.settings import Head, Lesson
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


def program(
    head: Head, shape: tuple[int, ...], of_backbone: str = "", *, evaluated: bool = False
) -> list[str]:
    """What changes where a user's own method or backbone does; empty where both are ours.

    Args:
      head: of the experiment.
      shape: of one input.
      of_backbone: `Backbone.program`.
      evaluated: on the tasks that it is evaluated on, instead of those that it learns from.
    """
    of_method = ""
    if head.is_own:
        lesson = Lesson(head.method, head.setting) if evaluated else head.learns_from[0]
        of = lesson.setting
        of_method = contract.digest(lesson.method, of.task, of.name, shape)
    return [of_method, of_backbone, jax.__version__] if of_method or of_backbone else []


def save(
    path: Path,
    params: Any,
    head: Head,
    *,
    input_shape: tuple[int, ...],
    base_classes: Sequence[str],
    made_by: str,
    program: Sequence[str] = (),
) -> None:
    """Writes the parameters of a head; the rest is as in `Stored`, see `Inputs` and `program`."""
    about = {
        "method": head.method.name,
        "steps": head.method.steps,
        "seed": head.training.seed,
        "input_shape": list(input_shape),
        "base_classes": list(base_classes),
        "made_by": made_by,
        "program": list(program),
    }
    weights.save(path, params, about)


def check_reads(path: Path, made_by: str) -> None:
    """Raises `ConfigError` where the parameters were trained on features of another backbone."""
    if weights.about(path).get("made_by") != made_by:
        raise ConfigError(
            f"{path} was trained on features of another backbone; choose another --workdir, or "
            f"delete the folder {path.parent.parent} to start anew"
        )


def tell_of_other_code(path: Path, method: str, now: Sequence[str]) -> None:
    """Says so where a user's own code has changed since its training; see `program`."""
    if weights.about(path).get("program", now) != now:
        log.warning(
            "%s was trained with other code of %s, or another version of jax: these parameters "
            "may not be for what it computes now; to train it anew, use another --workdir",
            path,
            method,
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
