"""Calibration beside accuracy: in the rows, and task by task in tasks.npz."""

import json
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sib_jax.errors import UserError
from sib_jax.experiment import job
from sib_jax.experiment.evaluate import Answers
from sib_jax.experiment.measure import Fitted, fit, measure
from sib_jax.methods import METHODS, Entry
from sib_jax.methods.method import Method, no_parameters
from sib_jax.runtime import weights


def _answers(tasks: int, batch: int) -> list[Answers]:
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, (tasks, 4))
    logits = 6 * (random.normal(size=(tasks, 4, 3)) + np.eye(3)[labels]).astype(np.float32)
    right = (logits.argmax(2) == labels).mean(1, keepdims=True)
    parts = [slice(i, i + batch) for i in range(0, tasks, batch)]
    return [Answers(*(jnp.asarray(x[part]) for x in (right, logits, labels))) for part in parts]


def test_batches_are_joined_and_divided_by_the_temperature() -> None:
    whole, found = (measure(_answers(30, b), 3, Fitted(6.0, None)) for b in (30, 10))
    (answers,) = _answers(30, 30)
    log_p = jax.nn.log_softmax(answers.logits / 6.0)
    wanted = -np.take_along_axis(np.asarray(log_p), np.asarray(answers.labels)[..., None], 2)
    np.testing.assert_allclose(found.scaled.nll, wanted[..., 0].mean(1), rtol=1e-5)
    assert found.raw.bins[:, 0].sum() == 30 * 4
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, whole)


def test_fitting_consumes_no_answers_and_makes_them_likelier() -> None:
    fitted, answers = fit(iter(_answers(30, 10)), 3)
    found = measure(answers, 3, fitted)
    assert len(found.accuracy) == 30
    assert fitted.temperature > 1  # six times too sure
    assert fitted.offset is found.both_offset is None
    assert found.scaled.nll.mean() < found.raw.nll.mean()
    assert found.scaled.ece < found.raw.ece


def test_what_is_fitted_does_not_depend_on_the_batch() -> None:
    one, other = (fit(iter(_answers(700, batch)), 3)[0] for batch in (50, 64))
    assert one == other


def test_of_many_classes_fewer_tasks_are_looked_at(monkeypatch) -> None:
    answers = _answers(60, 10)
    whole = fit(iter(answers[:3]), 2)[0]
    monkeypatch.setattr("sib_jax.experiment.measure._LOGITS", 30 * answers[0].logits[0].size)
    found, again = fit(iter(answers), 2)
    assert found == whole
    assert len(list(again)) == 6


def test_a_head_without_finite_answers_is_named(config, tmp_path, monkeypatch) -> None:
    class Nothing(NamedTuple):
        pass

    def make(settings: Nothing, ways: int) -> Method:
        def logits(params, episode, key):
            return jnp.full((episode.query.shape[0], ways), jnp.nan)

        return Method("broken", no_parameters, logits, reads="images")

    monkeypatch.setitem(METHODS, "broken", Entry(Nothing, make))
    config.heads = (("mine", {"method": "broken"}),)
    with pytest.raises(UserError, match=r"mine gives .* not finite to \d+ of \d+ val tasks"):
        job.run(config, tmp_path / "run")
    assert not (tmp_path / "run" / "results.json").exists()


def test_the_others_go_on_where_heads_fail(untrained, tmp_path, monkeypatch, caplog) -> None:
    class Nothing(NamedTuple):
        pass

    def unsure(params, episode, key):
        return jnp.full((episode.query.shape[0], 3), jnp.nan)

    def diverges(params, episode, key):
        return params["a"] * jnp.nan, {"accuracy": jnp.zeros(())}

    start = {"a": jnp.ones(())}
    wild = Method("wild", lambda key, classes: start, unsure, diverges, reads="images")
    nan = Method("nan", no_parameters, unsure, reads="images")
    for method in (wild, nan):
        monkeypatch.setitem(METHODS, method.name, Entry(Nothing, lambda *_, of=method: of))
    config = untrained
    config.heads = tuple((name, {"method": name}) for name in ("wild", "nan", "corner_colour"))
    config.optimizer.epochs = 1
    monkeypatch.setattr("sib_jax.report.style.png", lambda *_: b"")
    with caplog.at_level("WARNING", "sib_jax"), pytest.raises(UserError) as raised:
        job.run(config, tmp_path / "run", report=True)
    said = str(raised.value)
    assert said.startswith("2 of 3 heads failed: wild: the loss is not finite before step")
    assert "; head nan gives answers that are not finite to" in said
    assert sum("(the other heads go on)" in line for line in caplog.messages) == 2
    rows = json.loads((tmp_path / "run" / "results.json").read_text())
    assert [(row["head"], row["split"]) for row in rows] == [
        ("corner_colour", "val"),
        ("corner_colour", "test"),
    ]
    assert (tmp_path / "run" / "report.html").exists()
    assert not any("second look" in line for line in caplog.messages)
    with pytest.raises(UserError, match="wild: the loss is not finite"):
        job.run(config, tmp_path / "run", "train")


def test_the_offset_is_of_the_columns_of_novel_classes() -> None:
    shifted = [a._replace(logits=a.logits.at[..., :2].add(100)) for a in _answers(30, 10)]
    fitted, answers = fit(iter(shifted), 2)
    found = measure(answers, 2, fitted)
    logits = np.concatenate([a.logits for a in shifted])
    labels = np.concatenate([a.labels for a in shifted])
    logits[..., :2] += fitted.offset
    np.testing.assert_allclose(found.both_offset, (logits.argmax(2) == labels).mean(1))
    assert found.both_offset.mean() > (logits[..., 2:].argmax(2) + 2 == labels).mean()
    assert -110 < fitted.offset < -90


class Settings(NamedTuple):
    scale: float = 1e-3


def nearest_colour(settings, ways):
    def logits(params, episode, key):
        support, query = (x[:, 0, 0].astype("float32") for x in (episode.support, episode.query))
        return -settings.scale * ((query[:, None] - support[None]) ** 2).sum(-1)  # one shot

    return Method("corner_colour", no_parameters, logits, reads="images")


@pytest.fixture
def untrained(config, monkeypatch):
    """Two heads on images, whose logits differ in their scale alone."""
    monkeypatch.setitem(METHODS, "corner_colour", Entry(Settings, nearest_colour))
    with config.unlocked():
        config.corner_colour = {"scale": 1e-3}
    config.method = "corner_colour"
    config.heads = (("one", {}), ("sharper", {"corner_colour.scale": 1e-2}))
    return config


def test_rows_and_arrays_say_the_same(untrained, tmp_path):
    untrained.eval.splits = ("test", "val")
    rows = job.run(untrained, tmp_path / "run")
    assert [row["split"] for row in rows] == ["test", "val"] * 2
    with np.load(tmp_path / "run" / "tasks.npz") as file:
        arrays = {name: file[name] for name in file.files}
    for row in rows:
        place = f"{row['head']}/{row['split']}"
        accuracy = arrays[f"{place}/novel"]
        assert accuracy.shape == (row["tasks"],)
        assert 100 * accuracy.mean() == pytest.approx(row["novel"]["mean"], rel=1e-5)
        for kind in ("", "_scaled"):
            assert arrays[f"{place}/nll{kind}"].mean() == pytest.approx(row[f"nll{kind}"], rel=1e-5)
            counts, sure, right = arrays[f"{place}/bins{kind}"].T
            assert counts.sum() == row["tasks"] * row["ways"] * row["queries"]
            assert right.sum() / counts.sum() == pytest.approx(accuracy.mean(), rel=1e-5)
            ece = 100 * np.abs(right - sure).sum() / counts.sum()
            assert ece == pytest.approx(row[f"ece{kind}"], rel=1e-4)
    # The same answers but for their scale: what is left of it is gone at the right temperature.
    of = {(row["head"], row["split"]): row for row in rows}
    one, other = of["one", "test"], of["sharper", "test"]
    assert one["temperature"] == of["one", "val"]["temperature"]
    assert one["nll"] != pytest.approx(other["nll"], rel=1e-2)
    assert one["nll_scaled"] == pytest.approx(other["nll_scaled"], rel=1e-3)
    about = weights.about(tmp_path / "run" / "tasks.npz")
    assert about["seed"] == 0
    sizes = {"ways": 3, "shots": 1, "queries": 4}
    balanced = {"query_classes": "balanced", "support_classes": "balanced"}
    assert about["heads"]["one"] == {
        "setting": "standard",
        **sizes,
        **balanced,
        "total_queries": 0,
    }
    assert about["fingerprints"].keys() == {"train", "val", "test"}


def test_without_validation_tasks_there_is_no_temperature(untrained, tmp_path):
    untrained.eval.splits = ("test",)
    untrained.heads = untrained.heads[:1]
    (row,) = job.run(untrained, tmp_path / "run")
    assert row["nll"] > 0
    assert row["temperature"] is row["nll_scaled"] is row["ece_scaled"] is None
    with np.load(tmp_path / "run" / "tasks.npz") as file:
        assert set(file.files) >= {"one/test/novel", "one/test/nll", "one/test/bins"}
        assert "one/test/nll_scaled" not in file.files
