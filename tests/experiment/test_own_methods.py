"""A user's own method whose code changes between two runs of a job in one folder."""

import logging
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from sib_jax.config import default
from sib_jax.experiment import evaluate_head, job
from sib_jax.methods import Method, register
from sib_jax.methods.method import cross_entropy, no_parameters
from sib_jax.methods.parts.distances import squared_distances
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
