"""Which classes are taken for which, over all evaluation tasks."""

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from sib_jax.report import style
from sib_jax.report.run import Run
from sib_jax.report.section import Section, Table
from sib_jax.report.style import Mode, Picture

_MOST = 60  # classes that a matrix shows
_PAIRS = 10
_FEW = 100  # queries that could have been confused: below that no pair is named ...
_SHADED = 30  # ... and below that a share says nothing


class Pair(NamedTuple):
    """Two classes.

    Attributes:
      true: number of the class of the queries.
      taken: of the class that they were taken for.
      wrong: how many queries.
      chances: of how many: those of `true` in tasks with `taken`.
    """

    true: int
    taken: int
    wrong: int
    chances: int

    @property
    def share(self) -> float:
        """0 to 1."""
        return self.wrong / max(self.chances, 1)


def section(run: Run) -> Section | None:
    """Of the head whose episode is shown."""
    if run.observed is None:
        return None
    head, names = run.observed.about["episode"]["head"], run.observed.about["classes"]
    found = run.observed.confused.get(head)
    if found is None:
        return None
    worst = most_confused(found)
    shown = classes_shown(found, len(names))
    text = [
        f"Head {head}, all {run.observed.about['split']} tasks. A share is of the queries of the "
        "first class in those tasks in which the second one was a choice too; gray are the "
        f"diagonal and shares of fewer than {_SHADED} queries."
    ]
    if len(shown) < len(names):
        text.append(f"The {len(shown)} classes of {len(names)} that are confused most.")
    lines = [
        [names[p.true], names[p.taken], f"{100 * p.share:.1f} %", f"{p.wrong} of {p.chances}"]
        for p in worst
    ]
    tables = [Table(["class", "taken for", "share", "queries"], lines)] if lines else []
    picture = Picture(
        "confusion",
        f"Which class was taken for which, head {head}",
        lambda mode: _draw(found, shown, names, mode),
    )
    return Section("Confusion of classes", text, tables, [picture])


def most_confused(confused: np.ndarray) -> list[Pair]:
    """Pairs of different classes, the largest share first.

    Args:
      confused: see `report.observed`.
    """
    pairs = [Pair(*map(int, row)) for row in confused if row[0] != row[1]]
    pairs = [p for p in pairs if p.chances >= _FEW] or pairs
    return sorted(pairs, key=lambda p: (-p.share, p.true, p.taken))[:_PAIRS]


def classes_shown(confused: np.ndarray, classes: int) -> np.ndarray:
    """All, in order; of too many those with the most wrong answers, given or taken."""
    if classes <= _MOST:
        return np.arange(classes)
    wrong = confused[confused[:, 0] != confused[:, 1]]
    count = np.zeros(classes, int)
    for side in (0, 1):
        np.add.at(count, wrong[:, side], wrong[:, 2])
    return np.sort(np.argsort(-count, kind="stable")[:_MOST])


def matrix(confused: np.ndarray, shown: np.ndarray, least: int = 0) -> np.ndarray:
    """Shares, 0 to 1: what each class (row) was taken for (column).

    Args:
      confused: see `report.observed`.
      shown: numbers of the classes, in order.
      least: shares of fewer queries are NaN, as are those of pairs that never met.
    """
    place = {int(c): i for i, c in enumerate(shown)}
    found = np.full((len(shown), len(shown)), np.nan)
    for row in confused:
        pair = Pair(*map(int, row))
        if pair.true in place and pair.taken in place:
            enough = pair.chances >= least
            found[place[pair.true], place[pair.taken]] = pair.share if enough else np.nan
    return found


def _draw(confused: np.ndarray, shown: np.ndarray, names: list[str], mode: Mode) -> Figure:
    wrong = 100 * matrix(confused, shown, _SHADED)
    np.fill_diagonal(wrong, np.nan)
    side = float(np.clip(0.2 * len(shown) + 2.0, 4.0, 8.6))
    made = style.figure(side, side + 0.6)
    axes = made.subplots()
    # The diagonal would drown the rest: the shades are those of the wrong answers.
    top = float(np.nanmax(wrong, initial=1.0))
    image = axes.imshow(wrong, cmap=mode.shades, vmin=0, vmax=top)
    axes.set_facecolor(mode.faint)
    made.colorbar(image, ax=axes, shrink=0.6, label="taken for it, % of queries")
    axes.grid(visible=False)
    axes.set(xlabel="taken for", ylabel="class")
    labels, size = [style.short(names[c]) for c in shown], 7 if len(shown) <= 40 else 5.5
    axes.set_xticks(range(len(shown)), labels, rotation=90, fontsize=size)
    axes.set_yticks(range(len(shown)), labels, fontsize=size)
    return made
