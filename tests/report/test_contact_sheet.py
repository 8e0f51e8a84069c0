"""The contact sheet: what is drawn where."""

import numpy as np
import pytest

from sib_jax.report import contact_sheet
from sib_jax.report.contact_sheet import Section, Tile

_GRAY = np.full((4, 4, 3), 128, np.uint8)


def _title(text):
    """The pixels of a section's title."""
    sheet = contact_sheet.draw([Section(text, [Tile(_GRAY, "a")], [])])
    return np.asarray(sheet)[: contact_sheet._TEXT + contact_sheet._GAP]


# The second pair is not in DejaVu Sans, but in STIX, which comes with matplotlib too.
@pytest.mark.parametrize("pair", [("A", "B"), ("\u1d84", "\u1d8d")])
def test_titles_of_different_characters_look_different(pair):
    first, second = map(_title, pair)
    assert (first < 128).any()
    assert not np.array_equal(first, second)


def test_what_no_font_has_is_drawn_as_boxes():
    assert (_title("\U0010fffd") < 128).any()


def test_frames_tell_examples_and_mistakes():
    sheet = contact_sheet.draw(
        [Section("cat", [Tile(_GRAY, "a")], [Tile(_GRAY, "b"), Tile(_GRAY, "c", wrong=True)])]
    )
    colours = {tuple(c) for c in np.asarray(sheet).reshape(-1, 3)}
    assert (0x30, 0x60, 0xC0) in colours
    assert (0xD0, 0x20, 0x20) in colours
    without = contact_sheet.draw([Section("cat", [Tile(_GRAY, "a")], [Tile(_GRAY, "b")])])
    assert (0xD0, 0x20, 0x20) not in {tuple(c) for c in np.asarray(without).reshape(-1, 3)}
