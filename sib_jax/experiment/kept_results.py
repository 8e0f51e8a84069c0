"""Keeps the results of heads until the job is done, so that a stopped evaluation can go on."""

import json
import shutil
from pathlib import Path
from typing import Any

import jax

import sib_jax
from sib_jax.experiment.measure import Calibration, Measured
from sib_jax.experiment.run_files import CHECKPOINTS
from sib_jax.report.results import Row
from sib_jax.runtime import devices, weights
from sib_jax.runtime.weights import WeightsError

Reached = dict[str, tuple[Row, Measured]]
"""By split: a row of results.json, and the numbers behind it."""


def save(workdir: Path, head: str, depends_on: Any, reached: Reached) -> None:
    """Keeps what a head reached.

    Args:
      workdir: an existing folder.
      head: its name.
      depends_on: what the result is a function of, in types that JSON can hold.
      reached: the results.
    """
    arrays = {split: measured for split, (_, measured) in reached.items()}
    rows = {split: row for split, (row, _) in reached.items()}
    about = {"depends_on": _with_versions(depends_on), "rows": rows}
    weights.save(_path(workdir, head), arrays, about)


def load(workdir: Path, head: str, depends_on: Any) -> Reached | None:
    """What was kept; None where nothing was, or it is damaged or depends on something else."""
    try:
        stored, about = weights.tree(_path(workdir, head))
        if about["depends_on"] != json.loads(json.dumps(_with_versions(depends_on))):
            return None
        found = {}
        for split, row in about["rows"].items():
            of = stored[split]
            raw = Calibration(**of["raw"])
            scaled = Calibration(**of["scaled"]) if "scaled" in of else None
            answers = of["accuracy"], of["predicted"]
            found[split] = row, Measured(*answers, raw, scaled, of.get("both_offset"))
        return found
    except (WeightsError, LookupError, TypeError, AttributeError):  # damaged in any way
        return None


def forget(workdir: Path) -> None:
    """Removes what was kept."""
    shutil.rmtree(_folder(workdir), ignore_errors=True)


def _with_versions(depends_on: Any) -> list[Any]:
    return [sib_jax.__version__, jax.__version__, *devices.rounding(), depends_on]


def _folder(workdir: Path) -> Path:
    return workdir / CHECKPOINTS / "evaluated"


def _path(workdir: Path, head: str) -> Path:
    return _folder(workdir) / f"{head}.npz"
