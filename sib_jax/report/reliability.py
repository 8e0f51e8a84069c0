"""Reliability diagram: whether the answers are right as often as they say."""

import numpy as np
from matplotlib.figure import Figure

from sib_jax.report import style
from sib_jax.report.run import Run
from sib_jax.report.section import Section, Table
from sib_jax.report.style import Mode, Picture

_SHOWN = 8  # heads, of which each has a panel


def section(run: Run) -> Section | None:
    """One diagram a head, of the last split that is evaluated."""
    splits = [row["split"] for row in run.rows]
    split = "test" if "test" in splits else splits[0]
    bins = {
        head: of[split]["bins"]
        for head, of in run.tasks.items()
        if split in of and "bins" in of[split]
    }
    if not bins:
        return None
    rows = [row for row in run.rows if row["split"] == split and row["head"] in bins]
    text = [
        f"Queries of all {split} tasks by how sure the answer is (the largest probability): bars are "
        "the share of right answers. On the diagonal they are what they say; below it the head is "
        "too sure. The faint area is how many queries lie where.",
        "Temperature is the one that fits the validation tasks best; divided by it the logits give "
        "the scaled figures. NLL in nats a query, ECE in percent.",
    ]
    pictures = [
        Picture("calibration", "Reliability diagram of each head", lambda mode: _draw(bins, mode))
    ]
    if len(bins) > _SHOWN:
        text.append(f"The first {_SHOWN} of {len(bins)} heads have a diagram.")
    names = ("nll", "ece", "temperature", "nll_scaled", "ece_scaled")
    forms = (".3f", ".2f", ".3g", ".3f", ".2f")
    lines = [
        [row["head"], *(_number(row.get(n), f) for n, f in zip(names, forms, strict=True))]
        for row in rows
    ]
    header = ["head", "NLL", "ECE", "temperature", "scaled NLL", "scaled ECE"]
    return Section("Calibration", text, [Table(header, lines)], pictures)


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _draw(bins: dict[str, np.ndarray], mode: Mode) -> Figure:
    shown = list(bins.items())[:_SHOWN]
    columns = min(len(shown), 4)
    lines = -(-len(shown) // columns)
    made = style.figure(2.75 * lines, max(2.75 * columns, 3.2))
    every = made.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axes in every[len(shown) :]:
        axes.set_visible(False)
    for axes, (head, sums) in zip(every, shown, strict=False):
        queries, sure, right = sums.T
        there = queries > 0
        edges = np.arange(len(queries)) / len(queries)
        width = 1 / len(queries)
        share = queries / queries.max()
        axes.bar(edges, share, width, align="edge", color=mode.faint, alpha=0.6, linewidth=0)
        accuracy = np.divide(right, queries, out=np.zeros(len(queries)), where=there)
        axes.bar(
            *(edges[there], accuracy[there], 0.86 * width),
            align="edge",
            color=mode.cycle[0],
            alpha=0.85,
        )
        axes.plot([0, 1], [0, 1], color=mode.ink, linewidth=0.9, linestyle="--")
        ece = 100 * np.abs(right - sure).sum() / queries.sum()
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axes.set_title(f"{style.short(head, 20)}: ECE {ece:.1f} %")
        axes.set_xlabel("probability of the answer")
    every[0].set_ylabel("share of right answers")
    return made
