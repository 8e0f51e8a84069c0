"""Class folders, with or without folders of the splits above them."""

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from sib_jax.data.published import Found, StandardSplit
from sib_jax.data.reading.files import Files, is_image

SPLIT_FOLDERS: Mapping[str, str] = {
    "train": "train",
    "val": "val",
    "validation": "val",
    "valid": "val",
    "test": "test",
    # Names of the official copy of mini-ImageNet: images of the training classes in three parts.
    "train_train": "train",
    "train_val": "base_val",
    "train_test": "base_test",
}
"""Folder name -> split."""


def find(files: Files, standard: StandardSplit) -> list[Found]:
    """Images in a folder of their class, wherever that folder is.

    Args:
      files: the copy.
      standard: its classes.

    Returns:
      The images whose folder is a class, or is in a folder of a split; none where no folder is a
      class.
    """
    home = standard.home()
    found = list(_in_folders(files))
    if not any(class_name in home for _, class_name, _ in found):
        return []
    return [image for image in found if image.split or image.class_name in home]


def _in_folders(files: Files) -> Iterator[Found]:
    for name in filter(is_image, files.names):
        *above, class_name = PurePosixPath(name).parent.parts or ("",)
        splits = [SPLIT_FOLDERS[part] for part in reversed(above) if part in SPLIT_FOLDERS]
        yield Found(splits[0] if splits else None, class_name, name)
