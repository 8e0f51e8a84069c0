"""observed.npz: what a report shows and results do not hold, so that it can be drawn anew."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sib_jax.report.results import Row
from sib_jax.runtime import weights

FILE = "report/observed.npz"

_MOST = 60  # classes that a matrix shows


class Observed(NamedTuple):
    """What `experiment.observe` finds of the tasks of one split.

    Attributes:
      about: {"split", "results": of which it is, see `results_of`, "classes": names, "episode":
        {"head", "task", "classes": names}}.
      confused: by head, [pairs, 4]: a class, the one that it was taken for (itself where the answer
        was right), how many queries, and of how many: those of the first in tasks with the second;
        pairs with a base class for which none was taken only where both are `classes_shown`.
      traced: by head with an inner loop and by name, [tasks, T + 1]: "accuracy" (0 to 1), "entropy"
        of the answers, "loss", "negative_elbo" (nats a query); "cosine" [tasks, T].
      episode: of one task, by name: "labels", "after" and where there is an inner loop "before" of
        its queries [n]; "support_labels" [m]; "<part>_images" and which of the examples they are,
        "<part>_shown", of the parts support and query; "<part>_2d" [.., 2] also of the part "path"
        [T + 1, k, 2]; "explained" [2].
    """

    about: dict[str, Any]
    confused: dict[str, np.ndarray]
    traced: dict[str, dict[str, np.ndarray]]
    episode: dict[str, np.ndarray]


def results_of(rows: Sequence[Row]) -> list[Any]:
    """What tells the results of one evaluation from those of another."""
    return [[row[name] for name in ("head", "split", "tasks", "seed", "novel")] for row in rows]


def classes_shown(confused: np.ndarray, classes: int) -> np.ndarray:
    """Those that a matrix of `confused` shows: all in order, of too many those
    with the most wrong answers, given or taken.
    """
    if classes <= _MOST:
        return np.arange(classes)
    wrong = confused[confused[:, 0] != confused[:, 1]]
    count = np.zeros(classes, int)
    for side in (0, 1):
        np.add.at(count, wrong[:, side], wrong[:, 2])
    return np.sort(np.argsort(-count, kind="stable")[:_MOST])


def write(workdir: Path, found: Observed) -> None:
    """Writes <workdir>/report/observed.npz."""
    tree = found._asdict()
    about = tree.pop("about")
    weights.save(workdir / FILE, tree, about)


def read(workdir: Path) -> Observed:
    """What `write` wrote.

    Raises:
      WeightsError: there is no such file, or it is damaged.
    """
    found, about = weights.tree(workdir / FILE)
    return Observed(about, *(found.get(kind, {}) for kind in ("confused", "traced", "episode")))
