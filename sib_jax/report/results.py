"""results.json, and the table printed from it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FILE = "results.json"

Row = dict[str, Any]


def write(workdir: Path, rows: Sequence[Row]) -> None:
    """Writes <workdir>/results.json: a list of rows, accuracies in percent."""
    temporary = workdir / f".{FILE}"
    temporary.write_text(json.dumps(list(rows), indent=1) + "\n")
    temporary.replace(workdir / FILE)


def table(rows: Sequence[Row]) -> str:
    """The rows as text: one line for each method and T, a column for each split."""
    splits = list(dict.fromkeys(row["split"] for row in rows))
    lines = [f"{'':24}" + "".join(f"{split:>20}" for split in splits)]
    for steps in dict.fromkeys(row["steps"] for row in rows):
        cells = ["-"] * len(splits)
        name = ""
        for row in rows:
            if row["steps"] == steps:
                name = f"{row['method']}, T = {steps}"
                novel = row["novel"]
                cell = f"{novel['mean']:.2f} ± {novel['ci95']:.2f} %"
                cells[splits.index(row["split"])] = cell
        lines.append(f"{name:24}" + "".join(f"{cell:>20}" for cell in cells))
    return "\n".join(lines)
