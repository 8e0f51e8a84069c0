"""Which classes are taken for which others, over all evaluation tasks."""

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from sib_jax.report import observed, style
from sib_jax.report.run import Run
from sib_jax.report.section import Section, Table
from sib_jax.report.style import Mode, Picture

_PAIRS = 10
_FEW = 100  # queries that could have been confused: pairs with fewer are not named ...
_SHADED = 30  # ... and shares of fewer than this say nothing


class Pair(NamedTuple):
    """Two classes.

    Attributes:
      true: number of the queries' class.
      taken: number of the class that they were taken for.
      wrong: how many queries were taken for it.
      chances: out of how many: the queries of `true` in tasks with `taken`.
    """

    true: int
    taken: int
    wrong: int
    chances: int

    @property
    def share(self) -> float:
        """The share of such queries, 0 to 1."""
        return self.wrong / max(self.chances, 1)


def section(run: Run) -> Section | None:
    """The confusions of the head whose episode is shown."""
    if run.observed is None:
        return None
    head, names = run.observed.about["episode"]["head"], run.observed.about["classes"]
    found = run.observed.confused.get(head)
    if found is None:
        return None
    worst = most_confused(found)
    shown = observed.classes_shown(found, len(names))
    text = [
        f"Head {head}, all {run.observed.about['split']} tasks. A share is among the queries of "
        "the first class in tasks where the second class was also a choice. The diagonal and "
        f"shares of fewer than {_SHADED} queries are gray."
    ]
    if len(shown) < len(names):
        text.append(f"Shown are the {len(shown)} of {len(names)} classes that are confused most.")
    lines = [
        [names[p.true], names[p.taken], f"{100 * p.share:.1f} %", f"{p.wrong} of {p.chances}"]
        for p in worst
    ]
    tables = [Table(["class", "taken for", "share", "queries"], lines)] if lines else []
    picture = Picture(
        "confusion",
        f"Which class was taken for which by head {head}",
        lambda mode: _draw(found, shown, names, mode),
    )
    return Section("Confusion of classes", text, tables, [picture])


def most_confused(confused: np.ndarray) -> list[Pair]:
    """Pairs of different classes, the largest share first.

    Args:
      confused: see `report.observed`.
    """
    wrong = confused[confused[:, 0] != confused[:, 1]]
    known = wrong[wrong[:, 3] >= _FEW]
    wrong = known if len(known) else wrong
    order = np.lexsort((wrong[:, 1], wrong[:, 0], -_share(wrong)))[:_PAIRS]
    return [Pair(*map(int, row)) for row in wrong[order]]


def matrix(confused: np.ndarray, shown: np.ndarray, least: int = 0) -> np.ndarray:
    """Shares, 0 to 1: what each class (row) was taken for (column).

    Args:
      confused: see `report.observed`.
      shown: numbers of the classes, in order.
      least: shares of fewer queries are NaN, as are those of pairs that never met.
    """
    found = np.full((len(shown), len(shown)), np.nan)
    rows = confused[np.isin(confused[:, :2], shown).all(axis=1) & (confused[:, 3] >= least)]
    one, other = (np.searchsorted(shown, rows[:, side]) for side in (0, 1))
    found[one, other] = _share(rows)
    return found


def _share(confused: np.ndarray) -> np.ndarray:
    return confused[:, 2] / np.maximum(confused[:, 3], 1)


def _draw(confused: np.ndarray, shown: np.ndarray, names: list[str], mode: Mode) -> Figure:
    wrong = 100 * matrix(confused, shown, _SHADED)
    np.fill_diagonal(wrong, np.nan)
    side = float(np.clip(0.2 * len(shown) + 2.0, 4.0, 8.6))
    made = style.figure(side, side + 0.6)
    axes = made.subplots()
    # The diagonal would drown out the rest: only wrong answers are shaded.
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
