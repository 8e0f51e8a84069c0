"""A backbone that was trained elsewhere: what it saw, and what was made of it."""

import shutil

import jax
import jax.numpy as jnp
import pytest

from sib_jax import features
from sib_jax.backbones import make, preprocess, pretrained
from sib_jax.config import ConfigError, steps
from sib_jax.data.load import load
from sib_jax.experiment import job, leakage, pretrain, run_files, settings
from sib_jax.runtime import interrupt
from sib_jax.runtime.seeds import Stream, key


@pytest.fixture
def data(config):
    return load("folder", config.data_dir, image_size=16)


@pytest.fixture
def backbone(data):
    made = make("conv4_64", image_size=16, channels=3, final_relu=False)
    return pretrained.Pretrained(
        made,
        made.init(key(0, Stream.INIT)),
        preprocess.fit(data.train.images, 16),
        jnp.eye(6, made.features),
        dataset="folder",
        class_names=tuple(data.train.class_names),
        base_holdout=1 / 6,
    )


@pytest.fixture
def without_forgetting(config):
    config.base_holdout = 1 / 6
    config.heads = (("lwof", {"setting": "lwof", "prior": "mixture", "inner.steps": 1}),)
    return settings.read(config)


def test_base_queries_that_it_was_trained_on_are_refused(backbone, data, without_forgetting):
    def check(**known):
        leakage.check(backbone._replace(**known), "mine.npz", data, without_forgetting)

    check()
    check(base_holdout=0.5)  # that leaves out the same images, and more
    check(base_holdout=0.16)  # of 12 images the same two
    check(base_holdout=0.0, class_names=("of", "others"))
    with pytest.raises(ConfigError, match=r"mine\.npz was trained with base_holdout=0, so base"):
        check(base_holdout=0.0)
    with pytest.raises(ConfigError, match=r"trained with base_holdout=0\.166667"):
        check(base_holdout=0.1)  # one image of two


def test_what_no_file_says_is_told(backbone, data, without_forgetting, config, caplog):
    unknown = backbone._replace(dataset=None, class_names=None, base_holdout=None)
    config.heads = steps(0)
    leakage.check(unknown, "official.pth", data, settings.read(config))
    assert not caplog.text
    leakage.check(unknown, "official.pth", data, without_forgetting)
    assert "official.pth does not say which images of the base classes" in caplog.text


def test_test_classes_that_it_was_trained_on_are_told(backbone, data, config, caplog):
    config.heads = steps(0)
    seen = backbone._replace(class_names=("test1", "a", "val0", "b", "c", "d"))
    leakage.check(seen, "mine.npz", data, settings.read(config))
    assert "2 of the 8 validation and test classes have the name of a class" in caplog.text
    assert "such as test1" in caplog.text


def test_a_run_says_what_its_backbone_did_not_see(
    config, without_forgetting, tmp_path, monkeypatch
):
    """Also where it is handed on."""
    monkeypatch.setattr(pretrain, "_train", lambda work, phase, model, *_: model)
    job.run(config, tmp_path / "one", "pretrain")
    file = tmp_path / "one" / run_files.BACKBONE
    assert pretrained.open_file(file).base_holdout == 1 / 6
    config.backbone_file = str(file)
    job.run(config, tmp_path / "two", "pretrain")
    assert pretrained.open_file(tmp_path / "two" / run_files.BACKBONE).base_holdout == 1 / 6


def test_shipped_backbones_say_it():
    for name in ("mini_imagenet-conv4_128", "mini_imagenet-conv4_64", "cifar_fs-conv4_64"):
        found = pretrained.open_file(name)
        assert found.base_holdout == 1 / 6
        assert found.class_names is not None
        assert len(found.class_names) == len(set(found.class_names)) == 64


def test_what_another_backbone_made_is_not_taken_over(config, backbone, tmp_path, monkeypatch):
    """Where backbone.npz was deleted, which says that the run is another one."""
    other = jax.tree.map(lambda leaf: leaf * 1.1, backbone.variables)
    for name, variables in (("first", backbone.variables), ("other", other)):
        pretrained.save(tmp_path / f"{name}.npz", backbone._replace(variables=variables))
    run = tmp_path / "run"
    config.heads = (
        ("means", {"method": "prototypical"}),
        ("k-means", {"method": "soft_kmeans"}),
    )
    config.optimizer.epochs = 1
    config.backbone_file = str(tmp_path / "first.npz")

    def stop(*_):
        raise interrupt.Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(job.results, "write", stop)
        with pytest.raises(interrupt.Interrupted):
            job.run(config, run)
    (run / run_files.BACKBONE).unlink()
    config.backbone_file = str(tmp_path / "other.npz")
    with pytest.raises(
        ConfigError, match=r"means\.npz was trained on features of another backbone"
    ):
        job.run(config, run)
    # What is not trained is no file, but was evaluated.
    config.heads = config.heads[1:]
    assert (run / run_files.CHECKPOINTS / "evaluated" / "k-means.npz").exists()
    found, anew = (job.run(config, run if old else tmp_path / "new") for old in (True, False))
    assert [row["novel"] for row in found] == [row["novel"] for row in anew]


def test_features_of_a_run_are_of_its_data(config, backbone, tmp_path, image_folder):
    pretrained.save(tmp_path / "b.npz", backbone)
    config.backbone_file, config.heads = str(tmp_path / "b.npz"), steps(0)
    job.run(config, tmp_path / "run", "pretrain")
    changed = tmp_path / "images"
    shutil.copytree(image_folder, changed)
    (changed / "train" / "train0").rename(changed / "test" / "train0")
    words = [f"--run={tmp_path}/run", f"--out={tmp_path}/x.npz", "--data_dir"]
    features.main([*words, str(image_folder)])
    with pytest.raises(SystemExit, match="have changed, so its training classes may differ; for"):
        features.main([*words, str(changed)])


def test_what_the_start_of_pretraining_has_seen_is_seen(
    config, backbone, without_forgetting, tmp_path, monkeypatch
):
    monkeypatch.setattr(job, "pretrain", lambda *_: backbone)
    config.pretrain.start = str(tmp_path / "b.npz")
    pretrained.save(tmp_path / "b.npz", backbone._replace(base_holdout=0.0))
    with pytest.raises(ConfigError, match=r"b\.npz was trained with base_holdout=0, so base quer"):
        job.run(config, tmp_path / "run", "pretrain")
    config.heads = steps(0)
    for saw, wanted in ((0.0, 0.0), (1 / 3, 1 / 6), (None, None)):
        pretrained.save(tmp_path / "b.npz", backbone._replace(base_holdout=saw))
        job.run(config, tmp_path / f"{saw}", "pretrain")
        found = pretrained.open_file(tmp_path / f"{saw}" / run_files.BACKBONE)
        assert found.base_holdout == wanted


def test_the_start_of_pretraining_is_of_the_same_classes(config, backbone, data, tmp_path):
    config.pretrain.start = str(tmp_path / "b.npz")
    others = tuple(name.upper() for name in data.train.class_names)
    pretrained.save(tmp_path / "b.npz", backbone._replace(class_names=others))
    with pytest.raises(ConfigError, match="no classifier of the 6 training classes, only one of 6"):
        job.run(config, tmp_path / "run", "pretrain")


def test_results_on_features_of_another_backbone_leave_the_tables(
    config, backbone, tmp_path, caplog
):
    other = jax.tree.map(lambda leaf: leaf * 1.1, backbone.variables)
    for name, variables in (("first", backbone.variables), ("other", other)):
        pretrained.save(tmp_path / f"{name}.npz", backbone._replace(variables=variables))
    config.heads = tuple((n, {"method": n}) for n in ("simple_shot", "soft_kmeans"))
    config.backbone_file = str(tmp_path / "first.npz")
    job.run(config, tmp_path / "run")
    assert len(job.run(config, tmp_path / "run", only=["soft_kmeans"])) == 4
    (tmp_path / "run" / run_files.BACKBONE).unlink()
    config.backbone_file = str(tmp_path / "other.npz")
    found = job.run(config, tmp_path / "run", only=["soft_kmeans"])
    assert {row["head"] for row in found} == {"soft_kmeans"}
    assert "holds results on features of another backbone for simple_shot" in caplog.text
