import json

import pytest

from sib_jax.errors import UserError
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


@pytest.mark.parametrize(
    "damage",
    [b"\x00\xff\xfe garbage\n", b"[1, 2]\n", b'{"stage": "a"}\n', b"5\n", b"[" * 10**5 + b"\n"],
)
def test_damaged_lines_are_left_out_and_counted(tmp_path, caplog, damage):
    metrics = Metrics(tmp_path)
    metrics.write("a", 1)
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(damage)
    metrics.write("a", 2)
    metrics.rewind("b", 0)
    assert [(e["stage"], e["step"]) for e in entries(tmp_path)] == [("a", 1), ("a", 2)]
    (line,) = caplog.messages
    assert "metrics.jsonl: damaged lines are dropped (1); no result depends on them" in line


def test_metrics_that_cannot_be_read(tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(UserError, match=r"metrics.jsonl cannot be read: .*; delete it"):
        Metrics(tmp_path).rewind("a", 0)
