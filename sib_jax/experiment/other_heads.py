"""Results of the heads that a job does not run: they stay in the tables beside its own."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sib_jax.report import results
from sib_jax.report.results import Row
from sib_jax.runtime import weights
from sib_jax.runtime.console import log
from sib_jax.runtime.weights import WeightsError


class Others(NamedTuple):
    """What a folder holds of other heads.

    Attributes:
      rows: of results.json.
      arrays: of tasks.npz, by head, split and measure.
      about: what their tasks are, by head.
    """

    rows: list[Row]
    arrays: dict[str, dict[str, dict[str, np.ndarray]]]
    about: dict[str, Any]


def read(
    workdir: Path,
    names: Collection[str],
    tasks: Mapping[str, int],
    about_tasks: Mapping[str, Any],
) -> Others:
    """Reads results on as many tasks of the same data; heads with others are named in a warning.

    Args:
      workdir: the folder.
      names: the heads.
      tasks: how many of each split the job evaluates.
      about_tasks: what its tasks are a function of, see `evaluate_head.about_tasks`.
    """
    none = Others([], {}, {})
    if not names:
        return none
    try:
        rows = json.loads((workdir / results.FILE).read_text(encoding="utf-8"))
        arrays, about = weights.tree(workdir / results.TASKS)
        there = [name for name in names if name in arrays and name in about["heads"]]
        of_head = {name: [row for row in rows if row["head"] == name] for name in there}
        counts = {n: {row["split"]: row["tasks"] for row in of} for n, of in of_head.items()}
    except (OSError, ValueError, LookupError, TypeError, WeightsError):  # none, or damaged
        return none
    wanted = json.loads(json.dumps({k: v for k, v in about_tasks.items() if k != "heads"}))
    same = {k: v for k, v in about.items() if k != "heads"} == wanted
    kept = [name for name in there if same and counts[name] == dict(tasks)]
    if gone := [name for name in there if name not in kept]:
        log.warning(
            "%s holds results on other tasks for %s: the tables leave them out until these heads "
            "are evaluated on the current tasks",
            workdir,
            ", ".join(gone),
        )
    return Others(
        [row for name in kept for row in of_head[name]],
        {name: arrays[name] for name in kept},
        {name: about["heads"][name] for name in kept},
    )
