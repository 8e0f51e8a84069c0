"""Data sets that tensorflow-datasets prepared, read without TensorFlow."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sib_jax.data import published
from sib_jax.data.errors import DataError
from sib_jax.data.prepare import Arrays
from sib_jax.data.published import StandardSplit
from sib_jax.data.reading.files import Files
from sib_jax.runtime.words import shown

_INFO = "dataset_info.json"
_SPLITS = ("train", "validation", "test")  # those that do not repeat images of others


class Prepared(NamedTuple):
    """A prepared data set.

    Attributes:
      folder: <data_dir>/<name>/<version>.
      names: its files, below what was searched.
    """

    folder: Path
    names: Sequence[str]


def find(files: Files, wanted: Collection[str]) -> Prepared | None:
    """Looks for a prepared data set.

    Args:
      files: where to look.
      wanted: names of data sets.

    Raises:
      DataError: it was prepared in a format that needs TensorFlow, or is in an archive.
    """
    for name in files.names:
        if name.split("/")[-1] != _INFO:
            continue
        info = _json(files.content(name))
        if not isinstance(info, dict) or info.get("name") not in wanted:
            continue
        folder = Path(files.path(name)).parent
        if not folder.is_dir():
            raise DataError(f"{folder} is in an archive: extract it")
        if info.get("fileFormat") != "array_record":
            raise DataError(
                f"{folder} was prepared as {info.get('fileFormat', 'tfrecord')}, which only "
                "TensorFlow reads; prepare it again with file_format='array_record'"
            )
        inside = name.removesuffix(_INFO)
        return Prepared(folder, [n for n in files.names if n.startswith(inside)])
    return None


def read(
    prepared: Prepared,
    class_name: Callable[[Any, Mapping[str, Any]], str],
    split: StandardSplit,
    *,
    channels: int,
) -> dict[str, Arrays]:
    """The images of all its splits, split anew by class.

    Args:
      prepared: from `find`.
      class_name: the class of an example, from the data set's features and the example.
      split: the standard split.
      channels: the first ones of the images are kept: 1 where all are equal, else 3.

    Raises:
      DataError: the copy is incomplete.
    """
    import tensorflow_datasets as tfds  # here: it takes seconds

    where = shown(prepared.folder)
    images, classes, file_names = [], [], []
    try:
        builder = tfds.builder_from_directory(prepared.folder)
        features = builder.info.features
        for part in (name for name in _SPLITS if name in builder.info.splits):
            for example in builder.as_data_source(split=part):
                images.append(example["image"][..., :channels])
                classes.append(class_name(features, example))
                file_names.append(example.get("file_name", b"").decode().split("/")[-1])
        stacked = np.stack(images)
    except Exception as error:  # a damaged copy fails in any way there is
        reason = f"{type(error).__name__}: {shown(str(error))}"
        raise DataError(f"{where} cannot be read ({reason}); prepare it again") from error
    named = file_names if all(file_names) else []
    return published.arrange_arrays(stacked, classes, split, where, file_names=named)


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):  # somebody else's file of that name
        return None
