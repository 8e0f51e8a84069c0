"""Sorts your images into classes, given a few examples of each.

python -m sib_jax.predict --run=WORKDIR --support=DIR --query=DIR
python -m sib_jax.predict --backbone=mini_imagenet-conv4_128 --support=DIR --query='DIR/*.jpg'
python -m sib_jax.predict --encoder=timm:MODEL --support=DIR --query=DIR
"""

import argparse
import collections
import contextlib
import csv
import functools
import io
import os
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sib_jax.command import Parser, import_files, mistakes_told, path, seed
from sib_jax.data import sorted_copies
from sib_jax.data.given_images import (
    Found,
    Reader,
    check_distinct,
    encoded,
    find_query,
    find_support,
    read,
    read_readable,
    stored,
)
from sib_jax.errors import UserError
from sib_jax.runtime import console
from sib_jax.runtime.words import counted, listed, shown

if TYPE_CHECKING:
    from sib_jax.experiment.predictor import Prediction, Predictor

_SHOWN = 20  # queries of a class on the sheet
_EXAMPLES = 5  # of a class on the sheet
_CLASSES = 100  # on the sheet
_BY_DISTANCE = ("simple_shot", "alpha_tim")  # to class means, as if all had as many examples
_STDOUT = "-"
_COLUMNS = ("image", "label", "probability")


class PredictError(UserError):
    """Something cannot be predicted from, or written; the message says what is wanted."""


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command; a user's mistake ends it with one line."""
    options = _parse(sys.argv[1:] if argv is None else argv)
    console.write_any_character()
    with mistakes_told():
        run(options)


def run(options: argparse.Namespace) -> None:
    """Predicts and writes what the options ask for."""
    # 1. The images are found, and wrong paths reported, before anything slow is imported.
    import_files(options.imported)
    support, query = find_support(options.support), find_query(options.query)
    _check_outputs(options, support, query)
    _check_names(support, options.sure)
    from sib_jax.experiment.loading import load
    from sib_jax.runtime import files, programs

    programs.keep()
    tell = functools.partial(print, file=sys.stderr if options.out == _STDOUT else sys.stdout)
    predictor = load(
        options.run,
        options.head,
        steps=options.steps,
        backbone=options.backbone,
        method=options.method,
        image_size=options.image_size,
        ways=len(set(support.folders)),
        encoder=options.encoder,
    )
    reader = _reader(predictor, options.run)
    predictor.method(len(set(support.folders)))  # wrong numbers are reported before decoding
    # 2. Decoded as the data sets are, or encoded.
    for name, images in (("support", support), ("query", query)):
        for reason, left_out in images.left_out.items():
            tell(f"left out of --{name}: {listed(left_out)}, {reason}")
    examples, decoded = read(support.names, reader)
    check_distinct(support, decoded)
    query, queries, refused = read_readable(query, reader)
    for reason in refused:
        tell(f"left out: {shown(reason)}")
    # 3. Predicted together: most methods learn from the queries too.
    found = predictor.predict(
        examples,
        support.folders,
        queries,
        seed=options.seed,
        base_classes=options.base_classes,
    )
    # 4. Written and reported. Copies come first: other files may be meant to go beside them.
    folders = sorted_into(found, options.sure)
    if options.copy_to:
        sorted_copies.write(options.copy_to, query.names, folders)
    truth = true_classes(query.folders, found.classes)
    table = as_csv(query.names, found)
    if options.out == _STDOUT:
        sys.stdout.buffer.write(files.encoded(table))
    else:
        files.write_text(options.out, table)
    for line in summary(predictor, support, query, found, truth):
        tell(shown(line))
    if options.out != _STDOUT:
        tell(f"wrote {shown(options.out)}")
    if options.sheet:
        write_sheet(Path(options.sheet), support, query, found, truth)
        tell(f"wrote {shown(options.sheet)}")
    if options.copy_to:
        unsure = folders.count(sorted_copies.UNSURE)
        said = f", {unsure} of them to {sorted_copies.UNSURE}" if options.sure else ""
        tell(f"copied {counted(len(folders), 'image')} to {shown(options.copy_to)}{said}")


def _reader(predictor: "Predictor", run: str | None) -> Reader:
    """How image files become what the predictor reads."""
    if predictor.encoder is not None:
        return encoded(predictor.encoder.features)
    if predictor.pretrained is None:
        raise PredictError(
            f"{run} was a run on features; images need a run with a backbone, or --encoder with "
            "the encoder that made the features"
        )
    return stored(predictor.image_size, predictor.pretrained.backbone.channels)


def _check_outputs(options: argparse.Namespace, support: Found, query: Found) -> None:
    """Raises where an image would be overwritten, or a file cannot be written."""
    from sib_jax.runtime.files import check_file

    images = {os.path.realpath(name) for name in (*support.names, *query.names)}
    for name in ("out", "sheet"):
        if (given := getattr(options, name)) and os.path.realpath(given) in images:
            raise PredictError(f"--{name}={given} is one of the images: name another file")
        if given and given != _STDOUT:
            if os.path.isdir(given):
                raise PredictError(f"--{name}={given} is a folder: name a file, in it or elsewhere")
            check_file(given)
    if options.copy_to:
        sorted_copies.check(options.copy_to, (options.support, options.query))


def _check_names(support: Found, sure: float) -> None:
    """Raises `PredictError` if a class has the name of a column or a folder of the answer."""
    if sure and sorted_copies.UNSURE in support.folders:
        raise PredictError(
            f"--support has a class named {sorted_copies.UNSURE}, the folder where --sure puts "
            "images of no class: give it another name"
        )
    if taken := set(_COLUMNS) & set(support.folders):
        raise PredictError(
            f"--support has a class named {taken.pop()}, which is already a column of the answer: "
            "give it another name"
        )


def true_classes(folders: Sequence[str], classes: Sequence[str]) -> list[str | None]:
    """For each query, the class that its folder is named after; None for no class.

    A name is the same in both forms of Unicode: file systems differ in which they keep.
    """
    known = {unicodedata.normalize("NFC", name): name for name in classes}
    return [known.get(unicodedata.normalize("NFC", folder)) for folder in folders]


def sorted_into(found: "Prediction", sure: float) -> list[str]:
    """For each query, the folder for its copy: its class, or `UNSURE` if it is less probable."""
    likely = found.probabilities.max(axis=1) >= sure
    return [
        str(label) if enough else sorted_copies.UNSURE
        for label, enough in zip(found.labels, likely, strict=True)
    ]


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
    base = set(predictor.head.base)
    lines = [
        f"{counted(len(labels), 'image')} sorted into {len(found.classes)} classes from "
        f"{len(support.names)} examples, by {predictor.name}"
    ]
    width = max(len(str(name)) for name in found.classes)
    for name in found.classes:
        of = sure[labels == name]
        if name in base and not len(of):
            continue  # there may be many
        said = f", {of.mean():.0%} sure" if len(of) else ""
        noun = "image" if len(of) == 1 else "images"
        lines.append(f"  {name:<{width}} {len(of):5d} {noun}{said}")
    low = counted(np.sum(sure < 0.5), "image")
    lines.append(
        f"on average {sure.mean():.0%} sure (the probability of the class); {low} below 50%"
    )
    known = [(label, t) for label, t in zip(found.labels, truth, strict=True) if t is not None]
    if known:
        right = sum(label == t for label, t in known)
        of_all = counted(len(known), "image")
        which = "" if len(known) == len(truth) else " in folders named after a class"
        lines.append(f"accuracy {right / len(known):.1%}: {right} of {of_all}{which}")
    almost = {str(name).casefold(): name for name in found.classes}
    for folder in sorted({f for f, t in zip(query.folders, truth, strict=True) if t is None}):
        if folder.casefold() in almost:
            lines.append(f"folder {folder} is not class {almost[folder.casefold()]}: not counted")
    of_class = set(collections.Counter(support.folders).values())
    if len(of_class) > 1 and predictor.name.startswith(_BY_DISTANCE):
        lines.append(
            f"{predictor.name} rarely chooses a class with fewer examples than the others; "
            "soft_kmeans takes any number"
        )
    lines += predictor.notes
    both = {os.path.realpath(n) for n in support.names} & {os.path.realpath(n) for n in query.names}
    if both:
        lines.append(f"images that are also among the examples: {len(both)}")
    return lines


def write_sheet(
    path: Path, support: Found, query: Found, found: "Prediction", truth: Sequence[str | None]
) -> None:
    """The contact sheet: the examples of each class, and the queries taken for it."""
    from sib_jax.report import contact_sheet
    from sib_jax.report.contact_sheet import Section, Tile

    sure = found.probabilities.max(axis=1)
    examples_of: dict[str, list[str]] = collections.defaultdict(list)
    rows_of: dict[str, list[int]] = collections.defaultdict(list)
    for name, folder in zip(support.names, support.folders, strict=True):
        examples_of[folder].append(name)
    for row in np.argsort(-sure, kind="stable").tolist():
        rows_of[found.labels[row]].append(row)
    # Others are base classes. Where there are very many, those with the most images are shown.
    there = [name for name in found.classes if name in examples_of or name in rows_of]
    most = set(sorted(there, key=lambda name: -len(rows_of[name]))[:_CLASSES])
    plan = [(n, examples_of[n][:_EXAMPLES], rows_of[n]) for n in there if n in most]
    names = [n for _, examples, _ in plan for n in examples]
    names += [query.names[r] for _, _, rows in plan for r in rows[:_SHOWN]]
    small = dict(zip(names, read(names, stored(96, 3))[0], strict=True))
    sections = []
    for name, examples, rows in plan:
        tiles = [
            Tile(small[query.names[r]], f"{sure[r]:.0%}", truth[r] not in (None, name))
            for r in rows[:_SHOWN]
        ]
        more = f", {_SHOWN} shown" if len(rows) > _SHOWN else ""
        title = f"{name}: {counted(len(rows), 'image')}{more}"
        sections.append(Section(title, [Tile(small[n], "") for n in examples], tiles))
    if len(there) > _CLASSES:
        title = f"the {_CLASSES} classes with the most images; {len(there) - _CLASSES} more"
        sections.insert(0, Section(f"{title} not shown", [], []))
    contact_sheet.write(path, sections)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser("sib_jax.predict", __doc__)
    add = parser.add_argument
    add("--run", metavar="WORKDIR", type=path, help="a finished run of sib_jax.main")
    add(
        "--head",
        metavar="NAME",
        help="one of its heads; default: the best on validation that fits your number of classes",
    )
    add("--steps", metavar="T", type=int, help="instead of --head: the SIB head with this T")
    add(
        "--backbone",
        metavar="NAME_OR_FILE",
        type=path,
        help="instead of --run: a shipped backbone, or a file",
    )
    add(
        "--encoder",
        metavar="FILE.py|timm:MODEL",
        help="instead of a backbone: a file with a function encode(images) that gives features, or "
        "a timm model; with --run: the one that made the features of the run",
    )
    add(
        "--method",
        metavar="NAME",
        help="without --run: one that needs no training, such as soft_kmeans, sinkhorn_kmeans for "
        "classes that are equally frequent, or simple_shot for images one by one; or sib_plus, "
        "the default for up to 20 classes where the backbone ships with a head (docs/predict.md)",
    )
    add(
        "--image_size",
        metavar="PIXELS",
        type=int,
        help="with --backbone: the size of scaled images; 32 for an official backbone of CIFAR-FS",
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
        help="the images to sort; if they are in folders named like the classes, the accuracy is "
        "reported too",
    )
    add(
        "--base_classes",
        action="store_true",
        help="with a run of learning without forgetting: images may be of its training classes",
    )
    out = "default: predictions.csv; - for the standard output"
    add("--out", metavar="FILE", type=path, default="predictions.csv", help=out)
    add("--sheet", metavar="FILE", type=path, help="a contact sheet, as PNG")
    add(
        "--copy_to",
        metavar="DIR",
        type=path,
        help="copy the images there, each to a folder named like the class it was taken for",
    )
    add(
        "--sure",
        metavar="P",
        type=_probability,
        default=0.0,
        help="with --copy_to: images whose class has a probability below P, 0 to 1, go to the "
        "folder unsure",
    )
    add("--seed", type=seed, default=0, help="for the samples of a Gaussian posterior")
    parser.add_import()
    options, more = parser.parse_known_args(argv)
    if more:
        files = any(os.path.exists(word) for word in more)
        hint = "; a pattern goes in quotes: --query='DIR/*.jpg'" if files else ""
        parser.error(f"unrecognized arguments: {listed(more)}{hint}")
    # `sib_jax.load` checks what goes together, but without any of these it expects features.
    if options.run is None and options.backbone is None and options.encoder is None:
        parser.error(
            "give --run=WORKDIR of a finished run, or --backbone=NAME_OR_FILE, or --encoder=FILE.py"
        )
    if options.sheet and not options.sheet.lower().endswith(".png"):
        parser.error("--sheet is a PNG file: its name must end in .png")
    if options.sheet and os.path.realpath(options.sheet) == os.path.realpath(options.out):
        parser.error("--sheet and --out are the same file")
    if options.sure and not options.copy_to:
        parser.error("--sure decides where images are copied to: give --copy_to too")
    if options.image_size is not None and options.image_size < 16:
        parser.error("--image_size must be 16 or more")
    return options


def _probability(given: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 <= float(given) <= 1:
            return float(given)
    raise argparse.ArgumentTypeError(f"must be a number from 0 to 1, got {given}")


if __name__ == "__main__":
    main()
