"""The tensorflow-datasets builder `cifar_fs`."""

import tensorflow_datasets as tfds

from sib_jax.data import cifar_fs
from sib_jax.data.builders.few_shot import FewShotBuilder
from sib_jax.data.class_lists import CIFAR_FS
from sib_jax.data.split import DataSet


class Builder(FewShotBuilder):
    """CIFAR-FS, from the CIFAR-100 that its authors publish."""

    STANDARD = CIFAR_FS
    SHAPE = (32, 32, 3)
    HOMEPAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
    DESCRIPTION = (
        "CIFAR-FS: the 100 classes of CIFAR-100 with 600 images each, 64 for training, 16 for "
        "validation, 20 for testing."
    )
    CITATION = "Bertinetto et al. Meta-learning with differentiable closed-form solvers. ICLR 2019."
    URL = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"

    def load(self, dl_manager: tfds.download.DownloadManager) -> DataSet:  # noqa: D102
        archive = dl_manager.download(self.URL)
        return cifar_fs.load(archive, image_size=self.SHAPE[0], standard_split=self.STANDARD)
