"""Growing images and averaged weights: phases follow each other, and one resumes within them."""

import json
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from sib_jax import backbones
from sib_jax.backbones import pretrained
from sib_jax.backbones.preprocess import Preprocessing
from sib_jax.config import check
from sib_jax.data.load import load
from sib_jax.errors import UserError
from sib_jax.experiment import job, pretrain, settings
from sib_jax.report.metrics import Metrics
from sib_jax.runtime import interrupt, weights


@pytest.fixture
def config(config):
    config.image_size = config.crop = 32
    config.pretrain.growth = ((16, 0.5),)
    config.pretrain.average = 0.9
    config.pretrain.epochs = 2
    return config


def test_phases_follow_each_other_and_resume_within(config, tmp_path, monkeypatch):
    """With crops that live from the padding: it fits the small images too."""
    config.crop, config.pretrain.padding = 36, 2
    config.pretrain.growth = ((26, 0.5),)  # of images of 23 pixels, whose padding is 1.44
    job.run(config, tmp_path / "one", "pretrain")
    text = (tmp_path / "one" / "metrics.jsonl").read_text()
    logged = [json.loads(line) for line in text.splitlines()]
    assert [(m["stage"], m["step"]) for m in logged] == [("pretrain_1_26px", 6), ("pretrain", 6)]
    assert weights.about(tmp_path / "one" / "backbone.npz")["preprocessing"]["crop"] == 36
    write = Metrics.write

    def terminated(self, name, step, **values):
        write(self, name, step, **values)
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Metrics, "write", terminated)
        with pytest.raises(interrupt.Interrupted):
            job.run(config, tmp_path / "two", "pretrain")
    job.run(config, tmp_path / "two", "pretrain")
    one, two = (np.load(tmp_path / name / "backbone.npz") for name in ("one", "two"))
    assert one["base_weights"].shape == (6, 64 * 4)  # features at full size
    for name in one.files:
        np.testing.assert_array_equal(one[name], two[name])


def test_a_resized_classifier_scores_constant_feature_maps_alike():
    """A constant map looks the same at every size; from 2 x 2 the interpolation keeps the mean."""
    small = backbones.make("conv4_64", image_size=32)
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((5, small.features)).astype(np.float32)
    grown = small.resize(jnp.asarray(weights), 80)
    assert grown.shape == (5, small.at(80).features) == (5, 1600)
    channels = rng.standard_normal(64)
    wanted = weights @ np.repeat(channels, 4) / 4
    np.testing.assert_allclose(grown @ np.repeat(channels, 25) / 25, wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(small.resize(jnp.asarray(weights), 32), weights)


def test_training_starts_from_a_file_of_smaller_images(config, tmp_path, monkeypatch):
    config.pretrain.growth, config.pretrain.epochs = (), 1
    backbone = backbones.make("conv4_64", image_size=16, final_relu=config.final_relu)
    small = pretrained.Pretrained(
        backbone,
        backbone.init(jax.random.key(1)),
        Preprocessing(16, (0.5,) * 3, (0.25,) * 3),
        np.random.default_rng(0).standard_normal((6, 64)).astype(np.float32),
    )
    pretrained.save(tmp_path / "small.npz", small)
    wanted = small.variables["params"]["conv_0"]["kernel"]
    config.pretrain.start = str(tmp_path / "small.npz")
    with monkeypatch.context() as patch:
        patch.setattr(pretrain, "_train", lambda work, phase, model, *_: model)
        job.run(config, tmp_path / "large", "pretrain")
    large = np.load(tmp_path / "large" / "backbone.npz")
    np.testing.assert_array_equal(large["params/conv_0/kernel"], wanted)
    assert large["base_weights"].shape == (6, 256)

    # In half precision too: what a file holds is float32 whatever it is used in.
    config.dtype = "bfloat16"
    config.pretrain.lr = 1e-12  # so that it stays where it starts
    job.run(config, tmp_path / "half", "pretrain")
    half = np.load(tmp_path / "half" / "backbone.npz")
    np.testing.assert_allclose(half["params/conv_0/kernel"], wanted, atol=1e-6)
    np.testing.assert_allclose(half["base_weights"], large["base_weights"], atol=1e-6)

    config.pretrain.start = str(tmp_path / "none.npz")
    with pytest.raises(UserError, match=r"pretrain.start is .* but must be an existing .npz file"):
        job.run(config, tmp_path / "none")


@pytest.mark.parametrize(
    ("growth", "epochs", "wanted"),
    [
        (((48, 0.5), (64, 0.3)), 20, [10, 6, 4]),
        (((48, 0.7), (64, 0.1)), 10, [7, 1, 2]),  # 0.7 + 0.1 is a little below 0.8
        (((48, 0.5), (64, 0.3)), 1, [1]),
        (((48, 0.5), (64, 0.3)), 3, [1, 1, 1]),
        (((48, 0.6), (64, 0.399_998)), 36, [21, 14, 1]),
        (((48, 0.5), (80, 0.3)), 10, [5, 5]),  # those of 80 pixels would not be smaller
    ],
)
def test_phases_share_the_epochs_and_the_last_one_has_some(config, growth, epochs, wanted):
    config.dataset, config.crop, config.image_size = "folder", 80, 80
    config.pretrain.growth, config.pretrain.epochs = growth, epochs
    phases = pretrain._phases(settings.read(config).pretraining)
    assert [phase.epochs for phase in phases] == wanted
    assert [phase.before for phase in phases] == [sum(wanted[:i]) for i in range(len(wanted))]
    assert phases[-1].crop == config.crop


def test_shares_of_all_epochs_are_refused(config):
    config.pretrain.growth = ((16, 0.6), (24, 0.3), (28, 0.1))  # 1 - 1e-16 as a sum of floats
    with pytest.raises(
        UserError, match=r"pretrain.growth .* must be shares that sum to less than 1"
    ):
        check(config)


@pytest.mark.parametrize(("flat", "features"), [(False, 256), (True, 255)])
def test_a_backbone_without_the_features_that_it_says_is_told(config, tmp_path, flat, features):
    class Own(nn.Module):
        @nn.compact
        def __call__(self, images, train=False):
            found = nn.Conv(64, (3, 3), (16, 16))(images)
            return found.reshape(len(images), -1) if flat else found

    backbone = backbones.Backbone("own", 32, 3, features, Own())
    made, data = settings.read(config), load("folder", config.data_dir, image_size=32)
    made = made.pretraining._replace(crop=32)
    with pytest.raises(UserError) as raised:
        pretrain.pretrain(made, data, backbone, 0.0, tmp_path / "checkpoints", Metrics(tmp_path))
    given = "[2, 256]" if flat else "[2, 2, 2, 64]"
    assert f"own gives {given} for 2 images of 32 pixels" in str(raised.value)
    assert f"but must give [2, {features}]" in str(raised.value)


@pytest.mark.parametrize(
    ("stride", "kernel", "crop", "message"),
    [
        (None, 16, 16, r"gives \[2, 64\] for 2 images of 16 .* must give \[2, 256\]: as many for"),
        (2, 16, 24, r"gives \[2, 256\] for 2 .* must give \[2, 144\]: all cells of a map with a"),
        (None, 0, 16, "own cannot work on images of 16 pixels: "),
    ],
)
def test_smaller_images_that_a_backbone_of_ones_own_cannot_take(
    config, tmp_path, stride, kernel, crop, message
):
    class Own(nn.Module):
        @nn.compact
        def __call__(self, images, train=False):
            if kernel:
                images = nn.Conv(64, (3, 3), (kernel, kernel))(images)
            found = images.reshape(len(images), -1)
            return found if kernel else nn.Dense(256)(found)  # for images of one size

    backbone = backbones.Backbone("own", 32, 3, 256, Own(), stride)
    config.pretrain.growth = ((crop, 0.5),)
    made, data = settings.read(config), load("folder", config.data_dir, image_size=32)
    made = made.pretraining._replace(crop=32)
    with pytest.raises(UserError, match=message):
        pretrain.pretrain(made, data, backbone, 0.0, tmp_path / "checkpoints", Metrics(tmp_path))
