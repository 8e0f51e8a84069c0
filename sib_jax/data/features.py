"""`features`: what any model computed from images, texts or sounds, for learning from a few.

A file FILE.npz holds the arrays `features` and `labels`, and optionally `split` and `class_names`;
or a directory holds train_features.npy, train_labels.npy and the same of val and test.
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sib_jax.data import class_split
from sib_jax.data.errors import EMBEDDED, DataError
from sib_jax.data.reading import files, npy
from sib_jax.data.split import SPLITS, DataSet, FeatureSplit
from sib_jax.runtime.words import shown

_WANTED = (
    "a FILE.npz with the arrays features [n, d] and labels [n], or a directory with "
    "train_features.npy, train_labels.npy and the same of val and test"
)
_SMALLEST, _LARGEST = 1e-9, 1e15  # sums of their squares fit in float32
_ROWS = 4096  # that are checked together

_Name = Callable[[object], str]  # of a label


class _Part(NamedTuple):
    """Rows of the user's arrays.

    Attributes:
      where: the file.
      features: [m, d], of which `rows` are used.
      labels: [m], whole numbers or strings.
      rows: int [n], ascending.
    """

    where: str
    features: np.ndarray
    labels: np.ndarray
    rows: np.ndarray


def load(
    data_dir: str | Path,
    *,
    ratios: tuple[float, float, float] = (0.64, 0.16, 0.20),
    seed: int = 0,
) -> DataSet[FeatureSplit]:
    """Features of any model; nothing is prepared, and a directory's are memory-mapped.

    Rows are sorted by class where they are not, keeping the order within a class: whole numbers
    in increasing order, strings in alphabetical order.

    Args:
      data_dir: one of
        - FILE.npz with `features`, float16, float32 or float64 [n, d]; `labels` [n], whole numbers
          or strings; optionally `split` [n], of "train", "val" and "test"; and, with numbers,
          `class_names` [classes], the name of each number from 0 on.
        - a directory with train_features.npy, train_labels.npy and the same of val and test. A
          label means the same class in each: classes are disjoint, so labels are too.
      ratios: shares of the classes for train, val and test, for a file without `split`.
      seed: of the shuffle that chooses those classes, see `class_split.by_ratio`.

    Returns:
      The data set; its splits are `FeatureSplit`s.

    Raises:
      DataError: something is missing, damaged or does not fit together, a feature is not finite,
        a class is in two splits or has fewer than 2 rows. The message names it.
    """
    if not data_dir:
        raise DataError(f"where are your features? Give --data_dir=PATH: {_WANTED}. {EMBEDDED}")
    path = files.given(data_dir, _WANTED)
    with files.reading(path):
        if path.is_dir():
            parts = _of_directory(path)
            name: _Name = str
        else:
            parts, name = _of_file(path, ratios, seed)
        _check(parts, name, shown(path))
        train, val, test = (_split(split, parts[split], name) for split in SPLITS)
    return DataSet("features", train, val, test)


def _of_directory(path: Path) -> dict[str, _Part]:
    missing = [
        name
        for name in (f"{split}_{of}.npy" for split in SPLITS for of in ("features", "labels"))
        if not (path / name).is_file()
    ]
    if missing:
        raise DataError(f"{shown(path)} holds no {' and no '.join(missing)}; expected {_WANTED}")
    return {
        split: _part(
            shown(path / f"{split}_features.npy"),
            npy.memory_map(path / f"{split}_features.npy"),
            npy.memory_map(path / f"{split}_labels.npy"),
        )
        for split in SPLITS
    }


def _of_file(
    path: Path, ratios: tuple[float, float, float], seed: int
) -> tuple[dict[str, _Part], _Name]:
    where = shown(path)
    arrays = npy.read_npz(path, ("features", "labels", "split", "class_names"))
    if missing := [name for name in ("features", "labels") if name not in arrays]:
        raise DataError(
            f"{where} holds no array {' and no array '.join(missing)}; expected {_WANTED}"
        )
    whole = _part(where, arrays["features"], arrays["labels"])
    name = _name_of(where, whole.labels, arrays.get("class_names"))
    if "split" in arrays:
        split = _strings(where, "split", arrays["split"])
    else:
        split = _by_ratio(whole, name, ratios, seed)
    if split.shape != whole.labels.shape:
        raise DataError(
            f"{where}: split has shape {split.shape}, but there are {len(whole.labels)} labels"
        )
    if unknown := sorted(set(split.tolist()) - set(SPLITS)):
        raise DataError(
            f"{where}: split holds {unknown[0]!r}, but must be one of {', '.join(SPLITS)}"
        )
    return {s: whole._replace(rows=np.flatnonzero(split == s)) for s in SPLITS}, name


def _part(where: str, features: np.ndarray, labels: np.ndarray) -> _Part:
    """All rows of two arrays, after a check of their types and shapes."""
    if features.dtype.kind != "f" or features.dtype.itemsize not in (2, 4, 8):
        raise DataError(
            f"{where}: features must be float16, float32 or float64, not {features.dtype}"
        )
    if features.ndim != 2 or not features.shape[1]:
        raise DataError(f"{where}: features must have shape [n, d], not {features.shape}")
    if labels.dtype.kind in "SU":
        labels = _strings(where, "labels", labels)
    elif labels.dtype.kind not in "iu":
        raise DataError(f"{where}: labels must be whole numbers or strings, not {labels.dtype}")
    if labels.shape != features.shape[:1]:
        raise DataError(
            f"{where}: features has {len(features)} rows, but labels has shape {labels.shape}"
        )
    return _Part(where, features, labels, np.arange(len(labels)))


def _name_of(where: str, labels: np.ndarray, names: np.ndarray | None) -> _Name:
    """How to name a label: by its entry in `names`, or by itself where `names` is None."""
    if names is None:
        return str
    if labels.dtype.kind == "U":
        raise DataError(
            f"{where}: labels are strings, so class_names must be left out (it names numbers)"
        )
    known = _strings(where, "class_names", names).tolist()
    if len(set(known)) != len(known):
        twice = next(n for n in known if known.count(n) > 1)
        raise DataError(f"{where}: class_names holds {twice!r} twice")
    odd = labels[(labels < 0) | (labels >= len(known))]
    if len(odd):
        raise DataError(
            f"{where}: class_names has {len(known)} names, but there is a label {odd[0]}"
        )
    return lambda label: known[int(str(label))]


def _strings(where: str, name: str, array: np.ndarray) -> np.ndarray:
    """An array of text, str [n]."""
    if array.dtype.kind not in "SU" or array.ndim != 1:
        raise DataError(
            f"{where}: {name} must be strings of shape [n], not {array.dtype} {array.shape}"
        )
    if not npy.is_text(array):
        raise DataError(f"{where}: {name} holds numbers that are not characters; write it again")
    try:
        return np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: {name} holds text that is not UTF-8 ({error})") from error


def _by_ratio(
    whole: _Part, name: _Name, ratios: tuple[float, float, float], seed: int
) -> np.ndarray:
    """The split of each row, str [n]."""
    present, classes = np.unique(whole.labels, return_inverse=True)
    of_class = [name(label) for label in present]
    chosen = class_split.by_ratio(of_class, ratios, seed, whole.where, "classes")
    home = {name: split for split, of_split in chosen.items() for name in of_split}
    return np.array([home[name] for name in of_class])[classes.ravel()]


def _check(parts: Mapping[str, _Part], name: _Name, where: str) -> None:
    """Checks that the splits go together."""
    widths = {split: part.features.shape[1] for split, part in parts.items()}
    if len(set(widths.values())) > 1:
        said = ", ".join(f"{width} in {split}" for split, width in widths.items())
        raise DataError(f"{where}: features must all have the same length d, but it is {said}")
    counts = {}
    for split, part in parts.items():
        found = np.unique(part.labels[part.rows], return_counts=True)
        counts[split] = {name(label): int(count) for label, count in zip(*found, strict=True)}
    class_split.check(counts, where, "row", "add rows, or leave the class out")


def _split(split: str, part: _Part, name: _Name) -> FeatureSplit:
    """Rows sorted by class, after a check of every feature."""
    present, labels = np.unique(part.labels[part.rows], return_inverse=True)
    class_names = tuple(name(label) for label in present)
    order = np.argsort(labels, kind="stable")
    rows, labels = part.rows[order], labels[order].astype(np.int32)
    features = part.features
    # Rows that are sorted already are not copied, and stay on disk if they are there.
    in_order = not np.any(np.diff(rows) != 1)
    features = features[rows[0] : rows[-1] + 1] if in_order else features[rows]
    features = features.astype(features.dtype.newbyteorder("="), copy=False)
    sha = hashlib.sha256(repr((features.shape, features.dtype.str, class_names)).encode())
    sha.update(labels.tobytes())
    largest = 0.0
    for start in range(0, len(features), _ROWS):
        block = np.asarray(features[start : start + _ROWS])
        sha.update(block.tobytes())
        with np.errstate(over="ignore"):  # reported below
            single = block.astype(np.float32, copy=False)
        odd = np.flatnonzero(~np.isfinite(single).all(axis=1))
        if len(odd):
            row = start + odd[0]
            value = block[odd[0]][~np.isfinite(single[odd[0]])][0]
            raise DataError(
                f"{part.where}: row {rows[row]} holds {value} (class {class_names[labels[row]]!r} "
                f"of {split}); features must be finite in float32, so mend or leave out such rows"
            )
        largest = max(largest, float(np.abs(single).max(initial=0)))
    check_scale(largest, f"{part.where}: features of {split}")
    return FeatureSplit(features, labels, class_names, sha.hexdigest())


def check_scale(largest: float, what: str) -> None:
    """Raises `DataError` where single precision cannot hold the lengths of features.

    Args:
      largest: of their absolute values.
      what: messages call them.
    """
    if not _SMALLEST <= largest <= _LARGEST:
        raise DataError(
            f"{what} have values up to {largest:.3g}; scale them so that the largest are about 1: "
            f"below {_SMALLEST:g} and above {_LARGEST:g} float32 cannot hold their lengths"
        )
