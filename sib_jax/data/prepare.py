"""From a copy of a data set, of files or decoded, to splits in the cache."""

import itertools
from collections.abc import Callable, Mapping, Sequence, Sized
from pathlib import PurePosixPath
from typing import NamedTuple, Protocol

import numpy as np

from sib_jax.data import cache
from sib_jax.data.reading.decode import decode, fit
from sib_jax.data.reading.files import Files
from sib_jax.data.split import DataSet


class Copy(Protocol):
    """A copy of a data set that was found.

    Attributes:
      names: the files that its content depends on.
    """

    @property
    def names(self) -> Sequence[str]: ...  # noqa: D102

    def write(self, writer: cache.Writer, image_size: int, channels: int) -> None:
        """Fills every split: images [n, image_size, image_size, channels]."""


class ImageFiles(NamedTuple):
    """A copy of image files.

    Attributes:
      files: where they are.
      layout: split -> class -> names, all in the order in which they are stored.
      lists: the files that list them, where there are any.
    """

    files: Files
    layout: Mapping[str, Mapping[str, Sequence[str]]]
    lists: Sequence[str] = ()

    @property
    def names(self) -> Sequence[str]:
        """The image files, and their lists."""
        images = [n for of in self.layout.values() for names in of.values() for n in names]
        return [*images, *self.lists]

    def write(self, writer: cache.Writer, image_size: int, channels: int) -> None:
        """Decodes all, scaled by their shorter side and cropped to a square."""
        targets: dict[str, np.ndarray] = {}
        for split, classes in self.layout.items():
            names = [name for of_class in classes.values() for name in of_class]
            shape = (len(names), image_size, image_size, channels)
            targets |= zip(names, writer.allocate(split, shape), strict=True)
        decode(self.files, targets)
        for split, classes in self.layout.items():
            _describe(writer, split, classes, classes)


class Arrays(NamedTuple):
    """The images of a split that come decoded, in the order in which they are stored.

    Attributes:
      images: class -> uint8 [n, height, width, 1 or 3].
      file_names: class -> the n names of its files, or empty where there are none.
    """

    images: Mapping[str, np.ndarray]
    file_names: Mapping[str, Sequence[str]]


class DecodedImages(NamedTuple):
    """A copy that holds arrays of images.

    Attributes:
      names: the files that hold them.
      read: gives each split.
    """

    names: Sequence[str]
    read: Callable[[], Mapping[str, Arrays]]

    def write(self, writer: cache.Writer, image_size: int, channels: int) -> None:
        """Stores all, scaled like image files."""
        for split, (images, file_names) in self.read().items():
            total = sum(map(len, images.values()))
            out = writer.allocate(split, (total, image_size, image_size, channels))
            for row, image in enumerate(itertools.chain.from_iterable(images.values())):
                out[row] = fit(image, image_size, channels)
            _describe(writer, split, images, file_names)


def _describe(
    writer: cache.Writer,
    split: str,
    examples: Mapping[str, Sized],
    files: Mapping[str, Sequence[str]],
) -> None:
    """Closes a split of the given examples of each class; `files` may name none."""
    labels = np.repeat(np.arange(len(examples)), [len(of) for of in examples.values()])
    names = [f"{c}/{PurePosixPath(name).name}" for c, of in files.items() for name in of]
    writer.describe(split, labels, list(examples), names)


def load(
    name: str,
    key: Sequence[object],
    files: Files,
    copy: Callable[[], Copy],
    *,
    image_size: int,
    channels: int,
) -> DataSet:
    """The data set that a copy holds, prepared once and then memory-mapped.

    Args:
      name: the data set's name.
      key: what the content depends on besides the files.
      files: where the copy is.
      copy: finds and checks it; not called where it is an archive that was prepared before.
      image_size: pixels, height and width of the stored images.
      channels: 3, or 1 for gray.
    """
    digest = cache.digest(*key, files.stamp(lambda: copy().names), image_size, channels)
    return cache.load_or_build(
        name, digest, lambda writer: copy().write(writer, image_size, channels)
    )
