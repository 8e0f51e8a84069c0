"""The rows of several runs as Markdown, beside the paper's where it has them."""

from collections.abc import Sequence

from sib_jax.report import paper
from sib_jax.report.results import ACCURACIES, Row

_TITLES = {"val": "Validation", "test": "Test"}


def tables(rows: Sequence[Row]) -> str:
    """One table a split; a row for each run and T.

    Args:
      rows: of results.json, each with the further field "run".
    """
    return "\n\n".join(
        f"### {_TITLES[split]}\n\n{_table([row for row in rows if row['split'] == split])}"
        for split in dict.fromkeys(row["split"] for row in rows)
    )


def _table(rows: Sequence[Row]) -> str:
    shown = [name for name in ACCURACIES if any(row[name] for row in rows)]
    known = [paper.row_of(row) for row in rows]
    header = ["run", "T", *(name.capitalize() for name in shown)]
    if any(known):
        header += [f"paper: {name.capitalize()}" for name in shown]
    lines = [_line(header), _line(["---"] * len(header))]
    for row, of_paper in zip(rows, known, strict=True):
        cells = [row["run"], str(row["steps"]), *(_cell(row[name]) for name in shown)]
        if any(known):
            cells += (of_paper or ("", "", ""))[: len(shown)]
        lines.append(_line(cells))
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(accuracy: dict[str, float] | None) -> str:
    return "" if accuracy is None else f"{accuracy['mean']:.2f} ± {accuracy['ci95']:.2f}"
