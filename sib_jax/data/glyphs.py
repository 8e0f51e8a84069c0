"""`glyphs`, the embedded data set: characters of the typefaces that matplotlib ships.

A class is a letter or digit (Latin, Greek, Cyrillic, Armenian, Georgian); an image shows it in one
of up to 16 faces, rotated, sheared, scaled, shifted, in ink of some strength on a ground of some
shade, blurred and noisy. Nothing is downloaded; everything is a function of `Settings` and of the
font files. Characters that look alike in any face (Latin A, Greek Alpha, Cyrillic A) are one class.
"""

import dataclasses
import hashlib
import logging
import math
import unicodedata
from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont

from sib_jax.data import cache, class_split
from sib_jax.data.split import SPLITS, DataSet

SIZE = 32  # pixels, height and width of an image

_VERSION = 1  # raise when the drawing changes: old cache entries are then not found
_FAMILIES = ("DejaVuSans", "DejaVuSansMono", "DejaVuSerif", "STIXGeneral")
_SCRIPTS = ("LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "GEORGIAN", "DIGIT")
_CATEGORIES = ("Lu", "Ll", "Lo", "Nd")
_FONT_SIZE = 64
_MASTER = 48  # pixels of a master drawing, which examples are sampled from

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the images look like; the defaults are the data set.

    Attributes:
      examples: images of each class.
      shares: of the classes for train, val and test.
      least_faces: a character is used when at least this many faces have it.
      alike: correlation of two drawings above which two characters are one.
      rotation: largest angle, in degrees, to either side.
      shear: largest horizontal shift per unit of height, to either side.
      scale: smallest and largest factor on the size, drawn for each axis around a common one.
      stretch: largest further factor between the axes, as a logarithm.
      shift: largest shift, in pixels, in each direction.
      ink: smallest difference between ink and ground, in 0..1.
      blur: largest standard deviation, in pixels.
      noise: largest standard deviation, in 0..1.
      seed: of everything random.
    """

    examples: int = 100
    shares: tuple[float, float, float] = (0.64, 0.16, 0.20)
    least_faces: int = 10
    alike: float = 0.88
    rotation: float = 25.0
    shear: float = 0.3
    scale: tuple[float, float] = (0.6, 1.1)
    stretch: float = 0.3
    shift: float = 4.0
    ink: float = 0.3
    blur: float = 1.0
    noise: float = 0.25
    seed: int = 0


def load(settings: Settings = Settings()) -> DataSet:
    """The data set, drawn once (a few seconds) and cached.

    Returns:
      Images uint8 [n, 32, 32, 1]; disjoint classes in about the shares 64/16/20, `examples` images
      each.
    """
    files = _font_files()
    fonts = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    key = cache.digest(_VERSION, settings, fonts)
    return cache.load_or_build("glyphs", key, lambda writer: build(writer, settings))


def build(writer: cache.Writer, settings: Settings) -> None:
    """Draws every split into `writer`."""
    log.info("drawing the data set glyphs (once; a few seconds)")
    masters = distinct_masters(settings)
    names = list(masters)
    order = np.random.default_rng(settings.seed).permutation(len(names))
    for split, part in zip(SPLITS, class_split.parts(len(names), settings.shares), strict=True):
        classes = sorted(names[i] for i in order[part])
        images = writer.allocate(split, (len(classes) * settings.examples, SIZE, SIZE, 1))
        for label, name in enumerate(classes):
            rows = slice(label * settings.examples, (label + 1) * settings.examples)
            # A generator for each class: its images do not depend on which split it is in.
            rng = np.random.default_rng([settings.seed, ord(name)])
            images[rows, :, :, 0] = _examples(masters[name], settings, rng)
        labels = np.repeat(np.arange(len(classes)), settings.examples)
        writer.describe(split, labels, [describe(name) for name in classes])


def describe(character: str) -> str:
    """Such as "U+0416 CYRILLIC CAPITAL LETTER ZHE"."""
    return f"U+{ord(character):04X} {unicodedata.name(character)}"


def distinct_masters(settings: Settings) -> dict[str, np.ndarray]:
    """Characters no two of which look alike, each with its master drawings.

    Characters are taken in the order of their code points (so Latin comes first); one that
    resembles an earlier one in any face both are in is left out.

    Returns:
      character -> float32 [faces it is in, 48, 48], ink in 0..1.
    """
    faces = {path: ImageFont.truetype(path, _FONT_SIZE) for path in _font_files()}
    maps = {path: set(FT2Font(path).get_charmap()) for path in faces}
    kept: dict[str, dict[Path, np.ndarray]] = {}
    signatures = {path: np.zeros((0, _MASTER**2), np.float32) for path in faces}
    for character in _candidates(maps, settings.least_faces):
        drawn = {
            path: drawing
            for path, font in faces.items()
            if ord(character) in maps[path] and (drawing := _draw(character, font)) is not None
        }
        if len(drawn) < settings.least_faces:
            continue
        found = dict(zip(drawn, _signatures(np.stack(list(drawn.values()))), strict=True))
        if any(np.any(signatures[p] @ s > settings.alike) for p, s in found.items()):
            continue
        kept[character] = drawn
        for path, signature in found.items():
            signatures[path] = np.vstack([signatures[path], signature])
    return {character: np.stack(list(drawn.values())) for character, drawn in kept.items()}


def _font_files() -> list[Path]:
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    files = (path for family in _FAMILIES for path in folder.glob(f"{family}*.ttf"))
    return sorted({path for path in files if "Display" not in path.name})


def _candidates(maps: Mapping[Path, set[int]], least_faces: int) -> list[str]:
    codes = sorted(set().union(*maps.values()))
    return [
        chr(code)
        for code in codes
        if sum(code in codes_of_face for codes_of_face in maps.values()) >= least_faces
        and unicodedata.category(chr(code)) in _CATEGORIES
        and unicodedata.name(chr(code), "").startswith(_SCRIPTS)
        # Accented letters are small variations of one shape.
        and not unicodedata.decomposition(chr(code))
        and " WITH " not in unicodedata.name(chr(code))
    ]


def _draw(character: str, font: ImageFont.FreeTypeFont) -> np.ndarray | None:
    """The character, its longer side scaled to 3/4 of the master's, centred; None if blank."""
    left, top, right, bottom = font.getbbox(character)
    width, height = math.ceil(right - left), math.ceil(bottom - top)
    if width < 1 or height < 1:
        return None
    image = Image.new("L", (width, height))
    ImageDraw.Draw(image).text((-left, -top), character, fill=255, font=font)
    factor = 0.75 * _MASTER / max(width, height)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    image = image.resize(size, Image.Resampling.BOX)
    master = Image.new("L", (_MASTER, _MASTER))
    master.paste(image, ((_MASTER - size[0]) // 2, (_MASTER - size[1]) // 2))
    return np.asarray(master, np.float32) / 255


def _signatures(drawings: np.ndarray) -> list[np.ndarray]:
    """Blurred drawings as vectors of mean 0 and length 1: products are correlations."""
    centred = [b.ravel() - b.mean() for b in _blur(drawings, np.full(len(drawings), 1.5))]
    return [vector / np.linalg.norm(vector) for vector in centred]


def _examples(masters: np.ndarray, settings: Settings, rng: np.random.Generator) -> np.ndarray:
    """Random images of one character, uint8 [examples, 32, 32]."""
    count = settings.examples
    faces = rng.integers(len(masters), size=count)
    images = _sample(masters[faces], _inverse_maps(settings, rng))
    images = _blur(images, settings.blur * rng.random(count))
    ground = rng.random(count) * (1 - settings.ink)
    ink = ground + settings.ink + rng.random(count) * (1 - settings.ink - ground)
    images = ground[:, None, None] + (ink - ground)[:, None, None] * images
    inverted = rng.random(count) < 0.5
    images = np.where(inverted[:, None, None], 1 - images, images)
    noise = settings.noise * rng.random(count)
    images = images + noise[:, None, None] * rng.standard_normal(images.shape)
    return np.clip(np.round(255 * images), 0, 255).astype(np.uint8)


def _inverse_maps(settings: Settings, rng: np.random.Generator) -> np.ndarray:
    """For each example the affine map from image to master coordinates, [examples, 2, 3]."""
    count = settings.examples
    smallest, largest = settings.scale
    angle = np.deg2rad(rng.uniform(-settings.rotation, settings.rotation, count))
    shear = rng.uniform(-settings.shear, settings.shear, count)
    scale = np.exp(rng.uniform(math.log(smallest), math.log(largest), count)) * SIZE / _MASTER
    stretch = np.exp(0.5 * rng.uniform(-settings.stretch, settings.stretch, count))
    cos, sin = np.cos(angle), np.sin(angle)
    rotation = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
    shape = np.zeros((count, 2, 2))  # scales, then shears
    shape[:, 0, 0], shape[:, 1, 1] = scale * stretch, scale / stretch
    shape[:, 0, 1] = shear * scale
    inverse = np.linalg.inv(rotation @ shape)
    shift = rng.uniform(-settings.shift, settings.shift, (count, 2))
    return np.concatenate([inverse, -inverse @ shift[..., None]], axis=2)


def _sample(masters: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Bilinear samples of masters [n, 48, 48] at the mapped pixels, [n, 32, 32]."""
    axis = np.arange(SIZE) - (SIZE - 1) / 2
    grid = np.stack([np.tile(axis, SIZE), np.repeat(axis, SIZE), np.ones(SIZE * SIZE)])
    x, y = np.moveaxis(maps @ grid, 1, 0) + (_MASTER - 1) / 2
    padded = np.pad(masters, ((0, 0), (1, 1), (1, 1)))
    x, y = (np.clip(c + 1, 0, _MASTER + 0.999) for c in (x, y))
    left, top = x.astype(int), y.astype(int)
    fx, fy = x - left, y - top
    rows = np.arange(len(masters))[:, None]
    upper = (1 - fx) * padded[rows, top, left] + fx * padded[rows, top, left + 1]
    lower = (1 - fx) * padded[rows, top + 1, left] + fx * padded[rows, top + 1, left + 1]
    return ((1 - fy) * upper + fy * lower).reshape(-1, SIZE, SIZE)


def _blur(images: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Gaussian blur of images [n, h, w], each with its own standard deviation [n] in pixels."""
    offsets = np.arange(-3, 4)
    weights = np.exp(-0.5 * (offsets / np.maximum(std, 1e-3)[:, None]) ** 2)
    weights /= weights.sum(axis=1, keepdims=True)
    for axis in (1, 2):
        margin = [(0, 0), (0, 0), (0, 0)]
        margin[axis] = (3, 3)
        padded = np.pad(images, margin, mode="edge")
        size = images.shape[axis]
        images = sum(
            weights[:, i, None, None] * padded.take(range(i, i + size), axis) for i in range(7)
        )
    return images
