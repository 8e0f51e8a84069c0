"""The tensorflow-datasets builder `mini_imagenet`."""

import tensorflow_datasets as tfds

from sib_jax.data import mini_imagenet
from sib_jax.data.builders.few_shot import FewShotBuilder
from sib_jax.data.class_lists import MINI_IMAGENET
from sib_jax.data.split import DataSet


class Builder(FewShotBuilder):
    """mini-ImageNet from the copy in `manual_dir`, in any form that `sib_jax` reads."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Put a copy of mini-ImageNet into manual_dir: class folders, the lists of Ravi and "
        "Larochelle beside their images, the pickles of Gidaris, or an archive of any of these. "
        f"To get one, {MINI_IMAGENET.obtain}."
    )
    STANDARD = MINI_IMAGENET
    SHAPE = (84, 84, 3)
    HOMEPAGE = "https://github.com/twitter-research/meta-learning-lstm"
    DESCRIPTION = (
        "mini-ImageNet: 100 classes of ImageNet with 600 images each, 64 for training, 16 for "
        "validation, 20 for testing."
    )
    CITATION = (
        "Vinyals et al. Matching Networks for One Shot Learning. NeurIPS 2016. "
        "Ravi and Larochelle. Optimization as a Model for Few-Shot Learning. ICLR 2017."
    )

    def load(self, dl_manager: tfds.download.DownloadManager) -> DataSet:  # noqa: D102
        copy = dl_manager.manual_dir
        return mini_imagenet.load(copy, image_size=self.SHAPE[0], standard_split=self.STANDARD)
