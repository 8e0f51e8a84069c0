"""Every mistake in a config ends with one message, before any work starts."""

import re

import pytest
from PIL import Image

import sib_jax
from sib_jax import config as sib_config
from sib_jax.data import prepare
from sib_jax.errors import UserError
from sib_jax.experiment import job


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("ways", 5, "config.ways is 5, but must be at most 4, the number of classes in the val"),
        ("ways", 1, "config.ways is 1, but must be a whole number from 2"),
        ("shots", 0, "config.shots is 0, but must be a whole number from 1"),
        ("queries", 12, "config.shots + config.queries is 1 + 12, but class 'train0'"),
        (
            "backbone",
            "resnet",
            "config.backbone is 'resnet', but must be conv4_64, conv4_128",
        ),
        ("backbone", "wrn_11_10", "config.backbone: wrn_11_10: the depth must be 6 n + 4"),
        ("dataset", "imagenet", "config.dataset is 'imagenet', but must be glyphs, mini"),
        (
            "posterior",
            "laplace",
            "config.posterior is 'laplace', but must be one of gaussian",
        ),
        ("prior", "none", "config.prior is 'none', but must be gaussian where posterior=gaussian"),
        ("optimizer.name", "lion", "config.optimizer.name is 'lion', but must be one of adam, sgd"),
        ("optimizer.lr", 0.0, "config.optimizer.lr is 0.0, but must be a number above 0"),
        ("elbo.beta", -1.0, "config.elbo.beta is -1.0, but must be a number from 0"),
        ("inner.steps", -1, "config.inner.steps is -1, but must be a whole number"),
        ("crop", 19, "config.crop is 19, but must be no larger than image_size=16"),
        (
            "pretrain.batch",
            73,
            "config.pretrain.batch is 73, but must be at most 72, the number of images",
        ),
        ("backbone_file", "no.npz", "config.backbone_file is 'no.npz', but must be an existing"),
        ("data_dir", "/nowhere", "/nowhere"),
        ("data_dir", "", "--data_dir=DIR"),
    ],
)
def test_a_value_that_cannot_work(config, tmp_path, field, value, message):
    config.update_from_flattened_dict({field: value})
    with pytest.raises(UserError, match=re.escape(message)) as raised:
        job.run(config, tmp_path / "run")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("fields", "mode", "message"),
    [
        ({"method": "maml"}, "pretrain", "--mode=pretrain trains a backbone, but all methods read"),
        ({"backbone_file": "cifar_fs-conv4_64"}, "all", "config.crop = 32, not 16; add --config."),
        ({"dataset": "features"}, "pretrain", "--mode=pretrain trains a backbone, but the data"),
    ],
)
def test_what_the_config_tells_is_told_before_the_data_are_read(
    config, tmp_path, fields, mode, message
):
    config.heads = ()
    config.update_from_flattened_dict({"data_dir": "/nowhere", **fields})
    with pytest.raises(UserError, match=re.escape(message)):
        job.run(config, tmp_path / "run", mode)
    assert not (tmp_path / "run").exists()


def test_a_start_of_other_classes_is_refused_before_decoding(config, tmp_path, monkeypatch):
    config.pretrain.start = "cifar_fs-conv4_64"
    monkeypatch.setattr(prepare, "decode", lambda *_: pytest.fail("decoded"))
    monkeypatch.setenv("SIB_JAX_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UserError, match="has no classifier of the 6 training classes"):
        job.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_unknown_field(config, tmp_path):
    with config.unlocked():
        config.inner.stepz = 3
    with pytest.raises(UserError, match=r"config.inner.stepz; similar: inner.steps"):
        job.run(config, tmp_path / "run")


def test_a_missing_field(config, tmp_path):
    with config.unlocked():
        del config.inner.steps
    with pytest.raises(UserError, match=r"config.inner.steps is missing"):
        job.run(config, tmp_path / "run")


def test_an_unknown_mode(config, tmp_path):
    with pytest.raises(UserError, match="mode is 'test', but must be one of all, pretrain"):
        job.run(config, tmp_path / "run", "test")


def test_an_unknown_data_set_name():
    with pytest.raises(UserError, match="unknown data set 'imagenet'; known are glyphs, mini_"):
        sib_config.default("imagenet")
    with pytest.raises(UserError, match="unknown setting 'LwoF'; known are standard, lwof"):
        sib_config.default("glyphs", "LwoF")


def test_a_folder_without_images(config, tmp_path):
    (tmp_path / "empty").mkdir()
    config.data_dir = str(tmp_path / "empty")
    with pytest.raises(UserError, match=re.escape(str(tmp_path / "empty"))):
        job.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_unreadable_image(config, image_folder, tmp_path):
    _copy_with(image_folder, tmp_path / "data", "train/train0/broken.png", b"no image")
    config.data_dir = str(tmp_path / "data")
    with pytest.raises(UserError, match=r"broken\.png"):
        job.run(config, tmp_path / "run")


def test_a_class_with_one_image(config, image_folder, tmp_path):
    root = tmp_path / "data"
    _copy_with(image_folder, root, "train/train0/more.png", None)
    lonely = root / "train" / "lonely"
    lonely.mkdir()
    Image.new("RGB", (16, 16)).save(lonely / "only.png")
    config.data_dir = str(root)
    with pytest.raises(UserError, match="lonely"):
        job.run(config, tmp_path / "run")


def test_a_backbone_file_of_another_network(config, tmp_path):
    (tmp_path / "weights.npz").write_bytes(b"no weights")
    config.backbone_file = str(tmp_path / "weights.npz")
    with pytest.raises(UserError, match=r"weights\.npz is not a file of weights"):
        job.run(config, tmp_path / "run")


def _copy_with(source, target, name, content):
    import shutil

    shutil.copytree(source, target)
    if content is not None:
        (target / name).write_bytes(content)


def test_glyphs_have_one_size(config, tmp_path):
    config.dataset, config.image_size = "glyphs", 64
    with pytest.raises(UserError, match="image_size is 64, but must be 32: glyphs"):
        job.run(config, tmp_path / "run")


def test_a_folder_of_another_program(tmp_path):
    (tmp_path / "config.json").write_text('{"architectures": ["BertModel"]}')
    with pytest.raises(UserError, match=r"is not the config of a run .it names no data set"):
        sib_jax.load(tmp_path)
