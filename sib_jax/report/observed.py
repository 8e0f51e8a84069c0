"""observed.npz: what a report shows beyond the results, kept so that it can be drawn again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sib_jax.report.results import Row
from sib_jax.runtime import weights

FILE = "report/observed.npz"

_MOST = 60  # classes that a matrix shows


class Observed(NamedTuple):
    """What `experiment.observe` finds on the tasks of one split.

    Attributes:
      about: {"split", "results": which results it belongs to, see `results_of`, "classes": names,
        "episode": {"head", "task", "classes": names}}.
      confused: by head, [pairs, 4]: a class; the class that it was taken for (itself where the
        answer was right); how many of its queries were; and out of how many, which are those in
        tasks with the second class. A pair with a base class for which no query was taken is
        included only if both are in `classes_shown`.
      traced: by head with an inner loop and by name, [tasks, T + 1]: "accuracy" (0 to 1), "entropy"
        of the answers, "loss", "negative_elbo" (nats per query); "cosine" [tasks, T].
      episode: of one task, by name: "labels", "after" and, with an inner loop, "before" of its
        queries [n]; "support_labels" [m]; "<part>_images" and which of the examples they are,
        "<part>_shown", for the parts support and query; "<part>_2d" [.., 2], also for the part
        "path" [T + 1, k, 2]; "explained" [2].
    """

    about: dict[str, Any]
    confused: dict[str, np.ndarray]
    traced: dict[str, dict[str, np.ndarray]]
    episode: dict[str, np.ndarray]


def results_of(rows: Sequence[Row]) -> list[Any]:
    """What distinguishes the results of one evaluation from those of another."""
    return [[row[name] for name in ("head", "split", "tasks", "seed", "novel")] for row in rows]


def classes_shown(confused: np.ndarray, classes: int) -> np.ndarray:
    """Classes that a matrix of `confused` shows: all, or those with the most wrong answers."""
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
