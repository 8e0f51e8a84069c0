"""A user's own method whose code changes between two runs of a job in one folder."""

import json
import logging
import os
import shutil
import signal
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

import sib_jax
from sib_jax.config import default, flat
from sib_jax.experiment import evaluate_head, job
from sib_jax.methods import METHODS, Method, register
from sib_jax.methods.method import cross_entropy, no_parameters
from sib_jax.methods.parts.distances import squared_distances
from sib_jax.report.metrics import Metrics
from sib_jax.runtime import interrupt
from sib_jax.sib.init_net import class_means

pytestmark = pytest.mark.usefixtures("registries")


class Settings(NamedTuple):
    """There are none."""


def define(sign):
    """Registers class means, untrained and with a learned scale."""

    def make(trained):
        def logits(params, episode, key):
            means = class_means(episode.support, episode.support_labels, 3)
            scale = params["scale"] if trained else 1.0
            return -sign * scale * squared_distances(episode.query, means)

        if not trained:
            return Method("mine", no_parameters, logits)
        start = {"scale": jnp.ones(())}
        return Method("learned", lambda key, classes: start, logits, cross_entropy(logits))

    register("mine", Settings, lambda settings, ways: make(False))
    register("learned", Settings, lambda settings, ways: make(True))


@pytest.fixture(name="config")
def _config(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(20), 12)
    features = 3 * rng.normal(size=(20, 8))[labels] + rng.normal(size=(240, 8))
    np.savez(tmp_path / "own.npz", features=features.astype(np.float32), labels=labels)
    define(1)
    config = default("features")
    config.data_dir = str(tmp_path / "own.npz")
    config.ways, config.shots, config.queries = 3, 1, 5
    config.heads = tuple((name, {"method": name}) for name in ("mine", "learned"))
    config.optimizer.epochs, config.optimizer.steps_per_epoch = 1, 2
    config.optimizer.drop_epochs = ()
    config.optimizer.val_tasks = config.eval.val_tasks = config.eval.test_tasks = 20
    return config


def _novel(rows):
    return {row["head"]: row["novel"]["mean"] for row in rows if row["split"] == "test"}


def test_what_was_evaluated_by_other_code_is_evaluated_anew(config, tmp_path, monkeypatch):
    evaluate, evaluated = evaluate_head._evaluate, []

    def until_learned(experiment, head, *rest):
        if head.name == "learned":
            raise interrupt.Interrupted
        evaluated.append(head.name)
        return evaluate(experiment, head, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(evaluate_head, "_evaluate", until_learned)
        for sign in (-1, -1, 1):  # a mistake, seen and mended
            define(sign)
            with pytest.raises(interrupt.Interrupted):
                job.run(config, tmp_path / "run")
    assert evaluated == ["mine", "mine"]
    assert _novel(job.run(config, tmp_path / "run"))["mine"] > 90


def test_parameters_that_other_code_learned_are_told(config, tmp_path, caplog):
    for sign, told in ((1, False), (1, False), (-1, True)):
        define(sign)
        caplog.clear()
        with caplog.at_level(logging.WARNING, "sib_jax"):
            found = _novel(job.run(config, tmp_path / "run"))
        assert ("was trained with other code of learned" in caplog.text) == told
        assert (found["learned"] < 10) == told
        caplog.clear()
        with caplog.at_level(logging.WARNING, "sib_jax"):
            sib_jax.load(tmp_path / "run", "learned")
        assert ("was trained with other code of learned" in caplog.text) == told


def test_parameters_of_a_head_that_is_trained_alike_are_told_of_other_code(
    config, tmp_path, caplog
):
    config.optimizer.query_classes = "balanced"
    of_b = {"method": "learned", "query_classes": "missing"}
    config.heads = (("a", {"method": "learned"}), ("b", of_b))
    runs = tmp_path / "same", tmp_path / "other"
    job.run(config, runs[0], "train", only=["a"])
    shutil.copytree(*runs)
    for sign, folder, told in ((1, runs[0], False), (-1, runs[1], True)):
        define(sign)
        for _ in range(2):  # b takes the parameters of a, and has its own
            caplog.clear()
            with caplog.at_level(logging.WARNING, "sib_jax"):
                job.run(config, folder, "train", only=["b"])
            assert ("was trained with other code of learned" in caplog.text) == told


def test_a_run_with_an_own_method_needs_its_own_data_set_only_by_name(
    config, image_folder, backbone_file, tmp_path
):
    config.dataset, config.data_dir = "folder", str(image_folder)
    config.image_size = config.crop = 16
    config.backbone, config.backbone_file = "conv4_64", backbone_file
    workdir = tmp_path / "run"
    job.run(config, workdir, "train", only=["learned"])
    stored = json.loads((workdir / "config.json").read_text())
    (workdir / "config.json").write_text(json.dumps({**stored, "dataset": "mine"}))
    assert sib_jax.load(workdir, "learned").head.name == "learned"


def test_steps_of_other_code_are_told(config, tmp_path, caplog, monkeypatch):
    config.heads = config.heads[1:]
    config.optimizer.epochs = 2
    write = Metrics.write

    def terminated(self, *words, **values):
        write(self, *words, **values)
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Metrics, "write", terminated)
        with pytest.raises(interrupt.Interrupted):
            job.run(config, tmp_path / "run")
    shutil.copytree(tmp_path / "run", tmp_path / "same")
    job.run(config, tmp_path / "same", "train")
    assert "other code" not in caplog.text
    define(-1)
    with caplog.at_level(logging.WARNING, "sib_jax"):
        job.run(config, tmp_path / "run", "train")
    assert "learned: the first 2 steps were trained with other code" in caplog.text


def test_a_head_needs_no_method_but_its_own(config, tmp_path):
    class Other(NamedTuple):
        scale: float = 10.0

    config.heads = config.heads[:1]
    register("other", Other, METHODS["mine"].make)
    config = _with_fields(config)
    job.run(config, tmp_path / "run")
    del METHODS["other"]
    plain = _with_fields(config)
    assert sib_jax.load(tmp_path / "run").head.name == "mine"
    job.run(plain, tmp_path / "run")
    Other.__new__.__defaults__ = (20.0,)
    Other._field_defaults["scale"] = 20.0
    register("other", Other, METHODS["mine"].make)
    job.run(_with_fields(config), tmp_path / "run")


def _with_fields(config):
    """The same config, as it is made with the methods that are registered now."""
    made = default("features")
    known = flat(made).keys()
    made.update_from_flattened_dict(
        {k: v for k, v in flat(config).items() if k in known and not k.startswith("other")}
    )
    made.heads = config.heads
    return made


def test_what_a_method_calls_may_be_edited_between_two_jobs(config, tmp_path):
    """As in a notebook, where only the cell of a helper is run again."""
    signs = {"sign": 1}

    def make(settings, ways):
        def logits(params, episode, key):
            means = class_means(episode.support, episode.support_labels, 3)
            return -signs["sign"] * squared_distances(episode.query, means)

        return Method("mine", no_parameters, logits)

    register("mine", Settings, make)
    config.heads = config.heads[:1]
    found = []
    for number, sign in enumerate((1, -1)):
        signs["sign"] = sign
        found.append(_novel(job.run(config, tmp_path / f"run{number}"))["mine"])
    assert found[0] > 90
    assert found[1] < 10
