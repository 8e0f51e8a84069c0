"""`cifar_fs`: the 100 classes of CIFAR-100 with 600 images each, in a few-shot split.

Bertinetto et al. (2019), "Meta-learning with differentiable closed-form solvers": 64 classes for
training, 16 for validation, 20 for testing. CIFAR-100's own train and test images are taken
together.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from sib_jax.data import published
from sib_jax.data.class_lists import CIFAR_FS
from sib_jax.data.errors import DataError
from sib_jax.data.prepare import Arrays, Copy, DecodedImages, ImageFiles
from sib_jax.data.published import Found, Source, StandardSplit
from sib_jax.data.reading import class_folders, numpy_pickle, tfds_copy
from sib_jax.data.reading.files import Files
from sib_jax.data.split import DataSet

_LIST = re.compile(r"(?:^|/)bertinetto/(train|val|test)\.txt$")
_SIDE = 32  # pixels of CIFAR's images


def load(
    data_dir: str | Path, *, image_size: int = _SIDE, standard_split: StandardSplit = CIFAR_FS
) -> DataSet:
    """CIFAR-FS from a directory or an archive, whose form is detected.

    The forms are
    - class folders, in folders of the splits ({train,val,test}/<class>/<file>) or not, as in
      Bertinetto's copy (cifar100/data/<class>/<file>, whose lists cifar100/splits/bertinetto/*.txt
      must say what the standard split does);
    - class folders in CIFAR-100's own two parts (train/<class>/<file> and test/<class>/<file>, each
      class in both), as in github.com/cyizhuo/CIFAR-100-dataset;
    - CIFAR-100 for Python, as its authors publish it (cifar-100-python.tar.gz, or extracted);
    - what tensorflow-datasets prepared of `cifar100` or of this package's builder, with
      file_format="array_record". TensorFlow is not needed.
    Classes are stored in sorted order, and the images of a class in the order of their file names:
    all but the last give the same splits. tensorflow-datasets keeps no file names of `cifar100`:
    its images keep the order in which it stored them.

    Args:
      data_dir: directory, tar or zip that holds any of these, or a directory of such archives.
      image_size: pixels; other images are scaled by their shorter side and cropped to a square.
      standard_split: the classes and numbers of images of a complete copy.

    Returns:
      The data set, prepared once for each path, size and time of change.

    Raises:
      DataError: no such copy is there, or it is incomplete, mixed up or damaged.
    """
    return published.load(_SOURCE, data_dir, standard_split, image_size=image_size)


def _class_folders(files: Files, split: StandardSplit) -> Copy | None:
    found = class_folders.find(files, split)
    if not found:
        return None
    for name in files.names:
        if part := _LIST.search(name):
            _check_list(files, name, split.classes[part[1]])
    if _is_in_own_parts(found, split):
        found = [image._replace(split=None) for image in found]
    return ImageFiles(files, published.arrange(found, split, files.where))


def _is_in_own_parts(found: Sequence[Found], split: StandardSplit) -> bool:
    """Whether folders named train and test are those of CIFAR-100: each class is in both."""
    parts: dict[str | None, set[str]] = {}
    for image in found:
        parts.setdefault(image.split, set()).add(image.class_name)
    return parts.keys() == {"train", "test"} and all(
        classes >= split.home().keys() for classes in parts.values()
    )


def _check_list(files: Files, name: str, expected: Sequence[str]) -> None:
    listed = set(files.content(name).decode("utf-8", "replace").split())
    if different := sorted(listed ^ set(expected)):
        raise DataError(
            f"{files.path(name)} is not the list of the standard split: they differ in "
            f"{', '.join(different[:3])}"
        )


def _python_pickles(files: Files, split: StandardSplit) -> Copy | None:
    names = set(files.names)
    folders = [n.removesuffix("meta") for n in names if PurePosixPath(n).name == "meta"]
    folders = [f for f in folders if {f + "train", f + "test"} <= names]
    if not folders:
        return None
    parts = [folders[0] + part for part in ("train", "test")]
    meta = folders[0] + "meta"
    read = functools.partial(_read_pickles, files, parts, meta, split)
    return DecodedImages([*parts, meta], read)


def _read_pickles(
    files: Files, parts: Sequence[str], meta: str, split: StandardSplit
) -> Mapping[str, Arrays]:
    (names,) = _fields(files, meta, "fine_label_names")
    if not _all(names, str):
        raise DataError(f"{files.path(meta)} holds no list of names")
    pixels, classes, file_names = [], [], []
    for part in parts:
        rows, labels, of_rows = _fields(files, part, "data", "fine_labels", "filenames")
        right = isinstance(rows, np.ndarray) and rows.dtype == np.uint8
        right = right and _all(labels, int) and _all(of_rows, str)
        if not right or rows.shape != (len(labels), 3 * _SIDE**2) or len(of_rows) != len(labels):
            raise DataError(f"{files.path(part)} must hold images [n, 3072], n labels and n names")
        if unknown := [label for label in labels if not 0 <= label < len(names)]:
            raise DataError(f"{files.path(part)} names no class for the label {unknown[0]}")
        pixels.append(rows.reshape(-1, 3, _SIDE, _SIDE))
        classes += [names[label] for label in labels]
        file_names += of_rows
    images = np.concatenate(pixels).transpose(0, 2, 3, 1)
    return published.arrange_arrays(images, classes, split, files.where, file_names=file_names)


def _all(values: Any, kind: type) -> bool:
    return isinstance(values, list) and all(type(value) is kind for value in values)


def _fields(files: Files, name: str, *keys: str) -> list[Any]:
    content = numpy_pickle.loads(files.content(name), files.path(name))
    if not isinstance(content, dict) or not set(keys) <= content.keys():
        raise DataError(f"{files.path(name)} is not a dict of {', '.join(keys)}")
    return [content[key] for key in keys]


def _tfds(files: Files, split: StandardSplit) -> Copy | None:
    prepared = tfds_copy.find(files, ("cifar100", "cifar_fs"))
    if prepared is None:
        return None

    def class_name(features: Any, example: Mapping[str, Any]) -> str:
        return features["label"].int2str(example["label"])

    read = functools.partial(tfds_copy.read, prepared, class_name, split, channels=3)
    return DecodedImages(prepared.names, read)


_SOURCE = Source(
    name="cifar_fs",
    version=1,
    channels=3,
    forms=(_python_pickles, _class_folders, _tfds),
    archives=re.compile(r"cifar", re.IGNORECASE),
    parts=class_folders.SPLIT_FOLDERS,
    wanted="class folders (train/apple/..., or just apple/...), or cifar-100-python.tar.gz, or "
    "cifar100 prepared by tensorflow-datasets with file_format='array_record': in a directory, in "
    "a tar or zip, or in a directory of such archives",
)
