"""Writes results.json, and its summary as text; tasks.npz has the same results task by task."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sib_jax.runtime import files
from sib_jax.tasks.interval import Interval

FILE = "results.json"
TASKS = "tasks.npz"
"""A file of `runtime.weights`: arrays by head, split and measure, and what the tasks depend on."""

ACCURACIES = ("novel", "base", "both")

Row = dict[str, Any]

_CALIBRATION = {  # field of a row -> its title and form; likelihoods in nats, errors in percent
    "nll": ("NLL", ".3f"),
    "ece": ("ECE", ".2f"),
    "temperature": ("temperature", ".3g"),
    "nll_scaled": ("scaled NLL", ".3f"),
    "ece_scaled": ("scaled ECE", ".2f"),
}
_OFFSET = {"offset": "offset of novel logits", "both_offset": "both, with it"}


def write(workdir: Path, rows: Sequence[Row]) -> None:
    """Writes <workdir>/results.json: a list of rows, accuracies and `ece` in percent."""
    files.write_text(workdir / FILE, json.dumps(list(rows), indent=1, allow_nan=False) + "\n")


def summary(rows: Sequence[Row]) -> str:
    """The rows as text: one line per head, columns for each split and accuracy."""
    splits = list(dict.fromkeys(row["split"] for row in rows))
    shown = [name for name in ACCURACIES if any(row[name] for row in rows)]
    columns = [(split, name) for split in splits for name in shown]
    titles = [split if len(shown) == 1 else f"{split} {name}" for split, name in columns]
    labels = {row["head"]: label(row) for row in rows}
    if len(set(labels.values())) < len(labels):
        labels = {head: f"{head}: {text}" for head, text in labels.items()}
    width = max(24, 2 + max(map(len, labels.values())))
    lines = ["".ljust(width) + "".join(f"{title:>18}" for title in titles)]
    for head, text in labels.items():
        cells = dict.fromkeys(columns, "-")
        for row in rows:
            if row["head"] == head:
                cells |= {(row["split"], n): f"{cell(row[n])} %" for n in shown if row[n]}
        lines.append(text.ljust(width) + "".join(f"{c:>18}" for c in cells.values()))
    return "\n".join(lines)


def label(row: Row) -> str:
    """What a row is about, in words."""
    return f"{method(row)}, {task(row)}"


def method(row: Row) -> str:
    """The method of a row, with T where it has one."""
    return row["method"] + ("" if row["steps"] is None else f", T = {row['steps']}")


def task(row: Row) -> str:
    """The size of a row's tasks, in words, and what is not balanced in them."""
    text = f"{row['ways']}-way {row['shots']}-shot"
    for name, what in (("support_classes", "support"), ("query_classes", "queries")):
        if row.get(name, "balanced") != "balanced":
            text += f", {row[name]} {what}"
    total = row.get("total_queries")
    if total is not None and total != row["ways"] * row["queries"]:
        text += f", {total} {'query' if total == 1 else 'queries'} in all"
    return text


def cell(accuracy: dict[str, float] | None) -> str:
    """An accuracy as text, with its interval, in percent; "" where it was not measured."""
    return "" if accuracy is None else Interval(**accuracy).text()


def calibration(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Titles and cells of a table: how well calibrated each row is; empty where not measured."""
    titles = ["head", *(title for title, _ in _CALIBRATION.values())]
    has_offset = any(row.get("offset") is not None for row in rows)
    if has_offset:
        titles += _OFFSET.values()
    lines = [
        [
            row["head"],
            *(
                "" if row.get(field) is None else format(row[field], form)
                for field, (_, form) in _CALIBRATION.items()
            ),
            *(_of_offset(row) if has_offset else ()),
        ]
        for row in rows
    ]
    return titles, lines


def _of_offset(row: Row) -> list[str]:
    if row.get("offset") is None:
        return ["", ""]
    return [f"{row['offset']:.2f}", f"{cell(row['both_offset'])} %"]
