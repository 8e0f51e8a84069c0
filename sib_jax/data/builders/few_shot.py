"""What the builders share: a `DataSet` as splits of tensorflow-datasets."""

import io
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds
from PIL import Image

from sib_jax.data.published import StandardSplit
from sib_jax.data.split import DataSet, Split

SPLITS = {"train": "train", "validation": "val", "test": "test"}
"""tensorflow-datasets' name of a split -> ours."""


def info(
    builder: tfds.core.GeneratorBasedBuilder,
    standard: StandardSplit,
    shape: tuple[int, int, int],
    *,
    homepage: str,
    description: str,
    citation: str,
) -> tfds.core.DatasetInfo:
    """The features and texts of a builder; `shape` is that of an image."""
    names = [name for split in SPLITS.values() for name in standard.classes[split]]
    return tfds.core.DatasetInfo(
        builder=builder,
        description=description,
        features=tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=shape, encoding_format="png"),
                "label": tfds.features.ClassLabel(names=names),
                "file_name": tfds.features.Text(),
            }
        ),
        supervised_keys=("image", "label"),
        homepage=homepage,
        citation=citation,
        disable_shuffling=True,  # rows stay those of `sib_jax.data`
    )


def splits(data: DataSet) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
    """Examples of each split, in the order of its rows."""
    return {name: examples(data.split(ours)) for name, ours in SPLITS.items()}


def examples(split: Split) -> Iterator[tuple[int, dict[str, Any]]]:
    """Row and example of each image."""
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
