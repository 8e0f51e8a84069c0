import json

import pytest

from sib_jax.report.metrics import Metrics


def entries(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_entries_are_appended(tmp_path):
    Metrics(tmp_path).write("a", 1, loss=0.5)
    Metrics(tmp_path).write("b", 2, loss=0.25)
    assert entries(tmp_path) == [
        {"stage": "a", "step": 1, "loss": 0.5},
        {"stage": "b", "step": 2, "loss": 0.25},
    ]


def test_rewind_drops_what_will_be_logged_again(tmp_path):
    metrics = Metrics(tmp_path)
    metrics.rewind("a", 0)  # before there is a file
    for step in (1, 2, 3):
        metrics.write("a", step)
        metrics.write("b", step)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "a", "st')  # cut short by a kill
    metrics.rewind("a", 1)
    assert [(e["stage"], e["step"]) for e in entries(tmp_path)] == [
        ("a", 1),
        ("b", 1),
        ("b", 2),
        ("b", 3),
    ]


def test_tensorboard_without_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r"pip install 'sib_jax\[tensorboard\]'"):
        Metrics(tmp_path, tensorboard=True)
