"""The whole job at toy size: what a user finds afterwards, and what interruptions do to it."""

import json
import os
import shutil
import signal

import numpy as np
import pytest

import sib_jax
from sib_jax.config import ConfigError, steps
from sib_jax.errors import UserError
from sib_jax.experiment import evaluate_head, job, run_files
from sib_jax.report.metrics import Metrics
from sib_jax.runtime import interrupt, weights


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return tmp_path_factory.mktemp("finished") / "run"


@pytest.fixture
def reference(config, finished):
    """The workdir of an undisturbed run."""
    if not finished.exists():
        job.run(config, finished)
    return finished


def results(workdir):
    rows = json.loads((workdir / "results.json").read_text())
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def tasks(workdir):
    return weights.contents(workdir / "tasks.npz")[0]


def metrics(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_results_hold_every_steps_and_split(reference, config):
    rows = json.loads((reference / "results.json").read_text())
    assert [(r["steps"], r["split"], r["tasks"]) for r in rows] == [
        (0, "val", 20),
        (0, "test", 15),
        (2, "val", 20),
        (2, "test", 15),
    ]
    for row in rows:
        assert (row["dataset"], row["setting"], row["backbone"]) == (
            "folder",
            "standard",
            "conv4_64",
        )
        assert (row["ways"], row["shots"], row["seed"]) == (3, 1, 0)
        assert row["base"] is None
        assert row["both"] is None
        assert row["seconds"] >= 0
        # The classes are told apart by their colours: better than the 33.3 % of chance.
        assert 40 < row["novel"]["mean"] <= 100
        assert row["novel"]["ci95"] >= 0


def test_metrics_hold_every_epoch(reference):
    assert [(m["stage"], m["step"]) for m in metrics(reference)] == [
        ("pretrain", 6),
        ("pretrain", 12),
        ("T0", 5),
        ("T0", 10),
        ("T2", 5),
        ("T2", 10),
    ]
    assert {"loss", "log_likelihood", "kl", "accuracy", "val_novel"} <= metrics(reference)[
        -1
    ].keys()


def test_config_json_is_the_resolved_config(reference, config):
    assert json.loads((reference / "config.json").read_text()) == json.loads(config.to_json())


def test_the_same_run_twice_is_identical_also_where_it_is_traced(reference, config, tmp_path):
    job.run(config, tmp_path / "traced", trace_to=tmp_path / "trace")
    assert results(tmp_path / "traced") == results(reference)
    assert metrics(tmp_path / "traced") == metrics(reference)
    for stage in ("pretrain", "T0", "T2"):
        assert list((tmp_path / "trace" / stage).glob("plugins/profile/*/*.trace.json.gz"))


def test_another_seed_is_another_run(reference, config, tmp_path):
    config.seed = 1
    job.run(config, tmp_path / "other")
    assert metrics(tmp_path / "other")[0]["loss"] != metrics(reference)[0]["loss"]


def test_other_data_are_another_run(reference, config, tmp_path):
    """A folder may move, but heads are not taken for those of other classes."""
    shutil.copytree(reference, tmp_path / "run")
    shutil.copytree(config.data_dir, tmp_path / "images")
    config.data_dir = str(tmp_path / "images")
    assert job.run(config, tmp_path / "run", "train") == []
    (tmp_path / "images" / "train" / "train0").rename(tmp_path / "images" / "train" / "another")
    with pytest.raises(UserError, match="holds a run on other data: its train split had other"):
        job.run(config, tmp_path / "run", "train")


def test_stages_that_are_interrupted_or_killed_go_on_to_the_same_result(
    reference, config, tmp_path, monkeypatch
):
    """One stage at a time or all at once; no epoch is logged twice."""
    write = Metrics.write

    def fails(stage, step, mode, *, killed):
        """A run that ends when this step is logged, before its checkpoint."""

        def ended(self, name, number, **values):
            write(self, name, number, **values)
            if (name, number) == (stage, step):
                if killed:
                    raise RuntimeError("killed")
                os.kill(os.getpid(), signal.SIGTERM)

        with monkeypatch.context() as patch:
            patch.setattr(Metrics, "write", ended)
            with pytest.raises(RuntimeError if killed else interrupt.Interrupted):
                job.run(config, tmp_path / "run", mode)

    fails("pretrain", 6, "all", killed=False)
    fails("pretrain", 12, "pretrain", killed=True)
    assert job.run(config, tmp_path / "run", "pretrain") == []
    fails("T0", 5, "train", killed=False)
    fails("T0", 10, "all", killed=True)
    fails("T2", 10, "all", killed=False)  # in the last epoch of training
    assert job.run(config, tmp_path / "run", "train") == []
    assert not (tmp_path / "run" / "results.json").exists()
    job.run(config, tmp_path / "run", "evaluate")
    assert results(tmp_path / "run") == results(reference)
    assert metrics(tmp_path / "run") == metrics(reference)


def test_a_stopped_evaluation_goes_on_with_the_next_head(reference, config, tmp_path, monkeypatch):
    evaluate, evaluated = evaluate_head._evaluate, []

    def stopped_after_the_first(experiment, head, *args):
        reached = evaluate(experiment, head, *args)
        evaluated.append(head.name)
        if len(evaluated) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return reached

    shutil.copytree(reference, tmp_path / "run")
    (tmp_path / "run" / "results.json").unlink()
    monkeypatch.setattr(evaluate_head, "_evaluate", stopped_after_the_first)
    with pytest.raises(interrupt.Interrupted):
        job.run(config, tmp_path / "run")
    assert not (tmp_path / "run" / "results.json").exists()
    job.run(config, tmp_path / "run")
    assert evaluated == ["T0", "T2"]
    assert results(tmp_path / "run") == results(reference)
    names, arrays = zip(*sorted(tasks(tmp_path / "run").items()), strict=True)
    assert list(names) == sorted(tasks(reference))
    for name, array in zip(names, arrays, strict=True):
        np.testing.assert_array_equal(array, tasks(reference)[name])
    assert not (tmp_path / "run" / "checkpoints" / "evaluated").exists()
    # Other tasks are other results.
    config.eval.test_tasks = 10
    assert [row["tasks"] for row in job.run(config, tmp_path / "run")] == [20, 10, 20, 10]


def test_finished_stages_are_not_repeated(reference, config, tmp_path, monkeypatch):
    shutil.copytree(reference, tmp_path / "run")

    def repeated(*_, **__):
        raise AssertionError("a finished stage was repeated")

    monkeypatch.setattr(job, "pretrain", repeated)
    monkeypatch.setattr(job, "meta_train", repeated)
    job.run(config, tmp_path / "run")
    assert results(tmp_path / "run") == results(reference)


def test_a_further_number_of_steps_is_added_to_a_run(reference, config, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(reference, run)
    shutil.rmtree(run / "checkpoints" / "heads" / "T0")
    for name in ("config.json", "results.json", "heads/T0.npz"):
        (run / name).unlink()
    config.heads = steps(2)
    assert [r["steps"] for r in job.run(config, run)] == [2, 2]
    config.heads = steps(0, 2)
    job.run(config, run)
    assert results(run) == results(reference)


@pytest.mark.parametrize(("mode", "stage"), [("train", "pretrain"), ("evaluate", "pretrain")])
def test_a_stage_without_what_it_builds_upon(config, tmp_path, mode, stage):
    with pytest.raises(UserError, match=f"backbone.npz.*does not exist: run with --mode={stage}"):
        job.run(config, tmp_path / "run", mode)
    assert not (tmp_path / "run").exists()


def test_evaluation_without_parameters(reference, config, tmp_path):
    shutil.copytree(reference, tmp_path / "run")
    (tmp_path / "run" / "heads" / "T2.npz").unlink()
    with pytest.raises(UserError, match=r"heads/T2.npz.*run with --mode=train"):
        job.run(config, tmp_path / "run", "evaluate")


def test_a_workdir_of_another_config_is_refused(reference, config, tmp_path):
    config.optimizer.lr = 0.5
    with pytest.raises(
        UserError,
        match=r"holds head T0 of a run with config.optimizer.lr = 0.001",
    ):
        job.run(config, reference)
    config.optimizer.lr = 1e-3
    config.eval.test_tasks = 12  # evaluation may differ
    shutil.copytree(reference, tmp_path / "run")
    assert job.run(config, tmp_path / "run", "evaluate")[1]["tasks"] == 12


def test_a_backbone_file_skips_pretraining(reference, config, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "pretrain", None)
    config.backbone_file = str(reference / "backbone.npz")
    job.run(config, tmp_path / "run")
    assert results(tmp_path / "run") == results(reference)


def test_settings_that_are_not_the_usual_run(reference, config, tmp_path):
    config.backbone_file = str(reference / "backbone.npz")
    config.heads = ()
    changes = {"classifier": "dot", "inner.checkpoint": True, "inner.samples": 2}
    config.update_from_flattened_dict(changes | {"optimizer.name": "sgd"})
    rows = job.run(config, tmp_path / "run")
    assert [r["split"] for r in rows] == ["val", "test"]


def test_a_config_written_before_a_field_was_there_has_its_default(reference, config, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(reference, run)
    stored = json.loads((run / "config.json").read_text())
    del stored["mirror_features"], stored["optimizer"]["total_queries"], stored["tim"]
    (run / "config.json").write_text(json.dumps(stored))
    run_files.check_same(config, run)
    config.mirror_features = True
    with pytest.raises(UserError, match=r"config\.mirror_features = False, not True"):
        run_files.check_same(config, run)


def test_what_is_damaged_costs_an_epoch_and_no_result(reference, config, tmp_path, caplog):
    """The last checkpoint is left out, and the files whose messages say so are deleted."""
    shutil.copytree(reference, tmp_path / "run")
    for name in ("config.json", "heads/T2.npz"):
        (tmp_path / "run" / name).unlink()
    steps = tmp_path / "run" / "checkpoints" / "heads" / "T2"
    assert sorted(path.name for path in steps.iterdir()) == ["10", "5"]
    (steps / "10" / "state" / "manifest.ocdbt").write_bytes(b"")
    job.run(config, tmp_path / "run")
    assert any("the checkpoint of step 10 is damaged" in line for line in caplog.messages)
    assert results(tmp_path / "run") == results(reference)
    assert metrics(tmp_path / "run") == metrics(reference)


def test_an_experiment_from_python(reference, config, tmp_path, monkeypatch):
    place, reported = tmp_path / "some", []
    monkeypatch.setattr(job, "_report", lambda workdir, look: reported.append(workdir))
    shutil.copytree(reference, place)
    (place / "results.json").unlink()
    before = config.to_json()
    found = sib_jax.run(config, str(place), heads=["T2"], report=False)
    assert {row["head"] for row in found} == {"T2"}
    assert reported == []
    found = sib_jax.run(config, place)
    assert [row["head"] for row in found] == ["T0", "T0", "T2", "T2"]
    assert found == json.loads((place / "results.json").read_text())
    assert reported == [place]
    assert config.to_json() == before
    with pytest.raises(ConfigError, match="none is named 'T5'"):
        sib_jax.run(config, tmp_path / "other", heads=["T5"])
    assert not (tmp_path / "other").exists()


def test_the_backbone_of_a_run_from_python_is_that_of_its_file(reference, config, tmp_path):
    config.backbone_file, config.backbone = str(reference / "backbone.npz"), "conv4_128"
    sib_jax.run(config, tmp_path / "run", mode="pretrain")
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    assert stored["backbone"] == "conv4_64"


def test_what_is_no_config_and_a_single_name(config, tmp_path):
    with pytest.raises(ConfigError, match=r"config must be what sib_jax\.config\.default"):
        sib_jax.run({}, tmp_path)
    with pytest.raises(ConfigError, match="heads: none is named 'T9'"):
        sib_jax.run(config, tmp_path, heads="T9")
