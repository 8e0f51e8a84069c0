"""One task: its images with the answers before and after adaptation; its features in a plane."""

import string
import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from sib_jax.report import style
from sib_jax.report.observed import Observed
from sib_jax.report.run import Run
from sib_jax.report.section import Section
from sib_jax.report.style import Mode, Picture

_TILE = 1.0  # an image's side, which is the unit of all else
_GAP, _TEXT = 0.12, 0.34
_LETTERS = string.ascii_uppercase
_MARKERS = "osD^vPX*<>"


def section(run: Run) -> Section | None:
    """A typical task, of the best head with an inner loop, or else of the best head."""
    seen = run.observed
    if seen is None or not seen.episode:
        return None
    about, found, pictures, text = seen.about["episode"], seen.episode, [], []
    after = found["after"] == found["labels"]
    said = f"{after.sum()} of {len(after)} queries right"
    if "before" in found:
        before = found["before"] == found["labels"]
        said = f"{before.sum()} of {len(before)} queries right at theta^0, {after.sum()} at theta^T"
    text.append(
        f"Task {about['task']} of {seen.about['split']}, head {about['head']}: {said}. It is the "
        "first of the tasks whose accuracies are nearest to the mean."
    )
    if "query_images" in found:
        alt = "Images of one task with their answers"
        pictures.append(
            Picture("episode", alt, lambda m: _images(seen, m), _words_of_images(found))
        )
    if "query_2d" in found:
        alt = "Features of one task in a plane"
        pictures.append(Picture("plane", alt, lambda m: _plane(seen, m), _words_of_plane(found)))
    return Section("One task", text, (), pictures) if pictures else None


def _words_of_images(found: dict[str, np.ndarray]) -> str:
    text = (
        "One row per class: its examples, then its queries. Below a query is what it was taken for"
    )
    last = max(found[when].max() for when in ("before", "after") if when in found)
    star = " A star is a base class." if last > found["support_labels"].max() else ""
    if "before" not in found:
        return f"{text}, where that is wrong.{star}"
    return (
        f"{text}, before → after adaptation, where either is wrong. Frames: green, corrected; red, "
        f"wrong in the end (dashed: it was right before).{star}"
    )


def _words_of_plane(found: dict[str, np.ndarray]) -> str:
    share = 100 * found["explained"].sum()
    path = (
        " Lines are the paths of the weights from theta^0 (ring) to theta^T (cross)."
        if "path_2d" in found
        else ""
    )
    return (
        "Unit-length features of the queries (points; open where the final answer is wrong) and "
        f"examples (stars), in the plane in which the queries vary most ({share:.0f} % of their "
        f"variance).{path}"
    )


def _images(seen: Observed, mode: Mode) -> Figure:
    found, names = seen.episode, seen.about["episode"]["classes"]
    support, query = found["support_shown"], found["query_shown"]
    of_support, of_query = found["support_labels"][support], found["labels"][query]
    examples = max(np.bincount(of_support))
    columns = examples + max(np.bincount(of_query, minlength=1))
    rows, line = int(of_support.max()) + 1, _TILE + _TEXT + _GAP
    left = 3.2  # for names
    width, height = left + columns * (_TILE + _GAP) + 0.3, rows * line
    made = style.figure(style.WIDTH * height / width)
    axes = made.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    size = 7.5 * min(1.0, 19 / columns)
    for c in range(rows):
        top = c * line + _GAP / 2
        axes.text(0.05, top + _TILE / 2, _LETTERS[c], va="center", fontsize=10, weight="bold")
        name = "\n".join(textwrap.wrap(style.short(names[c], 40), 18))
        axes.text(0.45, top + _TILE / 2, name, va="center", fontsize=0.8 * size)
        for i, place in enumerate(np.flatnonzero(of_support == c)):
            _show(axes, found["support_images"][place], left + i * (_TILE + _GAP), top)
        for i, place in enumerate(np.flatnonzero(of_query == c)):
            across = left + 0.3 + (examples + i) * (_TILE + _GAP)
            _show(axes, found["query_images"][place], across, top)
            _answer(axes, found, int(query[place]), (across, top), len(names), mode, size)
    return made


def _answer(
    axes: Axes,
    found: dict[str, np.ndarray],
    query: int,
    place: tuple[float, float],
    ways: int,
    mode: Mode,
    size: float,
) -> None:
    right, after = int(found["labels"][query]), int(found["after"][query])
    before = int(found["before"][query]) if "before" in found else after
    if after == before == right:
        return
    color = mode.good if after == right else mode.bad
    lost = before == right != after
    axes.add_patch(
        Rectangle(
            *((place[0] - 0.03, place[1] - 0.03), _TILE + 0.06, _TILE + 0.06),
            fill=False,
            edgecolor=color,
            linewidth=1.8,
            linestyle="--" if lost else "-",
        )
    )
    axes.text(
        *(place[0] + _TILE / 2, place[1] + _TILE + 0.08),
        "→".join(_letter(c, ways) for c in dict.fromkeys((before, after))),
        ha="center",
        va="top",
        fontsize=size,
        color=color,
    )


def _letter(column: int, ways: int) -> str:
    """A class in short: a letter, or a number beyond the alphabet; a star for base classes."""
    if column >= ways:
        return "*"
    return _LETTERS[column] if column < len(_LETTERS) else str(column + 1)


def _show(axes: Axes, image: np.ndarray, left: float, top: float) -> None:
    grey = image.shape[-1] == 1
    axes.imshow(
        image[..., 0] if grey else image,
        cmap="gray" if grey else None,
        vmin=0,
        vmax=255,
        extent=(left, left + _TILE, top + _TILE, top),
        aspect="auto",
        interpolation="nearest" if image.shape[0] <= 32 else "antialiased",
    )


def _plane(seen: Observed, mode: Mode) -> Figure:
    found, names = seen.episode, seen.about["episode"]["classes"]
    made = style.figure(4.8)
    axes = made.subplots()
    right = found["after"] == found["labels"]
    for c, name in enumerate(names):
        color, marker = mode.cycle[c % len(mode.cycle)], _MARKERS[c % len(_MARKERS)]
        for good in (True, False):
            at = found["query_2d"][(found["labels"] == c) & (right == good)]
            face = color if good else "none"
            axes.scatter(
                at[:, 0],
                at[:, 1],
                s=22,
                marker=marker,
                facecolors=face,
                edgecolors=color,
                alpha=0.75,
            )
        stars = found["support_2d"][found["support_labels"] == c]
        axes.scatter(
            stars[:, 0],
            stars[:, 1],
            s=150,
            marker="*",
            color=color,
            edgecolors=mode.ink,
            linewidths=0.7,
            zorder=4,
        )
        label = f"{_letter(c, len(names))}  {style.short(name, 28)}"
        axes.plot([], [], marker, color=color, label=label)
        if "path_2d" in found:
            path = found["path_2d"][:, c]
            axes.plot(*path.T, color=color, linewidth=2.2, zorder=5)
            axes.plot(
                *path[0], "o", color=color, markerfacecolor=mode.paper, markersize=8, zorder=6
            )
            axes.plot(
                *path[-1], "X", color=color, markeredgecolor=mode.ink, markersize=10, zorder=6
            )
    share = 100 * found["explained"]
    axes.set_xlabel(f"first principal component ({share[0]:.0f} % of variance)")
    axes.set_ylabel(f"second ({share[1]:.0f} %)")
    axes.set_aspect("equal", adjustable="datalim")
    if len(names) <= 20:
        made.legend(loc="outside right upper")
    return made
