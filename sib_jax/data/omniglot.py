"""`omniglot`: 1,623 handwritten characters of 50 alphabets with 20 images each.

Lake et al. (2015), "Human-level concept learning through probabilistic program induction", in the
split of Snell et al. (2017), "Prototypical Networks for Few-shot Learning", after Vinyals et al.
(2016): 1,028 characters for training, 172 for validation (five whole alphabets), 423 for testing.
A class is a character. Those papers also make three more classes of each character, turned by 90,
180 and 270 degrees; here that is not done.
"""

import functools
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from sib_jax.data import published
from sib_jax.data.class_lists import OMNIGLOT
from sib_jax.data.prepare import Copy, DecodedImages, ImageFiles
from sib_jax.data.published import Found, Source, StandardSplit
from sib_jax.data.reading import tfds_copy
from sib_jax.data.reading.files import Files, is_image
from sib_jax.data.split import DataSet


def load(
    data_dir: str | Path, *, image_size: int = 32, standard_split: StandardSplit = OMNIGLOT
) -> DataSet:
    """Omniglot from a directory or an archive, whose form is detected.

    The forms are
    - the folders of the official archives (images_background/<alphabet>/<character>/<file> and
      images_evaluation/...), extracted or not: images_background.zip and images_evaluation.zip,
      also under longer names, in one directory;
    - what tensorflow-datasets prepared of `omniglot` or of this package's builder, with
      file_format="array_record". TensorFlow is not needed.
    A class is named <alphabet>/<character>. Classes are stored in sorted order, and the images of
    a class in the order of their file names. tensorflow-datasets keeps no file names of `omniglot`:
    its images keep the order in which it stored them.

    Args:
      data_dir: directory, tar or zip that holds any of these, or a directory of such archives.
      image_size: pixels; images (105 x 105, black on white) are scaled to it.
      standard_split: the classes and numbers of images of a complete copy.

    Returns:
      The data set, gray, prepared once for each path, size and time of change.

    Raises:
      DataError: no such copy is there, or it is incomplete, mixed up or damaged.
    """
    return published.load(_SOURCE, data_dir, standard_split, image_size=image_size)


def _folders(files: Files, split: StandardSplit) -> Copy | None:
    home = split.home()
    found = []
    for name in filter(is_image, files.names):
        *above, alphabet, character = ("", "", *PurePosixPath(name).parent.parts)
        # The same repository has smaller sets of some of these images.
        smaller = any("_small" in part for part in above)
        if f"{alphabet}/{character}" in home and not smaller:
            found.append(Found(None, f"{alphabet}/{character}", name))
    return ImageFiles(files, published.arrange(found, split, files.where)) if found else None


def _tfds(files: Files, split: StandardSplit) -> Copy | None:
    prepared = tfds_copy.find(files, ("omniglot", "omniglot_fs"))
    if prepared is None:
        return None

    def class_name(features: Any, example: Mapping[str, Any]) -> str:
        if "alphabet" not in features:
            return features["label"].int2str(example["label"])
        alphabet = features["alphabet"].int2str(example["alphabet"])
        return f"{alphabet}/character{example['alphabet_char_id'] + 1:02}"

    read = functools.partial(tfds_copy.read, prepared, class_name, split, channels=1)
    return DecodedImages(prepared.names, read)


_SOURCE = Source(
    name="omniglot",
    version=1,
    channels=1,
    forms=(_folders, _tfds),
    archives=re.compile(r"images_(background|evaluation)(?!_small)|^omniglot\.", re.IGNORECASE),
    parts=("images_background", "images_evaluation"),
    wanted="images_background.zip and images_evaluation.zip, or the folders in them, or omniglot "
    "prepared by tensorflow-datasets with file_format='array_record'",
)
