"""A folder of small images and a config whose whole run takes seconds."""

import jax
import numpy as np
import pytest
from PIL import Image

from sib_jax.backbones import make, pretrained
from sib_jax.backbones.preprocess import Preprocessing
from sib_jax.config import default, steps
from sib_jax.experiment import features

CLASSES = {"train": 6, "val": 4, "test": 4}
IMAGES = 12  # of each class
SIZE = 16


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory):
    """train, val and test below one directory; a class is a colour pattern plus noise."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for split, classes in CLASSES.items():
        for c in range(classes):
            pattern = np.kron(rng.integers(40, 215, (4, 4, 3)), np.ones((4, 4, 1), int))
            folder = root / split / f"{split}{c}"
            folder.mkdir(parents=True)
            for i in range(IMAGES):
                noisy = np.clip(pattern + rng.normal(0, 40, pattern.shape), 0, 255)
                Image.fromarray(noisy.astype(np.uint8)).save(folder / f"{i}.png")
    return root


@pytest.fixture(scope="session")
def backbone_file(tmp_path_factory):
    """A backbone as it is drawn, for jobs in which pretraining is not what is tested."""
    final_relu = default("folder").final_relu
    backbone = make("conv4_64", image_size=SIZE, final_relu=final_relu)
    preprocessing = Preprocessing(SIZE, (0.5,) * 3, (0.25,) * 3)
    path = tmp_path_factory.mktemp("backbone") / "drawn.npz"
    variables = backbone.init(jax.random.key(0))
    pretrained.save(path, pretrained.Pretrained(backbone, variables, preprocessing))
    return str(path)


@pytest.fixture
def config(image_folder, monkeypatch):
    """Every stage at toy size, with a Gaussian posterior, at T = 0 and 2."""
    monkeypatch.setattr(features, "BATCH", CLASSES["test"] * IMAGES)  # no larger than a split
    config = default("folder")
    config.posterior, config.prior, config.elbo.beta = "gaussian", "gaussian", 1e-3
    config.data_dir = str(image_folder)
    config.image_size = config.crop = SIZE
    config.ways, config.shots, config.queries = 3, 1, 4
    config.pretrain.epochs, config.pretrain.batch, config.pretrain.padding = 2, 12, 1
    config.pretrain.val_tasks = 10
    config.heads = steps(0, 2)
    config.optimizer.epochs, config.optimizer.steps_per_epoch = 2, 5
    config.optimizer.batch, config.optimizer.val_tasks = 2, 10
    config.optimizer.drop_epochs = (1,)
    config.eval.val_tasks, config.eval.test_tasks, config.eval.batch = 20, 15, 10
    return config
