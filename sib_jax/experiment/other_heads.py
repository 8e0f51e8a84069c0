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
      made_by: fingerprint of the backbone whose features they read, by head, where it is known.
    """

    rows: list[Row]
    arrays: dict[str, dict[str, dict[str, np.ndarray]]]
    about: dict[str, Any]
    made_by: dict[str, str]


def read(
    workdir: Path,
    names: Collection[str],
    tasks: Mapping[str, int],
    about_tasks: Mapping[str, Any],
    made_by: str | None,
) -> Others:
    """Reads results on as many tasks of the same data; heads with others are named in a warning.

    So are those on features of another backbone.

    Args:
      workdir: the folder.
      names: the heads.
      tasks: how many of each split the job evaluates.
      about_tasks: what its tasks are a function of, see `evaluate_head.about_tasks`.
      made_by: fingerprint of its backbone; None where no head of it reads features.
    """
    none = Others([], {}, {}, {})
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
    each = ("heads", "made_by")
    wanted = json.loads(json.dumps({k: v for k, v in about_tasks.items() if k not in each}))
    same = {k: v for k, v in about.items() if k not in each} == wanted
    before = {name: of for name, of in about.get("made_by", {}).items() if of}  # not of images
    strange = [n for n in there if made_by is not None and before.get(n, made_by) != made_by]
    kept = [n for n in there if same and counts[n] == dict(tasks) and n not in strange]
    for what, gone in {
        "on features of another backbone": strange,
        "on other tasks": [name for name in there if name not in {*kept, *strange}],
    }.items():
        if gone:
            log.warning(
                "%s holds results %s for %s: the tables leave them out until these heads are "
                "evaluated on the current ones",
                workdir,
                what,
                ", ".join(gone),
            )
    return Others(
        [row for name in kept for row in of_head[name]],
        {name: arrays[name] for name in kept},
        {name: about["heads"][name] for name in kept},
        {name: before[name] for name in kept if name in before},
    )
