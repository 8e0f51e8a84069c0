"""What a page is made of."""

from collections.abc import Sequence
from typing import NamedTuple

from sib_jax.report.style import Picture


class Table(NamedTuple):
    """A table; cells are plain text.

    Attributes:
      header: of each column.
      rows: each with as many cells.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


class Section(NamedTuple):
    """A part of a page.

    Attributes:
      title: what it is about.
      text: plain-text paragraphs, above the rest.
      tables: below it.
      pictures: below them.
    """

    title: str
    text: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
