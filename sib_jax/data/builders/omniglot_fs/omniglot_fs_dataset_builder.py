"""The tensorflow-datasets builder `omniglot_fs`."""

from pathlib import Path

import tensorflow_datasets as tfds

from sib_jax.data import omniglot
from sib_jax.data.builders.few_shot import FewShotBuilder
from sib_jax.data.class_lists import OMNIGLOT
from sib_jax.data.split import DataSet


class Builder(FewShotBuilder):
    """Omniglot in its few-shot split, from the archives that its authors publish."""

    STANDARD = OMNIGLOT
    SHAPE = (105, 105, 1)
    HOMEPAGE = "https://github.com/brendenlake/omniglot"
    DESCRIPTION = (
        "Omniglot: 1,623 characters of 50 alphabets with 20 images each, 1,028 for training, 172 "
        "for validation, 423 for testing."
    )
    CITATION = (
        "Lake et al. Human-level concept learning through probabilistic program induction. Science "
        "2015. Snell et al. Prototypical Networks for Few-shot Learning. NeurIPS 2017."
    )
    URLS = (
        "https://github.com/brendenlake/omniglot/raw/master/python/images_background.zip",
        "https://github.com/brendenlake/omniglot/raw/master/python/images_evaluation.zip",
    )

    def load(self, dl_manager: tfds.download.DownloadManager) -> DataSet:  # noqa: D102
        archives = dl_manager.download(list(self.URLS))  # into one directory
        directory = Path(archives[0]).parent
        return omniglot.load(directory, image_size=self.SHAPE[0], standard_split=self.STANDARD)
