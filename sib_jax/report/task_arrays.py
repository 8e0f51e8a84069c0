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
