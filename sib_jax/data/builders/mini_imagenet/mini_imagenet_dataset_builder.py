"""The tensorflow-datasets builder `mini_imagenet`."""

from typing import Any, ClassVar

import tensorflow_datasets as tfds

from sib_jax.data import mini_imagenet
from sib_jax.data.builders import few_shot
from sib_jax.data.class_lists import MINI_IMAGENET

_SIDE = 84  # pixels


class Builder(tfds.core.GeneratorBasedBuilder):
    """mini-ImageNet from the copy in `manual_dir`, in any form that `sib_jax` reads."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Put a copy of mini-ImageNet into manual_dir: class folders, the lists of Ravi and "
        "Larochelle beside their images, the pickles of Gidaris, or an archive of any of these. "
        f"To get one, {MINI_IMAGENET.obtain}."
    )
    STANDARD = MINI_IMAGENET

    def _info(self) -> tfds.core.DatasetInfo:
        return few_shot.info(
            self,
            self.STANDARD,
            (_SIDE, _SIDE, 3),
            homepage="https://github.com/twitter-research/meta-learning-lstm",
            description="mini-ImageNet: 100 classes of ImageNet with 600 images each, 64 for "
            "training, 16 for validation, 20 for testing.",
            citation="Vinyals et al. Matching Networks for One Shot Learning. NeurIPS 2016. "
            "Ravi and Larochelle. Optimization as a Model for Few-Shot Learning. ICLR 2017.",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        data = mini_imagenet.load(
            dl_manager.manual_dir, image_size=_SIDE, standard_split=self.STANDARD
        )
        return few_shot.splits(data)

    def _generate_examples(self) -> None:
        """Unused: `_split_generators` gives the examples."""
