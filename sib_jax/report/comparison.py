"""Several runs side by side, on the same tasks: comparison.html."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from sib_jax.report import page, paired, style
from sib_jax.report.results import Row, cell, task
from sib_jax.report.run import ReportError, Run
from sib_jax.report.section import Section, Table
from sib_jax.report.style import Mode, Picture
from sib_jax.runtime.files import shown
from sib_jax.tasks.interval import Interval


class Compared(NamedTuple):
    """One head of one run.

    Attributes:
      name: of run and head.
      row: of results.json.
      measure: which accuracy: "both" where there are base classes, else "novel".
      over: the baseline, on the same tasks; None for the baseline itself.
    """

    name: str
    row: Row
    measure: str
    over: Interval | None

    @property
    def accuracy(self) -> str:
        """With its interval, in percent."""
        return cell(self.row[self.measure])


def compare(runs: Sequence[Run], against: str | None = None, split: str = "test") -> list[Compared]:
    """Every head of every run, and its difference over one of the first run, task by task.

    Args:
      runs: two or more, or one.
      against: the head of the first run that all are compared with; its best on validation (or on
        what there is) unless given.
      split: "val" or "test".

    Raises:
      ReportError: there is no such head or split, or the tasks of two runs differ.
    """
    baseline = _baseline(runs[0], against, split)
    found = []
    for run in runs:
        rows = [row for row in run.rows if row["split"] == split]
        if not rows:
            raise ReportError(f"{shown(run.workdir)} was not evaluated on {split}")
        for row in rows:
            head = row["head"]
            measure = _measure(row)
            paired.check(run, head, runs[0], baseline, split)
            is_baseline = run is runs[0] and head == baseline
            pair = (run.tasks[head][split], runs[0].tasks[baseline][split])
            over = None if is_baseline else paired.difference(*(of[measure] for of in pair))
            found.append(Compared(f"{_title(run, runs)} {head}".strip(), row, measure, over))
    return found


def text(found: Sequence[Compared], split: str) -> str:
    """A table for the terminal."""
    width = max(len(c.name) for c in found) + 2
    lines = [f"{'':<{width}}{split + ', %':>16}{'difference':>18}"]
    for c in found:
        over = "(baseline)" if c.over is None else c.over.text("+")
        lines.append(f"{c.name:<{width}}{c.accuracy:>16}{over:>18}")
    return "\n".join(lines)


def write(path: Path, found: Sequence[Compared], split: str) -> Path:
    """Writes the comparison as a page, and its picture to a folder beside it."""
    baseline = next(c.name for c in found if c.over is None)
    row = found[0].row
    lines = [
        [
            *(c.name, c.row["method"], "" if c.row["steps"] is None else str(c.row["steps"])),
            *(c.accuracy, "baseline" if c.over is None else c.over.text("+")),
        ]
        for c in found
    ]
    words = [
        f"{row['tasks']:,} {split} tasks, the same for all. The difference to {baseline} is a mean "
        "over tasks, in percent points, with its own 95% interval: tasks differ more than methods "
        "do, and that falls out. An interval without 0 is a difference beyond chance, as far as "
        "one training of each can say."
    ]
    table = Table(["run and head", "method", "T", f"{split}, %", "difference"], lines)
    picture = Picture(
        "differences", f"Differences to {baseline}", lambda mode: _draw(found, baseline, mode)
    )
    section = Section("Accuracy on the same tasks", words, [table], [picture] * (len(found) > 1))
    about = f"{row['dataset']}, {task(row)}, {row['setting']} setting"
    return page.save(path, path.with_suffix(""), "Comparison of runs", about, [section], {})


def _measure(row: Row) -> str:
    return "both" if row["both"] else "novel"


def _baseline(run: Run, against: str | None, split: str) -> str:
    heads = list(dict.fromkeys(row["head"] for row in run.rows))
    if against is not None:
        if against not in heads:
            raise ReportError(
                f"{shown(run.workdir)} has no head {against!r}; it has {', '.join(heads)}"
            )
        return against

    def means(of: str) -> dict[str, float]:
        return {r["head"]: r[_measure(r)]["mean"] for r in run.rows if r["split"] == of}

    on_val = means("val") or means(split)
    return max(on_val or heads, key=lambda head: on_val.get(head, 0.0))


def _title(run: Run, runs: Sequence[Run]) -> str:
    """The folder's name; its path where two have the same; nothing where there is one run."""
    if len(runs) == 1:
        return ""
    names = [r.workdir.absolute().name for r in runs]
    name = run.workdir.absolute().name
    return shown(run.workdir) if names.count(name) > 1 else name


def _draw(found: Sequence[Compared], baseline: str, mode: Mode) -> Figure:
    made = style.figure(1.0 + 0.28 * len(found), 8.0)
    axes = made.subplots()
    axes.axvline(0, color=mode.ink, linewidth=0.9)
    for place, c in enumerate(found):
        mean, width = (0.0, 0.0) if c.over is None else c.over
        color = mode.cycle[6] if abs(mean) <= width else mode.good if mean > 0 else mode.bad
        axes.errorbar(mean, place, xerr=width or None, fmt="o", ms=4, color=color)
    axes.set_yticks(range(len(found)), [style.short(c.name, 40) for c in found])
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_xlabel(f"difference to {style.short(baseline, 40)}, percent points")
    return made
