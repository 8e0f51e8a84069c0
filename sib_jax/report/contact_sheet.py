"""A contact sheet: the examples of each class, beside the queries taken for it, as a PNG."""

import functools
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib import ft2font
from PIL import Image, ImageDraw, ImageFont

from sib_jax.runtime import files

_TILE, _GAP, _TEXT = 96, 8, 14  # pixels
_COLUMNS = 10  # queries in a row
_INK, _PAPER, _FRAME, _WRONG = "#202020", "white", "#3060c0", "#d02020"


class Tile(NamedTuple):
    """A picture and the caption below it.

    Attributes:
      image: uint8 [h, w, 3].
      caption: one short line.
      wrong: whether it is known to be of another class; it gets a red frame.
    """

    image: np.ndarray
    caption: str
    wrong: bool = False


class Section(NamedTuple):
    """One class.

    Attributes:
      title: its name, and how many queries were taken for it.
      examples: of the support set, in a blue frame.
      queries: taken for this class, the surest first.
    """

    title: str
    examples: Sequence[Tile]
    queries: Sequence[Tile]


def write(path: str | Path, sections: Sequence[Section]) -> None:
    """Writes the sheet, with one class below the other."""
    content = io.BytesIO()
    draw(sections).save(content, "PNG")
    files.write_bytes(path, content.getvalue())


def draw(sections: Sequence[Section]) -> Image.Image:
    """The sheet as an image."""
    examples = max((len(s.examples) for s in sections), default=0)
    columns = examples + 1 + _COLUMNS
    heights = [_height(section) for section in sections]
    sheet = Image.new("RGB", (columns * (_TILE + _GAP) + _GAP, sum(heights) + _GAP), _PAPER)
    pen = ImageDraw.Draw(sheet)
    top = _GAP
    for section, height in zip(sections, heights, strict=True):
        pen.text((_GAP, top), section.title, _INK, _font(section.title))
        row = top + _TEXT + _GAP
        for column, tile in enumerate(section.examples):
            _paste(sheet, pen, tile, column, row, _FRAME)
        for i, tile in enumerate(section.queries):
            down, across = divmod(i, _COLUMNS)
            frame = _WRONG if tile.wrong else None
            _paste(sheet, pen, tile, examples + 1 + across, row + down * _line(), frame)
        top += height
    return sheet


def _paste(
    sheet: Image.Image,
    pen: ImageDraw.ImageDraw,
    tile: Tile,
    column: int,
    top: int,
    frame: str | None,
) -> None:
    left = _GAP + column * (_TILE + _GAP)
    sheet.paste(Image.fromarray(tile.image).resize((_TILE, _TILE)), (left, top))
    if frame:
        pen.rectangle((left - 3, top - 3, left + _TILE + 2, top + _TILE + 2), None, frame, 3)
    pen.text((left, top + _TILE + 4), tile.caption, _INK, _font(tile.caption))


def _height(section: Section) -> int:
    rows = max(1, -(-len(section.queries) // _COLUMNS))
    return _TEXT + 2 * _GAP + rows * _line()


def _line() -> int:
    return _TILE + _TEXT + _GAP


def _font(text: str) -> ImageFont.FreeTypeFont:
    """matplotlib's own font, or one of this machine for characters that it lacks, such as Chinese.

    Where there is none, such characters are drawn as boxes.
    """
    path = str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))
    wanted = {ord(c) for c in text if c.isprintable()}
    if not wanted <= _characters(path):
        path = next((other for other in _others() if wanted <= _characters(other)), path)
    return _open(path)


@functools.cache
def _open(path: str) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, _TEXT - 2)


@functools.cache
def _others() -> list[str]:
    """The fonts that matplotlib knows of on this machine."""
    from matplotlib import font_manager  # looks for them when it is imported

    fonts = font_manager.fontManager.ttflist
    # "Last Resort" has every character, drawn as a box.
    return sorted({font.fname for font in fonts if not font.name.startswith("Last Resort")})


@functools.cache
def _characters(path: str) -> frozenset[int]:
    try:
        return frozenset(ft2font.FT2Font(path).get_charmap())
    except (OSError, RuntimeError):  # removed since matplotlib made its list, or unreadable
        return frozenset()
