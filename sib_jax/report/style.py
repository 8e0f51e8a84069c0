"""How pictures look, on white and on black paper."""

import io
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

WIDTH = 9.2  # inches of a picture that fills the page
_DPI = 150
PER_PIXEL = _DPI / 100  # pixels of the picture for one of the page, for sharp screens


class Mode(NamedTuple):
    """Colours.

    Attributes:
      name: "light" or "dark".
      paper: background.
      ink: text and axes.
      faint: grid, and what is not the point.
      good: a right answer that was wrong before.
      bad: a wrong answer.
      shades: a matplotlib colour map, from none to all.
      cycle: of lines, also distinguishable by the colour-blind.
    """

    name: str
    paper: str
    ink: str
    faint: str
    good: str
    bad: str
    shades: str
    cycle: tuple[str, ...]


LIGHT = Mode(
    *("light", "#ffffff", "#24292f", "#d0d7de", "#1a7f37", "#cf222e", "Blues"),
    ("#0969da", "#bc4c00", "#1a7f37", "#8250df", "#bf3989", "#9a6700", "#57606a", "#1b7c83"),
)
DARK = Mode(
    *("dark", "#0d1117", "#e6edf3", "#30363d", "#3fb950", "#ff7b72", "magma"),
    ("#58a6ff", "#f0883e", "#3fb950", "#bc8cff", "#ff7bb5", "#e3b341", "#8b949e", "#56d4dd"),
)
MODES = (LIGHT, DARK)


class Picture(NamedTuple):
    """One picture.

    Attributes:
      name: of its files.
      alt: what it shows, in words.
      draw: makes the figure.
      caption: how to read it; placed above it.
    """

    name: str
    alt: str
    draw: Callable[[Mode], Figure]
    caption: str = ""


def figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure, of so many inches."""
    made = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(made)
    return made


def line(index: int, mode: Mode) -> dict[str, str]:
    """Colour and dashes of line number `index`: there may be more lines than colours."""
    turn, place = divmod(index, len(mode.cycle))
    return {"color": mode.cycle[place], "linestyle": ("-", "--", ":", "-.")[turn % 4]}


def below(axes: Axes, of: Figure) -> None:
    """One legend for a whole figure, under it."""
    handles, labels = axes.get_legend_handles_labels()
    of.legend(handles, labels, loc="outside lower center", ncols=min(4, max(len(labels), 1)))


def short(name: str, most: int = 16) -> str:
    """A name, shortened in its middle to fit: names differ mostly at their ends."""
    if len(name) <= most:
        return name
    end = (most - 1) // 2
    return f"{name[: most - 1 - end]}…{name[len(name) - end :]}"


def png(picture: Picture, mode: Mode) -> bytes:
    """The picture as a PNG; the same bytes for the same numbers."""
    with matplotlib.rc_context(_settings(mode)), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of characters that the typeface lacks
        made = picture.draw(mode)
        content = io.BytesIO()
        made.savefig(content, format="png", dpi=_DPI, metadata={"Software": None})
    return content.getvalue()


def _settings(mode: Mode) -> dict[Any, Any]:
    """Settings that ignore a user's matplotlibrc, so that reports look the same everywhere."""
    default = matplotlib.rcParamsDefault
    return {
        **{name: value for name, value in default.items() if not name.startswith("backend")},
        "figure.facecolor": mode.paper,
        "savefig.facecolor": mode.paper,
        "axes.facecolor": mode.paper,
        "axes.edgecolor": mode.faint,
        "axes.labelcolor": mode.ink,
        "axes.titlesize": 10,
        "axes.titlelocation": "left",
        "axes.titlecolor": mode.ink,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": mode.faint,
        "grid.linewidth": 0.6,
        "text.color": mode.ink,
        "text.parse_math": False,  # a class may be called $x$
        "xtick.color": mode.ink,
        "ytick.color": mode.ink,
        "font.size": 9,
        "legend.frameon": False,
        "lines.linewidth": 1.8,
    }
