"""The tensorflow-datasets builder `cifar_fs`."""

from typing import Any, ClassVar

import tensorflow_datasets as tfds

from sib_jax.data import cifar_fs
from sib_jax.data.builders import few_shot
from sib_jax.data.class_lists import CIFAR_FS

_SIDE = 32  # pixels


class Builder(tfds.core.GeneratorBasedBuilder):
    """CIFAR-FS, from the CIFAR-100 that its authors publish."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First release."}
    STANDARD = CIFAR_FS
    URL = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"

    def _info(self) -> tfds.core.DatasetInfo:
        return few_shot.info(
            self,
            self.STANDARD,
            (_SIDE, _SIDE, 3),
            homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
            description="CIFAR-FS: the 100 classes of CIFAR-100 with 600 images each, 64 for "
            "training, 16 for validation, 20 for testing.",
            citation="Bertinetto et al. Meta-learning with differentiable closed-form solvers. "
            "ICLR 2019.",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        archive = dl_manager.download(self.URL)
        data = cifar_fs.load(archive, image_size=_SIDE, standard_split=self.STANDARD)
        return few_shot.splits(data)

    def _generate_examples(self) -> None:
        """Unused: `_split_generators` gives the examples."""
