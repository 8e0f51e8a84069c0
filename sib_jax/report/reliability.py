"""Reliability diagrams: whether answers are right as often as their probabilities say."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sib_jax.report import results, style
from sib_jax.report.run import Run
from sib_jax.report.section import Section, Table
from sib_jax.report.style import Mode, Picture
from sib_jax.tasks.calibration import expected_calibration_error

_SHOWN = 8  # heads, each with a panel


def section(run: Run) -> Section | None:
    """One diagram per head, for test, or else for the first split evaluated."""
    split = "test" if "test" in run.splits else run.splits[0]
    bins = {
        head: run.tasks[head][split]["bins"]
        for head in run.heads
        if "bins" in run.tasks.get(head, {}).get(split, {})
    }
    if not bins:
        return None
    rows = [row for row in run.rows if row["split"] == split and row["head"] in bins]
    text = [
        f"Queries of all {split} tasks by confidence (the largest probability), and the share of "
        "right answers among them. Where bars end on the diagonal, answers are right as often as "
        "their confidence says; below it, the head is overconfident. Below each diagram: how many "
        "queries there are.",
        "The temperature is the one that fits the validation tasks best; dividing the logits by it "
        "gives the scaled figures. NLL in nats per query, ECE in percent.",
    ]
    pictures = [
        Picture("calibration", "Reliability diagram of each head", lambda mode: _draw(bins, mode))
    ]
    if len(bins) > _SHOWN:
        text.append(f"Only the first {_SHOWN} of {len(bins)} heads have a diagram.")
    return Section("Calibration", text, [Table(*results.calibration(rows))], pictures)


def _draw(bins: dict[str, np.ndarray], mode: Mode) -> Figure:
    shown = list(bins.items())[:_SHOWN]
    columns = min(len(shown), 4)
    lines = -(-len(shown) // columns)
    made = style.figure(3.3 * lines, max(2.3 * columns, 3.2))
    every = made.subplots(2 * lines, columns, squeeze=False, height_ratios=[4, 1] * lines)
    for index in range(lines * columns):
        line, column = divmod(index, columns)
        above, under = every[2 * line, column], every[2 * line + 1, column]
        if index < len(shown):
            _diagram(above, under, *shown[index], mode)
            above.set_ylabel("" if column else "share of right answers")
            under.set_ylabel("" if column else "queries")
        else:
            above.set_visible(False)
            under.set_visible(False)
    return made


def _diagram(above: Axes, under: Axes, head: str, sums: np.ndarray, mode: Mode) -> None:
    queries, _, right = sums.T
    there, width = queries > 0, 1 / len(queries)
    centres = (np.arange(len(queries)) + 0.5) * width
    accuracy = right[there] / queries[there]
    above.bar(centres[there], accuracy, 0.86 * width, color=mode.cycle[0])
    above.plot([0, 1], [0, 1], color=mode.ink, linewidth=0.9, linestyle="--")
    ece = 100 * float(expected_calibration_error(sums))
    above.set_title(f"{style.short(head, 22)}\nECE {ece:.1f} %")
    above.set(xlim=(0, 1), ylim=(0, 1), xticklabels=[])
    under.bar(centres, queries / queries.sum(), 0.86 * width, color=mode.cycle[6])
    under.set(xlim=(0, 1), yticks=[], xlabel="probability of the answer")
