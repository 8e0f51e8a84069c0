"""The table of a run: accuracies with their intervals, and differences on the same tasks."""

from matplotlib.figure import Figure

from sib_jax.report import paired, style
from sib_jax.report.results import ACCURACIES, Row, cell, method, task
from sib_jax.report.run import Run
from sib_jax.report.section import Section, Table
from sib_jax.report.style import Mode, Picture

_SPLITS = {"val": "validation", "test": "test"}


def section(run: Run) -> Section:
    """Tables with a line for each head, and a picture of them."""
    text = [
        "Mean over tasks, in percent, with its 95% interval. NLL is the negative log-likelihood of "
        "the right class in nats, ECE the expected calibration error in percent."
    ]
    tables = [_table([r for r in run.rows if r["split"] == split]) for split in run.splits]
    differences = _differences(run)
    if differences is not None:
        tables.append(differences)
        text.append(
            "The last table has differences on the same tasks: the mean difference over tasks, in "
            "percentage points, with its own 95% interval."
        )
    pictures = [Picture("accuracies", "Accuracy of each head", lambda mode: _draw(run, mode))]
    return Section("Accuracy", text, tables, pictures if len(run.heads) > 1 else [])


def _table(rows: list[Row]) -> Table:
    shown = [name for name in ACCURACIES if any(row[name] for row in rows)]
    calibrated = any("nll" in row for row in rows)
    split = _SPLITS[rows[0]["split"]]
    header = ["head", "method", "task", *(_title(split, name, shown) for name in shown)]
    lines = []
    for row in rows:
        cells = [
            row["head"],
            method(row),
            task(row),
        ]
        cells += [cell(row[name]) for name in shown]
        if calibrated:
            cells += [f"{row['nll']:.3f}", f"{row['ece']:.2f}"]
        lines.append([*cells, f"{row['tasks']:,}"])
    return Table([*header, *(("NLL", "ECE") if calibrated else ()), "tasks"], lines)


def _title(split: str, name: str, shown: list[str]) -> str:
    return split if len(shown) == 1 else f"{split} {name}"


def _differences(run: Run) -> Table | None:
    """Differences of each head to the first one that answered the same tasks."""
    heads, splits, lines = run.heads, run.splits, []
    for place, head in enumerate(heads):
        for first in heads[:place]:
            pairs = [
                [run.tasks[name][split][_main(run)] for name in (head, first)]
                for split in splits
                if paired.why_not(run, head, run, first, split) is None
            ]
            if len(pairs) == len(splits):
                texts = [paired.difference(*pair).text("+") for pair in pairs]
                lines.append([f"{head} − {first}", *texts])
                break
    if not lines:
        return None
    return Table(["difference", *(f"{_SPLITS[s]}{_of_which(run)}" for s in splits)], lines)


def _main(run: Run) -> str:
    """The accuracy that says most: "both" beside base classes."""
    return "both" if all(row["both"] for row in run.rows) else "novel"


def _of_which(run: Run) -> str:
    return "" if _main(run) == "novel" else f" {_main(run)}"


def _draw(run: Run, mode: Mode) -> Figure:
    """Points with their intervals, one row per head."""
    heads, splits = run.heads, run.splits
    made = style.figure(0.9 + 0.28 * len(heads))
    for axes, split in zip(made.subplots(1, len(splits), squeeze=False)[0], splits, strict=True):
        found = {r["head"]: r[_main(run)] for r in run.rows if r["split"] == split}
        for place, head in enumerate(heads):
            if head in found:
                mean, width = found[head]["mean"], found[head]["ci95"]
                axes.errorbar(mean, place, xerr=width, fmt="o", ms=4, color=mode.cycle[0])
        axes.set_yticks(range(len(heads)), [style.short(head, 24) for head in heads])
        axes.set_ylim(len(heads) - 0.5, -0.5)
        axes.set_xlabel(f"{_SPLITS[split]}{_of_which(run)}, %")
    return made
