"""Several runs side by side, on the same tasks: comparison.html."""

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from sib_jax.report import page, paired, style
from sib_jax.report.results import Row, cell, task
from sib_jax.report.run import ReportError, Run
from sib_jax.report.section import Section, Table
from sib_jax.report.style import Mode, Picture
from sib_jax.runtime.console import log
from sib_jax.runtime.words import shown
from sib_jax.tasks.interval import Interval


class Compared(NamedTuple):
    """One head of one run.

    Attributes:
      name: of run and head.
      row: of results.json.
      measure: which accuracy: "both" where there are base classes, else "novel".
      over: the baseline, on the same tasks; None for the baseline itself.
      baseline: its name.
    """

    name: str
    row: Row
    measure: str
    over: Interval | None
    baseline: str

    @property
    def accuracy(self) -> str:
        """With its interval, in percent."""
        return cell(self.row[self.measure])


def compare(runs: Sequence[Run], against: str | None = None, split: str = "test") -> list[Compared]:
    """Every head of every run, and its difference to a head of the first run, task by task.

    Heads on different tasks, such as 1-shot and 5-shot ones, have different baselines.

    Args:
      runs: two or more, or one.
      against: the head of the first run that those on its tasks are compared with; by default, and
        for other tasks, the best on validation (or else on `split`).
      split: "val" or "test".

    Returns:
      The heads, grouped by baseline.

    Raises:
      ReportError: there is no such head or split, or a run has no tasks in common with the first.
    """
    first = runs[0]
    for run in runs:
        if split not in run.splits:
            raise ReportError(f"{shown(run.workdir)} was not evaluated on {split}")
    groups: dict[str, list[Compared]] = {}
    for head in _best_first(first, against, split):
        if _of_tasks(first, head, first, groups, split) is None:
            paired.check(first, head, first, head, split)
            groups[head] = []
    for run in runs:
        met, apart = False, []
        for row in (row for row in run.rows if row["split"] == split):
            head, measure = row["head"], _measure(row)
            baseline = _of_tasks(run, head, first, groups, split)
            if baseline is None:
                apart.append(head)
                continue
            met = True
            pair = (run.tasks[head][split], first.tasks[baseline][split])
            is_baseline = run is first and head == baseline
            over = None if is_baseline else paired.difference(*(of[measure] for of in pair))
            name = f"{_title(run, runs)} {head}".strip()
            over_name = f"{_title(first, runs)} {baseline}".strip()
            groups[baseline].append(Compared(name, row, measure, over, over_name))
        if not met:
            paired.check(run, apart[0], first, next(iter(groups)), split)
        elif apart:
            log.info(
                "left out of %s, on tasks that %s does not have: %s",
                shown(run.workdir),
                shown(first.workdir),
                ", ".join(apart),
            )
    return [compared for group in groups.values() for compared in group]


def _of_tasks(run: Run, head: str, first: Run, baselines: Iterable[str], split: str) -> str | None:
    """The baseline on the tasks of a head, if there is one."""
    same = (b for b in baselines if paired.why_not(run, head, first, b, split) is None)
    return next(same, None)


def grouped(found: Sequence[Compared]) -> list[list[Compared]]:
    """By baseline."""
    return [list(group) for _, group in itertools.groupby(found, key=lambda c: c.baseline)]


def text(found: Sequence[Compared], split: str) -> str:
    """Tables for the terminal, one for each baseline."""
    width = max(len(c.name) for c in found) + 2
    lines = [f"{'':<{width}}{split + ', %':>16}{'difference':>18}"]
    for number, group in enumerate(grouped(found)):
        lines += [""] * (number > 0)
        for c in group:
            over = "(baseline)" if c.over is None else c.over.text("+")
            lines.append(f"{c.name:<{width}}{c.accuracy:>16}{over:>18}")
    return "\n".join(lines)


def write(path: Path, found: Sequence[Compared], split: str) -> Path:
    """Writes the comparison as a page, and its pictures to a folder beside it."""
    groups = grouped(found)
    sections = [_section(group, split, number) for number, group in enumerate(groups)]
    kinds = "; ".join(
        f"{row['dataset']}, {task(row)}, {row['setting']} setting"
        for row in (group[0].row for group in groups)
    )
    return page.save(path, path.with_suffix(""), "Comparison of runs", kinds, sections, {})


def _section(found: Sequence[Compared], split: str, number: int) -> Section:
    baseline, row = found[0].baseline, found[0].row
    lines = [
        [
            *(c.name, c.row["method"], "" if c.row["steps"] is None else str(c.row["steps"])),
            *(c.accuracy, "baseline" if c.over is None else c.over.text("+")),
        ]
        for c in found
    ]
    words = [
        f"{row['tasks']:,} {split} tasks, the same for all. The difference to {baseline} is a mean "
        "over tasks, in percentage points, with its own 95% interval: tasks differ more than "
        "methods do, and that cancels. An interval without 0 is a difference beyond chance, as far "
        "as one training of each can show."
    ]
    table = Table(["run and head", "method", "T", f"{split}, %", "difference"], lines)
    name = "differences" if number == 0 else f"differences_{number + 1}"
    picture = Picture(name, f"Differences to {baseline}", lambda mode: _draw(found, baseline, mode))
    title = "Accuracy on the same tasks" if number == 0 else f"On the tasks of {baseline}"
    return Section(title, words, [table], [picture] * (len(found) > 1))


def _measure(row: Row) -> str:
    return "both" if row["both"] else "novel"


def _best_first(run: Run, against: str | None, split: str) -> list[str]:
    """Heads of a split by accuracy on validation, or else on the split; `against` first."""
    if against is not None and against not in run.heads:
        raise ReportError(
            f"{shown(run.workdir)} has no head {against!r}; it has {', '.join(run.heads)}"
        )

    def means(of: str) -> dict[str, float]:
        return {r["head"]: r[_measure(r)]["mean"] for r in run.rows if r["split"] == of}

    there, on_val = means(split), means("val") or means(split)
    return sorted(there, key=lambda head: (head != against, -on_val.get(head, 0.0)))


def _title(run: Run, runs: Sequence[Run]) -> str:
    """The folder's name; its path where two have the same name; "" for a single run."""
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
    axes.set_xlabel(f"difference to {style.short(baseline, 40)}, percentage points")
    return made
