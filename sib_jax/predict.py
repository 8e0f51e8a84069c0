"""Sorts your images into classes of which you give a few examples each.

python -m sib_jax.predict --run=WORKDIR --support=DIR --query=DIR
python -m sib_jax.predict --backbone=mini_imagenet-conv4_128 --support=DIR --query='DIR/*.jpg'
"""

import argparse
import collections
import csv
import functools
import glob
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sib_jax.command import Parser, mistakes_told, path, seed
from sib_jax.errors import UserError

if TYPE_CHECKING:
    from sib_jax.experiment.predictor import Prediction, Predictor

_SHOWN = 20  # queries of a class on the sheet
_EXAMPLES = 5  # of a class on the sheet
_NAMED = 5  # files in a message
_NO_IMAGE = "named like no image that Pillow reads (for HEIC: pip install pillow-heif)"
_NO_MORE = "links to what is counted already, or to nothing"
_BY_DISTANCE = ("simple_shot", "alpha_tim")  # to class means, as if all had as many examples
_STDOUT = "-"
_COLUMNS = ("image", "label", "probability")


class PredictError(UserError):
    """Images that cannot be used; the message says what is wanted."""


class Found(NamedTuple):
    """Image files.

    Attributes:
      names: of each as the user would write it, n of them.
      folders: the class folder that each lies in; "" for none.
      others: files beside them that are no images.
      links: beside them, to what is counted already or not there.
    """

    names: tuple[str, ...]
    folders: tuple[str, ...]
    others: tuple[str, ...] = ()
    links: tuple[str, ...] = ()


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command; a mistake of the user ends it with one line."""
    options = _parse(sys.argv[1:] if argv is None else argv)
    with mistakes_told():
        run(options)


def run(options: argparse.Namespace) -> None:
    """Predicts and writes what the options ask for."""
    # 1. The images are found, and mistakes in paths told, before anything slow is imported.
    support, query = find_support(options.support), find_query(options.query)
    _check_outputs(options, support, query)
    from sib_jax.experiment.loading import load
    from sib_jax.runtime import files

    tell = functools.partial(print, file=sys.stderr if options.out == _STDOUT else sys.stdout)
    predictor = load(
        options.run,
        options.head,
        steps=options.steps,
        backbone=options.backbone,
        method=options.method,
        image_size=options.image_size,
        ways=len(set(support.folders)),
    )
    if predictor.pretrained is None:
        raise PredictError(f"{options.run} was a run on features; images need one with a backbone")
    predictor.method(len(set(support.folders)))  # an error of numbers comes before decoding
    # 2. Decoded as the data sets are.
    for name, images in (("support", support), ("query", query)):
        if images.others:
            tell(f"left out of --{name}: {_listed(images.others)}, {_NO_IMAGE}")
        if images.links:
            tell(f"left out of --{name}: {_listed(images.links)}, {_NO_MORE}")
    channels = predictor.pretrained.backbone.channels
    examples = decode(support.names, predictor.image_size, channels)
    _check_classes(support, examples)
    queries = decode(query.names, predictor.image_size, channels)
    # 3. Predicted together: most methods learn from the queries too.
    found = predictor.predict(
        examples, support.folders, queries, seed=options.seed, base_classes=options.base_classes
    )
    # 4. Told.
    truth = [folder if folder in found.classes else None for folder in query.folders]
    table = as_csv(query.names, found)
    if options.out == _STDOUT:
        sys.stdout.buffer.write(files.encoded(table))
    else:
        files.write_text(options.out, table)
    for line in summary(predictor, support, query, found, truth):
        tell(files.shown(line))
    if options.out != _STDOUT:
        tell(f"wrote {files.shown(options.out)}")
    if options.sheet:
        write_sheet(Path(options.sheet), support, query, found, truth)
        tell(f"wrote {files.shown(options.sheet)}")


def find_support(folder: str) -> Found:
    """The images of each class folder.

    Raises:
      PredictError: there are fewer than two class folders, one without images, or an image in none.
    """
    root = Path(folder)
    if not root.is_dir():
        raise PredictError(
            f"--support={folder} is no folder; it must hold one folder of examples for each class"
        )
    found = _below(root)
    inside = [(n, f) for n, f in zip(found.names, found.folders, strict=True) if f]
    classes = sorted({f for _, f in inside})
    if len(classes) < 2:
        there = f"only {classes[0]!r} has" if classes else "there are none with"
        raise PredictError(
            f"--support={folder} must hold two or more class folders with images; {there} images"
        )
    if loose := [n for n, f in zip(found.names, found.folders, strict=True) if not f]:
        raise PredictError(
            f"--support={folder} has images in no class folder, {_listed(loose)}: put them into "
            "one, or take them away"
        )
    if empty := sorted(set(_folders(root)) - set(classes)):
        raise PredictError(
            f"--support={folder} has class folders without images, {_listed(empty)}: put examples "
            f"there, or take them away{_said(found.others)}"
        )
    names, folders = (tuple(part) for part in zip(*inside, strict=True))
    return found._replace(names=names, folders=folders)


def find_query(given: str) -> Found:
    """The images of a folder, of a folder of class folders, of a glob, or one image.

    Raises:
      PredictError: there are none.
    """
    from sib_jax.data.reading.files import is_image

    place = Path(given)
    if place.is_dir():
        found = _below(place)
    else:
        one = place.is_file()  # its name may have brackets
        matches = [str(place)] if one else sorted(glob.glob(str(place), recursive=True))
        names = tuple(n for n in matches if is_image(Path(n).name) and os.path.isfile(n))
        known = set(names)
        others = tuple(n for n in matches if n not in known and os.path.isfile(n))
        found = Found(names, tuple(Path(n).parent.name for n in names), others)
    if not found.names:
        what = "holds no images" if place.is_dir() else "is no folder, and matches no image files"
        raise PredictError(f"--query={given} {what}{_said(found.others)}")
    return found


def _below(root: Path) -> Found:
    """All images below a folder, in order, with the folder right below it that they lie in."""
    from sib_jax.data.reading import files
    from sib_jax.data.reading.walk import walk

    with files.reading(root):
        walked = walk(root, [""], leave=True)
    there = [n for n in walked.names[""] if not files.is_hidden(n)]
    names = [n for n in there if files.is_image(n)]
    folders = tuple(n.split("/")[0] if "/" in n else "" for n in names)
    others = [n for n in there if not files.is_image(n)]
    links = [n for n in (*walked.again, *walked.broken) if not files.is_hidden(n)]
    return Found(_at(root, names), folders, _at(root, others), _at(root, links))


def _at(root: Path, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(root / name) for name in names)


def _folders(root: Path) -> list[str]:
    from sib_jax.data.reading.files import is_hidden

    return [path.name for path in root.iterdir() if path.is_dir() and not is_hidden(path.name)]


def _said(others: Sequence[str]) -> str:
    return f" ({_listed(others)}: {_NO_IMAGE})" if others else ""


def _listed(names: Sequence[str]) -> str:
    """The first of them."""
    from sib_jax.runtime.files import shown

    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(shown(name) for name in names[:_NAMED]) + more


def _check_outputs(options: argparse.Namespace, support: Found, query: Found) -> None:
    """Raises where an image would be overwritten, or a file cannot be written."""
    from sib_jax.runtime.files import check_folder

    images = {os.path.realpath(name) for name in (*support.names, *query.names)}
    for name in ("out", "sheet"):
        if (given := getattr(options, name)) and os.path.realpath(given) in images:
            raise PredictError(f"--{name}={given} is one of the images: name another file")
        if given and given != _STDOUT:
            if os.path.isdir(given):
                raise PredictError(f"--{name}={given} is a folder: name a file, in it or elsewhere")
            check_folder(Path(given).parent)


def _check_classes(support: Found, examples: np.ndarray) -> None:
    """Raises `PredictError` where an image is an example of two classes, or a name is taken."""
    if taken := set(_COLUMNS) & set(support.folders):
        raise PredictError(
            f"--support has a class {taken.pop()}, which is a column of the answer already: "
            "name it otherwise"
        )
    known: dict[bytes, int] = {}
    for row, pixels in enumerate(examples):
        first = known.setdefault(pixels.tobytes(), row)
        if support.folders[first] != support.folders[row]:
            raise PredictError(
                f"{support.names[first]} and {support.names[row]} are the same image, as examples "
                "of two classes: take one away"
            )


def decode(names: Sequence[str], size: int, channels: int) -> np.ndarray:
    """Images as the data sets store them, uint8 [n, size, size, channels]."""
    from concurrent.futures import ThreadPoolExecutor

    from sib_jax.data.errors import DataError
    from sib_jax.data.reading import files
    from sib_jax.data.reading.decode import decode_one, too_large_refused

    def one(name: str) -> np.ndarray | DataError:
        try:
            return decode_one(io.BytesIO(files.content(Path(name))), size, channels, name)
        except DataError as error:
            return error

    with (
        too_large_refused(),
        ThreadPoolExecutor() as pool,  # Pillow decodes without Python's lock
    ):
        found = list(pool.map(one, names))
    bad = [image for image in found if isinstance(image, DataError)]
    if len(bad) > 1:
        raise PredictError(f"{len(bad)} images cannot be used: {'; '.join(map(str, bad))}")
    if bad:
        raise bad[0]
    return np.stack([image for image in found if not isinstance(image, DataError)])


def as_csv(names: Sequence[str], found: "Prediction") -> str:
    """A line for each query: image, label, probability, one probability a class, and its spread."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    spread = [] if found.spread is None else [f"spread {c}" for c in found.classes]
    table.writerow([*_COLUMNS, *found.classes, *spread])
    for row, (name, label) in enumerate(zip(names, found.labels, strict=True)):
        of = found.probabilities[row]
        values = [of.max(), *of, *([] if found.spread is None else found.spread[row])]
        table.writerow([name, label, *(f"{value:.4f}" for value in values)])
    return text.getvalue()


def summary(
    predictor: "Predictor",
    support: Found,
    query: Found,
    found: "Prediction",
    truth: Sequence[str | None],
) -> list[str]:
    """What was found, in lines: how many of each class, how sure, and the accuracy if known."""
    labels, sure = np.array(found.labels), found.probabilities.max(axis=1)
    lines = [
        f"{len(labels)} images among {len(found.classes)} classes by {len(support.names)} "
        f"examples, {predictor.name}"
    ]
    width = max(len(str(name)) for name in found.classes)
    for name in found.classes:
        of = sure[labels == name]
        if name in predictor.head.base and not len(of):
            continue  # there may be many
        said = f", {of.mean():.0%} sure" if len(of) else ""
        lines.append(f"  {name:<{width}} {len(of):5d} images{said}")
    lines.append(f"on average {sure.mean():.0%} sure; {np.sum(sure < 0.5)} images below 50%")
    known = [(label, t) for label, t in zip(found.labels, truth, strict=True) if t is not None]
    if known:
        right = sum(label == t for label, t in known)
        which = "" if len(known) == len(truth) else " that lie in a folder of a class"
        lines.append(f"accuracy {right / len(known):.1%}: {right} of {len(known)} images{which}")
    of_class = set(collections.Counter(support.folders).values())
    if len(of_class) > 1 and predictor.name.startswith(_BY_DISTANCE):
        lines.append(
            f"{predictor.name} rarely chooses a class of fewer examples than the others have; "
            "soft_kmeans takes any number"
        )
    both = {os.path.realpath(n) for n in support.names} & {os.path.realpath(n) for n in query.names}
    if both:
        lines.append(f"{len(both)} of the images are among the examples too")
    return lines


def write_sheet(
    path: Path, support: Found, query: Found, found: "Prediction", truth: Sequence[str | None]
) -> None:
    """The contact sheet: the examples of each class, and the queries taken for it."""
    from sib_jax.report import contact_sheet
    from sib_jax.report.contact_sheet import Section, Tile

    sure, labels = found.probabilities.max(axis=1), found.labels
    sections = []
    for name in found.classes:
        if name not in support.folders and name not in labels:
            continue  # a base class
        examples = [n for n, f in zip(support.names, support.folders, strict=True) if f == name]
        rows = sorted(
            (r for r, label in enumerate(labels) if label == name), key=lambda r: -sure[r]
        )
        shown = [
            Tile(_thumbnail(query.names[r]), f"{sure[r]:.0%}", truth[r] not in (None, name))
            for r in rows[:_SHOWN]
        ]
        more = f", {_SHOWN} shown" if len(rows) > _SHOWN else ""
        title = f"{name}: {len(rows)} images{more}"
        tiles = [Tile(_thumbnail(n), "") for n in examples[:_EXAMPLES]]
        sections.append(Section(title, tiles, shown))
    contact_sheet.write(path, sections)


def _thumbnail(name: str) -> np.ndarray:
    return decode([name], 96, 3)[0]


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser("sib_jax.predict", __doc__)
    add = parser.add_argument
    add("--run", metavar="WORKDIR", type=path, help="a finished run of sib_jax.main")
    add(
        "--head",
        metavar="NAME",
        help="one of its heads; default: the best one on validation that serves as many classes",
    )
    add("--steps", metavar="T", type=int, help="instead of --head: the head of SIB with this T")
    add(
        "--backbone",
        metavar="NAME_OR_FILE",
        type=path,
        help="instead of --run: a shipped backbone, or a file",
    )
    add(
        "--method",
        metavar="NAME",
        help="with --backbone: one that needs no training, or sib_plus where the backbone has a "
        "head; default: that for up to 20 classes, else soft_kmeans",
    )
    add(
        "--image_size",
        metavar="PIXELS",
        type=int,
        help="with --backbone: what images are scaled to; 32 for an official backbone of CIFAR-FS",
    )
    add(
        "--support",
        metavar="DIR",
        type=path,
        required=True,
        help="one folder of examples for each class",
    )
    add(
        "--query",
        metavar="DIR_OR_GLOB",
        type=path,
        required=True,
        help="the images to sort; in folders named like the classes, the accuracy is told too",
    )
    add(
        "--base_classes",
        action="store_true",
        help="with a run of learning without forgetting: images may be of its training classes too",
    )
    out = "default: predictions.csv; - for the standard output"
    add("--out", metavar="FILE", type=path, default="predictions.csv", help=out)
    add("--sheet", metavar="FILE", type=path, help="a contact sheet, as PNG")
    add("--seed", type=seed, default=0, help="of the samples of a Gaussian posterior")
    options, more = parser.parse_known_args(argv)
    if more:
        files = any(os.path.exists(word) for word in more)
        hint = "; a pattern goes in quotes: --query='DIR/*.jpg'" if files else ""
        parser.error(f"unrecognized arguments: {_listed(more)}{hint}")
    if (options.run is None) == (options.backbone is None):
        parser.error("give --run=WORKDIR of a finished run, or --backbone=NAME_OR_FILE")
    if options.backbone is not None and options.head is not None:
        parser.error("--head is one of a run: it goes with --run")
    if options.run is not None and options.method is not None:
        parser.error("--method goes with --backbone; a run has its heads: --head")
    if options.run is not None and options.image_size is not None:
        parser.error("--image_size goes with --backbone; a run has its own")
    if options.sheet and not options.sheet.lower().endswith(".png"):
        parser.error("--sheet is a PNG file: let its name end with .png")
    if options.sheet and os.path.realpath(options.sheet) == os.path.realpath(options.out):
        parser.error("--sheet and --out are the same file")
    if options.image_size is not None and options.image_size < 16:
        parser.error("--image_size must be 16 or more")
    return options


if __name__ == "__main__":
    main()
