"""tasks.npz: what each head reached on each task, so that two runs can be compared task by task."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sib_jax.runtime import weights

FILE = "tasks.npz"


def write(
    workdir: Path,
    arrays: Mapping[str, Mapping[str, Mapping[str, np.ndarray]]],
    about: dict[str, Any],
) -> None:
    """Writes <workdir>/tasks.npz.

    Args:
      workdir: an existing folder.
      arrays: by head, split and measure; the names in the file are `<head>/<split>/<measure>`.
      about: what the tasks are a function of; `runtime.weights.about` reads it.
    """
    weights.save(workdir / FILE, arrays, about)


def read(workdir: Path) -> tuple[dict[str, dict[str, dict[str, np.ndarray]]], dict[str, Any]]:
    """What `write` wrote: arrays by head, split and measure, and what the tasks are of.

    Raises:
      WeightsError: there is no such file, or it is damaged.
    """
    return weights.tree(workdir / FILE)
