"""Features of a data set under a backbone or any encoder, in one file.

python -m sib_jax.features --run=WORKDIR --out=FILE.npz
python -m sib_jax.features --backbone=mini_imagenet-conv4_128 --data_dir=DIR --out=FILE.npz
python -m sib_jax.features --encoder=timm:MODEL --data_dir=DIR --out=FILE.npz

FILE.npz holds features [n, d], labels [n], split [n] and class_names [classes]: what the data set
`features` reads (--config=comparison:features --data_dir=FILE.npz).
"""

import argparse
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from sib_jax.command import Parser, import_files, path, seed, start
from sib_jax.errors import UserError


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command; a user's mistake ends it with one line."""
    start(run, _parse(sys.argv[1:] if argv is None else argv))


class Part(NamedTuple):
    """A split of a data set.

    Attributes:
      name: of the split.
      features: [n, d].
      labels: int [n].
      class_names: of each label.
    """

    name: str
    features: np.ndarray
    labels: np.ndarray
    class_names: Sequence[str]


def run(options: argparse.Namespace) -> None:
    """Computes the features, or takes them from the cache, and writes the file."""
    from sib_jax.runtime import files, interrupt
    from sib_jax.runtime.console import log

    files.check_file(options.out)  # before slow imports
    from sib_jax.runtime import programs

    programs.keep()
    import_files(options.imported)
    features: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    split: list[str] = []
    names: list[str] = []
    kept = Path(f"{options.out}.part") if options.encoder else None
    interrupt.goes_on_from(f"what is in {kept or 'the cache'}")
    for part in _by_backbone(options) if kept is None else _by_encoder(options, kept):
        features.append(_as(options.dtype, part.features))
        labels.append(part.labels + len(names))
        split += [part.name] * len(part.labels)
        names += part.class_names
    whole = np.concatenate(features)

    def write(file: BinaryIO) -> None:
        np.savez(
            file,
            features=whole,
            labels=np.concatenate(labels),
            split=np.array(split),
            class_names=np.array(names),
        )

    files.write_atomically(options.out, write)
    if kept is not None:
        shutil.rmtree(kept, ignore_errors=True)
    log.info("%s: features %s %s", options.out, options.dtype, whole.shape)


def _by_backbone(options: argparse.Namespace) -> Iterator[Part]:
    """Features of a data set, prepared as runs do."""
    from sib_jax.config import ConfigError
    from sib_jax.data.load import load
    from sib_jax.data.split import SPLITS
    from sib_jax.experiment import leakage, run_files
    from sib_jax.experiment.features import cached
    from sib_jax.runtime.console import log

    found, config = _of_run(options) if options.run else _of_backbone(options)
    channels = found.backbone.channels
    data = load(
        config.dataset,
        config.data_dir,
        image_size=config.image_size,
        ratios=tuple(config.split_ratios),
        seed=config.split_seed,
    )
    if options.run:
        seen = {split: data.split(split).fingerprint for split in ("train", "val")}
        try:
            run_files.check_data(seen, Path(options.run))
        except ConfigError:
            raise UserError(
                f"the data of {options.run} have changed, so its training classes may differ; "
                f"for features of other data give --backbone={options.run}/backbone.npz"
            ) from None
    leakage.tell_of_classes(found, data)
    if channels != data.train.images.shape[-1]:
        raise UserError(
            f"the backbone is for {channels}-channel images, but those of {config.dataset} are "
            f"{data.train.images.shape[-1]}-channel"
        )
    if data.base:
        log.info("further images of the training classes, for base queries, are left out")
    for name in SPLITS:
        part = data.split(name)
        log.info("%s: %d images", name, len(part.images))
        yield Part(name, cached(found, part), part.labels, part.class_names)


def _by_encoder(options: argparse.Namespace, part: Path) -> Iterator[Part]:
    """Features of a folder of class folders, whose images the encoder gets in their own size.

    Args:
      options: of the command.
      part: folder of the rows that are done, until the file is written.
    """
    from sib_jax.backbones import encoder
    from sib_jax.config import default
    from sib_jax.data import folder
    from sib_jax.data.given_images import Found, encoded, read_readable
    from sib_jax.runtime.console import log
    from sib_jax.runtime.kept_rows import KeptRows
    from sib_jax.runtime.words import listed, shown

    root = folder.directory(options.data_dir)
    splits = folder.find(root, tuple(default("folder").split_ratios), options.split_seed)
    reader = encoded(encoder.open_encoder(options.encoder).features)
    kept = KeptRows(part, encoder.version(options.encoder))
    for split, classes in splits.items():
        names = tuple(str(root / image) for images in classes.values() for image in images)
        of_class = tuple(name for name, images in classes.items() for _ in images)
        log.info("%s: %d images", split, len(names))
        # Hours of an encoder's work are not lost to one damaged file.
        found, rows, refused = read_readable(Found(names, of_class), reader, kept)
        for reason in refused:
            log.warning("left out: %s", shown(reason))
        readable = dict.fromkeys(found.folders)  # in their order
        if lost := [name for name in classes if name not in readable]:
            log.warning("left out: class %s, as none of its images can be read", listed(lost))
        number = {name: label for label, name in enumerate(readable)}
        yield Part(split, rows, np.array([number[n] for n in found.folders]), list(readable))


def _of_run(options: argparse.Namespace) -> tuple[Any, Any]:
    """The backbone of a run and its config: classes are divided as in the run."""
    from sib_jax.experiment import loading

    config = loading.read_config(Path(options.run))
    if options.data_dir:
        config.data_dir = options.data_dir
    found = loading.backbone_of(Path(options.run), config)
    if found is None:
        raise UserError(f"{options.run} is a run of features: they are in {config.data_dir}")
    return found, config


def _of_backbone(options: argparse.Namespace) -> tuple[Any, Any]:
    """A backbone and a config that has the data set."""
    from sib_jax.config import default
    from sib_jax.experiment import loading

    if options.dataset == "features":
        raise UserError("--dataset=features holds features already: give a data set of images")
    config = default(options.dataset)
    config.data_dir, config.split_seed = options.data_dir, options.split_seed
    found, config.image_size = loading.open_backbone(options.backbone, options.image_size)
    return found._replace(mirror=found.mirror or options.mirror), config


def _as(dtype: str, features: np.ndarray) -> np.ndarray:
    largest, limit = float(np.abs(features).max(initial=0)), float(np.finfo(dtype).max)
    if largest > limit:
        raise UserError(
            f"a feature is {largest:g}, but {dtype} ends at {limit:g}: use --dtype=float32"
        )
    return features.astype(dtype)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser("sib_jax.features", __doc__)
    add = parser.add_argument
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--run",
        metavar="WORKDIR",
        type=path,
        help="the run's backbone on its data set, with classes divided as in the run",
    )
    source.add_argument(
        "--backbone",
        metavar="FILE",
        type=path,
        help="a shipped backbone, an .npz of ours or an official .pth",
    )
    source.add_argument(
        "--encoder",
        metavar="FILE.py|timm:MODEL",
        help="a file with a function encode(images) that gives features, or a timm model",
    )
    add(
        "--data_dir",
        metavar="DIR",
        default="",
        help="where the data set is; with --run, only if it has moved",
    )
    add(
        "--dataset",
        metavar="NAME",
        help="with --backbone: mini_imagenet, cifar_fs, omniglot, folder, glyphs, or one of yours; "
        "default: folder, as for an encoder",
    )
    add("--out", metavar="FILE.npz", type=path, required=True, help="the file to write")
    add("--dtype", default="float32", choices=("float32", "float16"), help="default: float32")
    add(
        "--mirror",
        action="store_true",
        help="with --backbone: average the features of an image and its mirror image",
    )
    add(
        "--image_size",
        metavar="N",
        type=int,
        help="with --backbone: pixels that images are scaled to before its crop",
    )
    add(
        "--split_seed",
        type=seed,
        help="without --run: the seed that divides classes, for a folder without train, val and "
        "test",
    )
    parser.add_import()
    options = parser.parse_args(argv)
    for name in ("dataset", "mirror", "image_size", "split_seed"):
        given = getattr(options, name) is not None and getattr(options, name) is not False
        if given and options.run is not None:
            parser.error(f"--{name} is for --backbone; a run has its own")
        if given and options.encoder is not None and name != "split_seed":
            parser.error(f"--{name} is for --backbone; an encoder reads a folder of images")
    options.dataset, options.split_seed = options.dataset or "folder", options.split_seed or 0
    if Path(options.out).suffix != ".npz":
        parser.error(f"--out is {options.out}, but must end in .npz")
    return options


if __name__ == "__main__":
    main()
