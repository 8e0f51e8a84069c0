"""What a data set is: three splits of disjoint classes, each of images, labels and class names.

Instead of images there may be features that another model computed.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Generic, NamedTuple, TypeVar

import numpy as np

SPLITS = ("train", "val", "test")


class _Classes:
    """What splits share: `labels` and `class_names`."""

    labels: np.ndarray
    class_names: tuple[str, ...]

    def __repr__(self) -> str:
        """In one line, without the arrays' contents."""
        sizes = f"{len(self.class_names)} classes, {len(self.labels)} examples"
        return f"{type(self).__name__}({sizes})"

    @property
    def class_counts(self) -> np.ndarray:
        """Number of examples of each class, int64 [classes]."""
        return np.bincount(self.labels, minlength=len(self.class_names))


@dataclasses.dataclass(frozen=True, repr=False)
class Split(_Classes):
    """The images of some classes.

    Attributes:
      images: uint8 [n, height, width, channels], often memory-mapped; channels is 1 or 3.
      labels: int32 [n], in 0..len(class_names)-1 and ascending: a class is one contiguous block.
      class_names: name of each class, in label order.
      fingerprint: hex digest of images, labels and names; equal content has an equal fingerprint.
      file_names: `<class>/<file>` of each image, or empty where the images came without names.
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    fingerprint: str
    file_names: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, repr=False)
class FeatureSplit(_Classes):
    """The features of some classes, computed by any model.

    Attributes:
      features: float16, float32 or float64 [n, d], often memory-mapped; all finite.
      labels: int32 [n], in 0..len(class_names)-1 and ascending: a class is one contiguous block.
      class_names: name of each class, in label order.
      fingerprint: hex digest of features, labels and names.
    """

    features: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    fingerprint: str


class Sizes(NamedTuple):
    """How many examples a data set has; known before any is decoded.

    Attributes:
      classes: split -> class, in label order -> number of examples.
      base: split -> further examples of the training classes, see `DataSet.base`.
    """

    classes: Mapping[str, Mapping[str, int]]
    base: Mapping[str, int] = MappingProxyType({})


AnySplit = TypeVar("AnySplit", Split, FeatureSplit)


@dataclasses.dataclass(frozen=True)
class DataSet(Generic[AnySplit]):
    """Three splits whose classes are disjoint, under one name.

    `DataSet[FeatureSplit]` is one of features.

    Attributes:
      name: of the data set.
      train: classes that training sees.
      val: classes that choose among trained parameters.
      test: classes that are only evaluated on.
      base: further images of the training classes that no training stage sees, in the order of the
        training classes: queries of the base classes in learning without forgetting. Its keys are
        "val" and "test", or it is empty.
    """

    name: str
    train: AnySplit
    val: AnySplit
    test: AnySplit
    base: Mapping[str, AnySplit] = dataclasses.field(default_factory=dict)

    @property
    def sizes(self) -> Sizes:
        """Of each class, and of `base`."""
        parts = {split: self.split(split) for split in SPLITS}
        counts = {
            split: dict(zip(part.class_names, part.class_counts.tolist(), strict=True))
            for split, part in parts.items()
        }
        return Sizes(counts, {split: len(part.labels) for split, part in self.base.items()})

    def split(self, name: str) -> AnySplit:
        """The split called `name` (train, val or test)."""
        if name not in SPLITS:
            raise ValueError(f"unknown split {name!r}; the splits are {', '.join(SPLITS)}")
        return getattr(self, name)
