"""Writes the rows of an experiment as Markdown, beside the paper's where it has them."""

from collections.abc import Sequence
from pathlib import Path

from sib_jax.report import paper
from sib_jax.report.results import ACCURACIES, Row, calibration, cell, task
from sib_jax.runtime import files

FILE = "table.md"
_TITLES = {"val": "Validation", "test": "Test"}


def write(workdir: Path, rows: Sequence[Row]) -> None:
    """Writes <workdir>/table.md."""
    files.write_text(workdir / FILE, by_split(rows))


def by_split(rows: Sequence[Row]) -> str:
    """One table per split, one line per head; rows are those of results.json."""
    return "\n\n".join(
        f"### {_TITLES[split]}\n\n{_tables([row for row in rows if row['split'] == split])}"
        for split in dict.fromkeys(row["split"] for row in rows)
    )


def _tables(rows: Sequence[Row]) -> str:
    calibrated = [row for row in rows if "nll" in row]
    return _table(rows) + (f"\n{_calibration(calibrated)}" if calibrated else "")


def _table(rows: Sequence[Row]) -> str:
    shown = [name for name in ACCURACIES if any(row[name] for row in rows)]
    known = [paper.row_of(row) for row in rows]
    header = ["head", "method", "T", "setting", "task", *(name.capitalize() for name in shown)]
    if any(known):
        header += [f"paper: {name.capitalize()}" for name in shown]
    lines = [_line(header), _line(["---"] * len(header))]
    for row, of_paper in zip(rows, known, strict=True):
        steps = "" if row["steps"] is None else str(row["steps"])
        cells = [row["head"], row["method"], steps, row["setting"], task(row)]
        cells += [cell(row[name]) for name in shown]
        if any(known):
            named = dict(zip(ACCURACIES, of_paper or ("", "", ""), strict=True))
            cells += [named[name] for name in shown]
        lines.append(_line(cells))
    return "\n".join(lines) + "\n"


def _calibration(rows: Sequence[Row]) -> str:
    titles, lines = calibration(rows)
    return "\n".join(map(_line, [titles, ["---"] * len(titles), *lines])) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
