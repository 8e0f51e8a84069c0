"""results.json, and the table printed from it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FILE = "results.json"
ACCURACIES = ("novel", "base", "both")

Row = dict[str, Any]


def write(workdir: Path, rows: Sequence[Row]) -> None:
    """Writes <workdir>/results.json: a list of rows, accuracies in percent."""
    temporary = workdir / f".{FILE}"
    temporary.write_text(json.dumps(list(rows), indent=1) + "\n")
    temporary.replace(workdir / FILE)


def table(rows: Sequence[Row]) -> str:
    """The rows as text: one line for each method and T, columns for each split and accuracy."""
    splits = list(dict.fromkeys(row["split"] for row in rows))
    shown = [name for name in ACCURACIES if any(row[name] for row in rows)]
    columns = [(split, name) for split in splits for name in shown]
    titles = [split if len(shown) == 1 else f"{split} {name}" for split, name in columns]
    lines = [f"{'':24}" + "".join(f"{title:>18}" for title in titles)]
    for method, steps in dict.fromkeys((row["method"], row["steps"]) for row in rows):
        cells = dict.fromkeys(columns, "-")
        for row in rows:
            if (row["method"], row["steps"]) == (method, steps):
                cells |= {(row["split"], name): cell(row[name]) for name in shown}
        lines.append(f"{f'{method}, T = {steps}':24}" + "".join(f"{c:>18}" for c in cells.values()))
    return "\n".join(lines)


def cell(accuracy: dict[str, float] | None) -> str:
    """An accuracy as text, with its interval; "-" where it was not measured."""
    return "-" if accuracy is None else f"{accuracy['mean']:.2f} ± {accuracy['ci95']:.2f} %"
