"""How much better one head is than another on the same tasks, and how sure that is.

Tasks differ more than methods do. The interval of the mean difference, task by task, leaves that
out, so it is several times narrower than those of the two means.
"""

from typing import Any

import numpy as np

from sib_jax.report.run import ReportError, Run
from sib_jax.tasks.interval import Interval, interval
from sib_jax.tasks.setting import has_base

_WORDS = {
    "dataset": "data set",
    "seed": "seed",
    "base_holdout": "base_holdout",
    "fingerprints": "the data that they are drawn from",
}
_INSTEAD = {"seed": "; to compare seeds of training, give heads of one run a `seed` of their own"}


def difference(one: np.ndarray, other: np.ndarray) -> Interval:
    """How much better `one` is than `other`: accuracies of the same tasks in order, [tasks]."""
    return interval(np.asarray(one, np.float64) - np.asarray(other, np.float64))


def why_not(one: Run, of_one: str, other: Run, of_other: str, split: str) -> str | None:
    """Why two heads cannot be paired on a split, in words; None where they can.

    Args:
      one: a run.
      of_one: one of its heads.
      other: another run, or the same.
      of_other: one of its heads.
      split: "val" or "test".
    """
    for run, head in ((one, of_one), (other, of_other)):
        if split not in run.tasks.get(head, {}):
            return f"{run.workdir} has no accuracies of single {split} tasks for head {head}"
    sizes = [run.of_tasks["heads"][head] for run, head in ((one, of_one), (other, of_other))]
    for field in sorted(sizes[0].keys() | sizes[1].keys()):
        values = [size.get(field) for size in sizes]
        if values[0] != values[1]:
            return f"their tasks differ in {field}, {values[0]} and {values[1]}"
    for field, words in _WORDS.items():
        values = [_drawn_from(run, field, sizes[0]["setting"], split) for run in (one, other)]
        if values[0] != values[1]:
            which = "" if field == "fingerprints" else f", {values[0]} and {values[1]}"
            return f"their tasks differ in {words}{which}{_INSTEAD.get(field, '')}"
    counts = [
        len(run.tasks[head][split]["nll"]) for run, head in ((one, of_one), (other, of_other))
    ]
    if counts[0] != counts[1]:
        return f"they have different numbers of {split} tasks, {counts[0]} and {counts[1]}"
    return None


def check(one: Run, of_one: str, other: Run, of_other: str, split: str) -> None:
    """Raises `ReportError` where two heads cannot be paired on a split."""
    reason = why_not(one, of_one, other, of_other, split)
    if reason is not None:
        raise ReportError(
            f"{one.workdir} ({of_one}) and {other.workdir} ({of_other}) cannot be paired: {reason}"
        )


def _drawn_from(run: Run, field: str, setting: str, split: str) -> Any:
    """The part of `field` that the tasks of a setting and split depend on."""
    found, base = run.of_tasks.get(field), has_base(setting)
    if field == "base_holdout":
        return found if base else None
    if field != "fingerprints" or found is None:
        return found
    return {
        name: found.get(name) for name in (split, *(("train", f"base {split}") if base else ()))
    }
