"""Reads the files of a finished run: everything that a report is made of."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sib_jax.errors import UserError
from sib_jax.report import metrics, observed, results
from sib_jax.report.observed import Observed
from sib_jax.report.results import Row
from sib_jax.runtime import weights
from sib_jax.runtime.console import log
from sib_jax.runtime.weights import WeightsError
from sib_jax.runtime.words import shown, why_lacking


class ReportError(UserError):
    """Runs that cannot be reported or compared; the message says what is wanted."""


class Run(NamedTuple):
    """A finished run.

    Attributes:
      workdir: its folder.
      rows: of results.json.
      epochs: of metrics.jsonl: {"stage", "step", ...}; none where there is no such file.
      tasks: by head, split and measure, [tasks] and reliability's bins [BINS, 3]; {} for runs by
        versions that did not keep them, or where the file is damaged.
      of_tasks: what the tasks are a function of.
      observed: what a second look at the tasks showed; None where there was none.
    """

    workdir: Path
    rows: list[Row]
    epochs: list[dict[str, Any]]
    tasks: dict[str, dict[str, dict[str, np.ndarray]]]
    of_tasks: dict[str, Any]
    observed: Observed | None

    @property
    def heads(self) -> list[str]:
        """Their names, in order."""
        return list(dict.fromkeys(row["head"] for row in self.rows))

    @property
    def splits(self) -> list[str]:
        """What was evaluated, in order."""
        return list(dict.fromkeys(row["split"] for row in self.rows))


def read(workdir: Path) -> Run:
    """Reads what the run has left.

    Raises:
      ReportError: the run has no results.
    """
    path = workdir / results.FILE
    if not path.is_file():
        what = why_lacking(workdir, f"has no {results.FILE}")
        raise ReportError(f"{shown(workdir)} {what}; give the --workdir of a finished run")
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        of = observed.results_of(rows)
        if not rows:
            raise ValueError("no rows")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ReportError(
            f"{shown(path)} is damaged; evaluate again: run its command with --mode=evaluate"
        ) from error
    try:
        tasks, of_tasks = weights.tree(workdir / results.TASKS)
    except (WeightsError, ValueError) as error:
        tasks, of_tasks = {}, {}
        if (workdir / results.TASKS).exists():
            log.warning("%s; evaluate again: run its command with --mode=evaluate", error)
    try:
        found = observed.read(workdir)
    except (WeightsError, LookupError, AttributeError):
        found = None
    if found is not None and found.about.get("results") != of:
        found = None  # from an earlier evaluation
    return Run(workdir, rows, _epochs(workdir / metrics.FILE), tasks, of_tasks, found)


def _epochs(path: Path) -> list[dict[str, Any]]:
    """Entries of whole lines; a line that a kill cut short is left out."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return [entry for entry in map(metrics.entry, text.splitlines()) if entry]
