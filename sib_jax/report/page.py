"""Writes report.html of a run, and its pictures."""

from collections.abc import Callable, Sequence
from pathlib import Path

from sib_jax.report import (
    accuracies,
    confusion,
    episode,
    html,
    inner_loop,
    learning_curves,
    reliability,
    style,
)
from sib_jax.report import run as runs
from sib_jax.report.run import Run
from sib_jax.report.section import Section
from sib_jax.runtime import files
from sib_jax.runtime.console import log
from sib_jax.runtime.words import one_line, shown

FILE = "report.html"
FOLDER = "report"

_SECTIONS: tuple[Callable[[Run], Section | None], ...] = (
    accuracies.section,
    learning_curves.section,
    inner_loop.section,
    reliability.section,
    confusion.section,
    episode.section,
)


def tell(workdir: Path) -> None:
    """Writes the report, and logs where it is, or why there is none."""
    try:
        path = write(workdir)
    except Exception as error:  # a failed picture must not harm the results
        log.warning("no report: %s", one_line(error))
    else:
        log.info("report: %s", shown(path))


def write(workdir: Path) -> Path:
    """Writes <workdir>/report.html and the PNGs in <workdir>/report/, from the files of the run.

    Each part needs something from the run, and is left out where that is missing. The same files
    give the same page.

    Returns:
      The path of the page.

    Raises:
      ReportError: there is no finished run.
      FileError: the page cannot be written.
    """
    run = runs.read(workdir)
    sections = [found for make in _SECTIONS if (found := _made(make, run)) is not None]
    row = run.rows[0]
    backbone = f", backbone {row['backbone']}" if row["backbone"] else ""
    about = f"{row['dataset']}, {row['setting']} setting{backbone}, seed {row['seed']}"
    config = workdir / "config.json"
    details = {"config.json": config.read_text(encoding="utf-8")} if config.is_file() else {}
    return save(workdir / FILE, workdir / FOLDER, workdir.absolute().name, about, sections, details)


def save(
    path: Path,
    folder: Path,
    title: str,
    about: str,
    sections: Sequence[Section],
    details: dict[str, str],
) -> Path:
    """Draws the pictures of some sections, writes them to `folder`, and the page to `path`."""
    pictures = {}
    for picture in (picture for section in sections for picture in section.pictures):
        try:
            pictures[picture.name] = {mode.name: style.png(picture, mode) for mode in style.MODES}
        except Exception as error:  # one picture fewer, and a line in the log
            log.warning("report: no picture %s: %s", picture.name, one_line(error))
            continue
        for mode, content in pictures[picture.name].items():
            suffix = "" if mode == style.LIGHT.name else f"_{mode}"
            files.write_bytes(folder / f"{picture.name}{suffix}.png", content)
    files.write_text(path, html.page(title, about, sections, pictures, details))
    return path


def _made(make: Callable[[Run], Section | None], run: Run) -> Section | None:
    try:
        return make(run)
    except Exception as error:  # one part fewer, and a line in the log
        name = make.__module__.rsplit(".", 1)[-1]
        log.warning("report: without %s: %s", name, one_line(error))
        return None
