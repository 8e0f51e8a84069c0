"""What the builders share: a `DataSet` as splits of tensorflow-datasets."""

import abc
import io
from collections.abc import Iterator
from typing import Any, ClassVar

import tensorflow_datasets as tfds
from PIL import Image

from sib_jax.data.published import StandardSplit
from sib_jax.data.split import DataSet, Split

SPLITS = {"train": "train", "validation": "val", "test": "test"}
"""tensorflow-datasets' name of a split -> ours."""


class FewShotBuilder(tfds.core.GeneratorBasedBuilder):
    """A builder of a data set with a standard split.

    Attributes:
      STANDARD: its classes.
      SHAPE: of an image.
      HOMEPAGE: where it is described.
      DESCRIPTION: what it is.
      CITATION: what to cite.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First release."}
    STANDARD: StandardSplit
    SHAPE: tuple[int, int, int]
    HOMEPAGE: str
    DESCRIPTION: str
    CITATION: str

    @abc.abstractmethod
    def load(self, dl_manager: tfds.download.DownloadManager) -> DataSet:
        """The data set, of images of `SHAPE`."""

    def _info(self) -> tfds.core.DatasetInfo:
        names = [name for split in SPLITS.values() for name in self.STANDARD.classes[split]]
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.DESCRIPTION,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=self.SHAPE, encoding_format="png"),
                    "label": tfds.features.ClassLabel(names=names),
                    "file_name": tfds.features.Text(),
                }
            ),
            supervised_keys=("image", "label"),
            homepage=self.HOMEPAGE,
            citation=self.CITATION,
            disable_shuffling=True,  # rows stay those of `sib_jax.data`
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        data = self.load(dl_manager)
        return {name: self._generate_examples(data.split(ours)) for name, ours in SPLITS.items()}

    def _generate_examples(self, split: Split) -> Iterator[tuple[int, dict[str, Any]]]:
        """Row and example of each image, in the order of the rows."""
        for row, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
            # Encoded here: tensorflow-datasets encodes arrays with TensorFlow.
            png = io.BytesIO()
            Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(png, "png")
            png.seek(0)
            yield (
                row,
                {
                    "image": png,
                    "label": split.class_names[label],
                    "file_name": split.file_names[row] if split.file_names else "",
                },
            )
