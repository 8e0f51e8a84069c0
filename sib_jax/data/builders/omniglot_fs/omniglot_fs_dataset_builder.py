"""The tensorflow-datasets builder `omniglot_fs`."""

from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from sib_jax.data import omniglot
from sib_jax.data.builders import few_shot
from sib_jax.data.class_lists import OMNIGLOT

_SIDE = 105  # pixels


class Builder(tfds.core.GeneratorBasedBuilder):
    """Omniglot in its few-shot split, from the archives that its authors publish."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First release."}
    STANDARD = OMNIGLOT
    URLS = (
        "https://github.com/brendenlake/omniglot/raw/master/python/images_background.zip",
        "https://github.com/brendenlake/omniglot/raw/master/python/images_evaluation.zip",
    )

    def _info(self) -> tfds.core.DatasetInfo:
        return few_shot.info(
            self,
            self.STANDARD,
            (_SIDE, _SIDE, 1),
            homepage="https://github.com/brendenlake/omniglot",
            description="Omniglot: 1,623 characters of 50 alphabets with 20 images each, 1,028 for "
            "training, 172 for validation, 423 for testing.",
            citation="Lake et al. Human-level concept learning through probabilistic program "
            "induction. Science 2015. "
            "Snell et al. Prototypical Networks for Few-shot Learning. NeurIPS 2017.",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        archives = dl_manager.download(list(self.URLS))  # into one directory
        directory = Path(archives[0]).parent
        data = omniglot.load(directory, image_size=_SIDE, standard_split=self.STANDARD)
        return few_shot.splits(data)

    def _generate_examples(self) -> None:
        """Unused: `_split_generators` gives the examples."""
