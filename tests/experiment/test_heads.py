"""Several heads on one backbone: settings and methods beside each other, in one results.json."""

import json
import os
import shutil
import signal
from typing import NamedTuple

import jax
import numpy as np
import pytest

import sib_jax
from sib_jax.backbones import pretrained
from sib_jax.config import ConfigError, default, named, steps
from sib_jax.errors import UserError
from sib_jax.experiment import job, run_files
from sib_jax.methods import METHODS, Entry, Method
from sib_jax.methods import method as methods
from sib_jax.report.metrics import Metrics
from sib_jax.runtime import interrupt, weights


class NoSettings(NamedTuple):
    pass


LWOF = {"setting": "lwof", "prior": "mixture"}
HEADS = {
    "standard": {"shots": 2, "posterior": "point", "prior": "none"},
    "lwof": LWOF,
    "matching": {"method": "matching", "matching.scale": 5.0},
    "attention": {
        "method": "weight_generator",
        "setting": "lwof",
        "weight_generator.generator": "attention",
    },
}


@pytest.fixture
def config(config):
    config.base_holdout = 1 / 6
    config.inner.steps = 1
    config.heads = tuple(HEADS.items())
    return config


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return tmp_path_factory.mktemp("heads")


@pytest.fixture
def rows(config, workdir):
    if not (workdir / "results.json").exists():
        job.run(config, workdir)
    return json.loads((workdir / "results.json").read_text())


def without_seconds(rows):
    return [{**row, "seconds": 0} for row in rows]


def test_each_head_differs_in_its_own_fields(rows):
    assert [(r["head"], r["method"], r["setting"], r["shots"], r["steps"]) for r in rows[::2]] == [
        ("standard", "SIB point", "standard", 2, 1),
        ("lwof", "SIB gaussian", "lwof", 1, 1),
        ("matching", "matching", "standard", 1, None),
        ("attention", "weight_generator attention", "lwof", 1, None),
    ]
    assert [r["split"] for r in rows] == ["val", "test"] * len(HEADS)


def test_novel_base_and_both(rows):
    for row in rows:
        for name in ("base", "both"):
            assert (row[name] is None) == (row["setting"] == "standard")
        assert row["novel"]["mean"] > 38  # of 3 classes, told apart by their colours
        if row["setting"] == "lwof":
            assert row["base"]["mean"] > 30  # of 6 base classes
            assert row["both"]["mean"] > 20
            if row["split"] == "val":  # which chose the offset
                assert row["both_offset"]["mean"] >= row["both"]["mean"]


def test_started_again_nothing_is_trained_again(rows, workdir, config):
    before = {path: path.stat().st_mtime_ns for path in workdir.rglob("*.npz")}
    del before[workdir / "tasks.npz"]  # evaluation is done again
    (workdir / "heads" / "standard.npz").unlink()
    again = job.run(config, workdir)
    for path, time in before.items():
        assert (path.stat().st_mtime_ns != time) == (path.stem == "standard"), path
    assert without_seconds(again) == without_seconds(rows)


def test_a_file_that_is_of_no_head_is_refused(rows, workdir, tmp_path):
    other = shutil.copytree(workdir, tmp_path / "other")
    shutil.copy(other / "backbone.npz", other / "heads" / "standard.npz")
    with pytest.raises(UserError, match=r"standard\.npz does not say .* is not the file of a head"):
        sib_jax.load(other, "standard")


def test_a_folder_can_be_moved_and_goes_on_without_the_backbones_file(
    rows, workdir, config, tmp_path
):
    given = tmp_path / "given.npz"
    shutil.copy(workdir / "backbone.npz", given)
    config.backbone_file = str(given)
    config.heads = config.heads[:1]
    job.run(config, tmp_path / "here", "train")
    given.unlink()
    (tmp_path / "here").rename(tmp_path / "there")
    found = job.run(config, tmp_path / "there", "evaluate")
    assert without_seconds(found) == without_seconds(rows[:2])
    config.backbone_file = str(tmp_path / "givne.npz")
    with pytest.raises(ConfigError, match=r"givne\.npz', but must be an existing .npz or .pth"):
        job.run(config, tmp_path / "there", "evaluate")


def test_another_backbone_in_the_same_folder_is_refused(rows, workdir, config, tmp_path):
    shutil.copytree(workdir, tmp_path / "run")
    found = pretrained.open_file(workdir / "backbone.npz")
    other = found._replace(variables=jax.tree.map(lambda leaf: leaf * 2, found.variables))
    pretrained.save(tmp_path / "other.npz", other)
    config.backbone_file = str(tmp_path / "other.npz")
    with pytest.raises(UserError, match="with a backbone other than"):
        job.run(config, tmp_path / "run")


def test_a_signal_stops_the_whole_experiment(rows, workdir, config, tmp_path, monkeypatch):
    """Also when it comes in the last epoch of a head, and not only the head at work."""
    shutil.copytree(workdir, tmp_path / "run")
    for name in ("standard", "lwof"):
        (tmp_path / "run" / "heads" / f"{name}.npz").unlink()
        shutil.rmtree(tmp_path / "run" / "checkpoints" / "heads" / name)
    write, trained = Metrics.write, []

    def terminated(self, stage, step, **values):
        write(self, stage, step, **values)
        trained.append(stage)
        if step == 10:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Metrics, "write", terminated)
        with pytest.raises(interrupt.Interrupted):
            job.run(config, tmp_path / "run")
    assert set(trained) == {"standard"}
    again = job.run(config, tmp_path / "run")
    assert without_seconds(again) == without_seconds(rows)


def test_the_table_is_written_as_markdown(rows, workdir):
    text = (workdir / "table.md").read_text()
    val = rows[0]["novel"]
    cell = f"| {val['mean']:.2f} ± {val['ci95']:.2f} |"
    assert f"| standard | SIB point | 1 | standard | 3-way 2-shot {cell}" in text
    assert "paper" not in text  # it has no rows for this data set


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        ((("a", {"setting": "lwof"}),), "head a: config.prior is 'gaussian', but must be mixture"),
        ((("a", {"shotz": 3}),), "config.heads: a has unknown field config.shotz"),
        (
            (("a", {"my_own.x": 3}),),
            r"config.my_own.x; fields of a method of your own are known once",
        ),
        ((("a", {"shots": 0}),), "head a: config.shots is 0, but must be a whole number from 1"),
        ((("a", {"ways": "x"}),), "config.heads: a: config.ways is 'x', but must be a"),
        ((("a", {}), ("a", {})), "two heads named 'a'"),
        ((("T3", {}), ("t3", {})), "'T3' and 't3': on some disks these are one file"),
        ((("../a", {}),), "a head named '../a'"),
        ((("pretrain_1_48px", {}),), "a head named 'pretrain_1_48px'"),
        ((("a", {"crop": 8}),), "a changes crop, which all heads of an experiment share"),
        ((("a", 3),), "a must have a dict of fields, got 3"),
        ((3,), "config.heads is (3,), but must be a tuple of pairs"),
        (
            (("a", {"method": "tim", "setting": "lwof"}),),
            "head a: tim adm is for setting=standard, not for lwof",
        ),
        (
            (("a", {"method": "weight_generator", "weight_generator.generator": "mean"}),),
            "config.weight_generator: generator is 'mean', but must be one of",
        ),
    ],
)
def test_a_mistake_in_one_head_is_found_before_any_work(config, tmp_path, heads, message):
    with config.unlocked():
        config.heads = heads
    with pytest.raises(UserError) as raised:
        job.run(config, tmp_path / "run")
    assert message in str(raised.value)
    assert not (tmp_path / "run").exists()


def test_splits_that_are_not_asked_for_are_not_evaluated(rows, workdir, config, tmp_path):
    config.backbone_file = str(workdir / "backbone.npz")
    config.eval.splits = ("val",)
    config.heads = (("untrained", {"method": "simple_shot"}),)
    assert [row["split"] for row in job.run(config, tmp_path / "run")] == ["val"]


def test_a_method_may_read_images_and_need_no_training(config, tmp_path, monkeypatch):
    """Nearest mean colour: it sees the images themselves."""

    def make(settings, ways):
        def logits(params, episode, key):
            assert episode.query.shape[1:] == (16, 16, 3)
            assert episode.query.dtype == "uint8"
            colour = lambda images: images.astype("float32").mean((1, 2))  # noqa: E731
            support, query = colour(episode.support), colour(episode.query)
            distances = ((query[:, None] - support[None]) ** 2).sum(-1)  # one shot
            return -distances

        return Method("mean_colour", methods.no_parameters, logits, reads="images")

    with monkeypatch.context() as patch:
        patch.setitem(METHODS, "mean_colour", Entry(NoSettings, make))
        config.heads = (("mean_colour", {"method": "mean_colour"}),)
        rows = job.run(config, tmp_path / "run")
    assert [row["method"] for row in rows] == ["mean_colour"] * 2
    assert rows[0]["novel"]["mean"] > 40
    assert not (tmp_path / "run" / "heads" / "mean_colour.npz").exists()


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (["k_means", "T0"], ["T0", "k_means"]),  # in the config's order
        (["T*", ""], ["T0", "T10"]),
        (["*_means", "k_*"], ["k_means"]),  # once
    ],
)
def test_some_heads_by_name(wanted, names):
    config = default()
    config.heads = (*steps(0, 10), ("k_means", {"method": "soft_kmeans"}))
    assert named(config, wanted) == names
    with pytest.raises(ConfigError, match="none is named 'T5'; this experiment has T0, T10, k_m"):
        named(config, [*wanted, "T5"])


def test_the_one_head_of_a_config_without_heads_is_named_like_its_method():
    assert named(default(), ["sib"]) == ["sib"]


def test_heads_that_are_left_alone_stay(rows, workdir, config, tmp_path, monkeypatch):
    """In config, results, arrays and predictions, whatever stage the others are taken to."""
    job.run(config, tmp_path, only=["matching"])
    assert {row["head"] for row in json.loads((tmp_path / "results.json").read_text())} == {
        "matching"
    }
    job.run(config, tmp_path, "train", only=["lwof", "standard"])
    job.run(config, tmp_path, only=["standard", "lwof"])
    job.run(config, tmp_path, only=["attention"])
    found = json.loads((tmp_path / "results.json").read_text())
    assert without_seconds(found) == without_seconds(rows)
    for name in ("config.json", "table.md"):
        assert (tmp_path / name).read_text() == (workdir / name).read_text()
    (arrays, about), (of_all, about_all) = (
        weights.tree(w / "tasks.npz") for w in (tmp_path, workdir)
    )
    assert about == about_all
    jax.tree.map(np.testing.assert_array_equal, arrays, of_all)
    assert sib_jax.load(tmp_path, head="matching").head.name == "matching"
    # All at once there is nothing left to train.
    monkeypatch.setattr(job, "meta_train", None)
    assert without_seconds(job.run(config, tmp_path)) == without_seconds(rows)


def test_results_of_other_tasks_leave_the_tables_and_are_told(
    rows, workdir, config, tmp_path, caplog
):
    shutil.copytree(workdir, tmp_path / "run")
    config.eval.test_tasks += 1
    with caplog.at_level("WARNING"):
        found = job.run(config, tmp_path / "run", only=["matching"])
    assert {row["head"] for row in found} == {"matching"}
    assert "holds results on other tasks for standard, lwof, attention" in caplog.text


def test_what_is_trained_alike_is_trained_once_in_any_order(
    rows, workdir, config, tmp_path, monkeypatch
):
    config.backbone_file = str(workdir / "backbone.npz")
    config.method = "matching"
    config.heads = (("a", {}), ("b", {"query_classes": "missing"}))
    config.optimizer.query_classes = "balanced"
    job.run(config, tmp_path, "train", only=["b"])
    monkeypatch.setattr(job, "meta_train", None)
    job.run(config, tmp_path, "train", only=["a"])
    of_a, of_b = (weights.contents(run_files.params_file(tmp_path, n))[0] for n in "ab")
    jax.tree.map(np.testing.assert_array_equal, of_a, of_b)
    # But not where that was on features of another backbone.
    stored = pretrained.open_file(tmp_path / "backbone.npz")
    other = jax.tree.map(lambda leaf: leaf * 1.1, stored.variables)
    pretrained.save(tmp_path / "other.npz", stored._replace(variables=other))
    config.backbone_file = str(tmp_path / "other.npz")
    (tmp_path / "backbone.npz").unlink()
    run_files.params_file(tmp_path, "b").unlink()
    with pytest.raises(UserError, match=r"a\.npz was trained on features of another backbone"):
        job.run(config, tmp_path, "train", only=["b"])
