"""What tensorflow-datasets' own builders store, at toy size; written without TensorFlow."""

import io

import tensorflow_datasets as tfds
from toy_copies import png


def prepare(dataset, features, examples, data_dir):
    """A prepared data set called `dataset`.

    Args:
      dataset: in snake case.
      features: name -> tfds feature.
      examples: split -> list of dicts; images as uint8 arrays.
      data_dir: where tensorflow-datasets keeps data sets.
    """
    with tfds.core.registered.skip_registration():

        class Stored(tfds.core.GeneratorBasedBuilder):
            name = dataset
            VERSION = tfds.core.Version("3.0.0")

            def _info(self):
                return tfds.core.DatasetInfo(
                    builder=self, features=tfds.features.FeaturesDict(features)
                )

            def _split_generators(self, dl_manager):
                return {split: self._generate_examples(split) for split in examples}

            def _generate_examples(self, split):
                for key, example in enumerate(examples[split]):
                    yield key, {**example, "image": io.BytesIO(png(example["image"]))}

    Stored(data_dir=data_dir, file_format="array_record").download_and_prepare()
