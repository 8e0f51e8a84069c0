"""`mini_imagenet`: 100 classes of ImageNet with 600 images each, in any form that copies have.

Vinyals et al. (2016), "Matching Networks for One Shot Learning", in the split of Ravi and
Larochelle (2017): 64 classes for training, 16 for validation, 20 for testing.
"""

import csv
import io
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from sib_jax.data import published
from sib_jax.data.class_lists import MINI_IMAGENET
from sib_jax.data.errors import DataError
from sib_jax.data.prepare import Arrays, Copy, DecodedImages, ImageFiles
from sib_jax.data.published import Found, Source, StandardSplit
from sib_jax.data.reading import class_folders, numpy_pickle
from sib_jax.data.reading.files import Files, is_image
from sib_jax.data.split import SPLITS, DataSet

_LIST = re.compile(r"(?:ravi_)?(train|val|test)\.csv")
_PICKLES = {
    "train": "miniImageNet_category_split_train_phase_train.pickle",
    "val": "miniImageNet_category_split_val.pickle",
    "test": "miniImageNet_category_split_test.pickle",
    "base_val": "miniImageNet_category_split_train_phase_val.pickle",
    "base_test": "miniImageNet_category_split_train_phase_test.pickle",
}


def load(
    data_dir: str | Path, *, image_size: int = 84, standard_split: StandardSplit = MINI_IMAGENET
) -> DataSet:
    """mini-ImageNet from a directory or an archive, whose form is detected.

    The forms are
    - class folders, in folders of the splits as in the copy of the official SIB code
      ({train,val,test}/<wnid>/<file>; train_val and train_test become `DataSet.base`), or not;
    - the lists of Ravi and Larochelle ({train,val,test}.csv or ravi_{train,val,test}.csv, columns
      filename and label) with the images they list in any folder;
    - the pickles of Gidaris and Komodakis (2018), whose train_phase_val and train_phase_test become
      `DataSet.base`: they hold images, not files, so `Split.file_names` is empty.
    Classes are stored in sorted order, and the images of a class in the order of their file names
    (of a pickle: as stored there), so that each form of the same images gives the same splits.

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
    return ImageFiles(files, published.arrange(found, split, files.where))


def _lists(files: Files, split: StandardSplit) -> Copy | None:
    matches = {name: _LIST.fullmatch(PurePosixPath(name).name) for name in files.names}
    lists = {match[1]: name for name, match in matches.items() if match}
    if not lists:
        return None
    absent = [f"{part}.csv" for part in SPLITS if part not in lists]
    if absent:
        raise DataError(
            f"{files.where} holds {', '.join(lists.values())}, but no {' and no '.join(absent)}"
        )
    images = {PurePosixPath(n).name: n for n in files.names if is_image(n)}
    found = []
    for part, name in lists.items():
        where = files.path(name)
        rows = _rows(files.content(name), where)
        missing = [file for file, _ in rows if file not in images]
        if missing:
            raise DataError(
                f"{where} lists {len(rows)} images, but {len(missing)} of them are not below "
                f"{files.where}, such as {missing[0]}"
            )
        found += [Found(part, class_name, images[file]) for file, class_name in rows]
    layout = published.arrange(found, split, files.where)
    return ImageFiles(files, layout, tuple(lists.values()))


def _rows(content: bytes, where: str) -> list[tuple[str, str]]:
    """File name and class of each line of a list."""
    lines = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig", "replace"))))
    if not lines or not {"filename", "label"} <= lines[0].keys():
        raise DataError(f"{where} has no columns filename and label")
    return [(line["filename"], line["label"]) for line in lines]


def _pickles(files: Files, split: StandardSplit) -> Copy | None:
    by_name = {PurePosixPath(name).name: name for name in files.names}
    names = {part: by_name[name] for part, name in _PICKLES.items() if name in by_name}
    if not names:
        return None
    absent = [_PICKLES[part] for part in SPLITS if part not in names]
    if absent:
        raise DataError(
            f"{files.where} holds {', '.join(names.values())}, but no {' and no '.join(absent)}"
        )

    def read() -> Mapping[str, Arrays]:
        arrays = {part: _unpickle(files, name) for part, name in names.items()}
        counts = {
            part: {name: len(images) for name, images in found.images.items()}
            for part, found in arrays.items()
        }
        published.check(counts, split, files.where)
        return arrays

    return DecodedImages(list(names.values()), read)


def _unpickle(files: Files, name: str) -> Arrays:
    where = files.path(name)
    content = numpy_pickle.loads(files.content(name), where)
    wanted = ("data", "labels", "catname2label")
    if not isinstance(content, dict) or not set(wanted) <= content.keys():
        raise DataError(f"{where} is not a dict of {', '.join(wanted)}")
    images, labels, names = (content[key] for key in wanted)
    if isinstance(labels, list) and all(type(label) is int for label in labels):
        labels = np.array(labels)
    if not (
        isinstance(names, dict)
        and all(type(n) is str and type(label) is int for n, label in names.items())
        and isinstance(images, np.ndarray)
        and images.dtype == np.uint8
        and images.shape[1:] == (*images.shape[1:3], 3)
        and 0 not in images.shape
        and isinstance(labels, np.ndarray)
        and labels.dtype.kind in "iu"
        and labels.shape == images.shape[:1]
    ):
        raise DataError(
            f"{where} must hold uint8 images [n, height, width, 3], n labels and a dict"
        )
    if unknown := sorted(set(labels.tolist()) - set(names.values())):
        raise DataError(f"{where} names no class for the label {unknown[0]}")
    present = [name for name in sorted(names) if np.any(labels == names[name])]
    return Arrays({name: images[labels == names[name]] for name in present}, {})


_SOURCE = Source(
    name="mini_imagenet",
    version=1,
    channels=3,
    forms=(_pickles, _class_folders, _lists),
    archives=re.compile(r"mini", re.IGNORECASE),
    parts=class_folders.SPLIT_FOLDERS,
    wanted="class folders (train/n01532829/..., or just n01532829/...), or train.csv, val.csv and "
    "test.csv beside the images they list, or Gidaris's miniImageNet_category_split_*.pickle: "
    "in a directory, in a tar or zip, or in a directory of such archives",
)
