import unicodedata

import matplotlib
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from sib_jax.data import glyphs
from sib_jax.data.split import SPLITS
from sib_jax.runtime.cache_dir import cache_dir


@pytest.fixture(scope="module")
def data():
    return glyphs.load()


def _characters(split):
    return [chr(int(name.split()[0].removeprefix("U+"), 16)) for name in split.class_names]


def test_there_are_enough_classes_and_examples(data):
    for name, least in zip(SPLITS, (64, 16, 20), strict=True):
        split = data.split(name)
        assert len(split.class_names) >= least
        assert split.class_counts.min() >= 100
        assert split.images.shape == (len(split.labels), 32, 32, 1)
        assert split.images.dtype == np.uint8
        assert np.all(np.diff(split.labels) >= 0)


def test_classes_are_disjoint(data):
    names = [name for split in SPLITS for name in data.split(split).class_names]
    assert len(set(names)) == len(names)


def test_names_say_which_character(data):
    for name, character in zip(data.test.class_names, _characters(data.test), strict=True):
        assert name.endswith(unicodedata.name(character))


@pytest.mark.parametrize(
    "alike", ["AΑА", "oOοОо0Օօ", "cCсС", "pPρРр", "xXхХ", "Зз3", "sSѕЅ", "lIΙІ"]
)
def test_homoglyphs_are_at_most_one_class(data, alike):
    kept = {c for split in SPLITS for c in _characters(data.split(split))}
    assert len(kept & set(alike)) <= 1


def test_no_two_classes_look_the_same(data):
    # Not the drawings the data set compares: one face, another size, overlap of thresholded shapes.
    font = ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf", 90)
    shapes = []
    for character in [c for split in SPLITS for c in _characters(data.split(split))]:
        left, top, right, bottom = font.getbbox(character)
        image = Image.new("L", (round(right - left), round(bottom - top)))
        ImageDraw.Draw(image).text((-left, -top), character, fill=255, font=font)
        image.thumbnail((32, 32))
        canvas = Image.new("L", (40, 40))
        canvas.paste(image, ((40 - image.width) // 2, (40 - image.height) // 2))
        shapes.append(np.asarray(canvas).ravel() > 100)
    shapes = np.stack(shapes).astype(float)
    both = shapes @ shapes.T
    either = shapes.sum(1)[:, None] + shapes.sum(1)[None] - both
    overlap = both / either - np.eye(len(shapes))
    assert overlap.max() < 0.85


def test_images_of_a_class_differ_but_share_their_shape(data):
    images = data.train.images[:100, :, :, 0].astype(float)
    assert len(np.unique(images.reshape(100, -1), axis=0)) == 100
    # Pixels in the middle are inked more often than those at the corners.
    contrast = np.abs(images - np.median(images, axis=(1, 2), keepdims=True)).mean(0)
    assert contrast[8:24, 8:24].mean() > 1.2 * contrast[:4, :4].mean()


def test_the_same_settings_give_the_same_images(tmp_path, monkeypatch):
    settings, candidates = glyphs.Settings(examples=3), glyphs._candidates
    # Not all, which takes seconds: some of each script.
    monkeypatch.setattr(glyphs, "_candidates", lambda *given: candidates(*given)[::8])
    prints = []
    for name in ("one", "two"):
        monkeypatch.setenv("SIB_JAX_CACHE", str(tmp_path / name))
        prints.append([glyphs.load(settings).split(s).fingerprint for s in SPLITS])
    assert prints[0] == prints[1]
    assert glyphs.load(glyphs.Settings(examples=3, seed=1)).train.fingerprint != prints[0][0]


def test_the_second_time_comes_from_the_cache(data, monkeypatch):
    monkeypatch.setattr(glyphs, "build", lambda *_: pytest.fail("drawn again"))
    assert glyphs.load().train.fingerprint == data.train.fingerprint
    assert isinstance(glyphs.load().train.images, np.memmap)
    assert cache_dir().exists()
