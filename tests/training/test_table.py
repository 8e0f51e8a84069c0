"""Several runs on one backbone, and learning without forgetting as a job."""

import json

import pytest

from sib_jax.errors import UserError
from sib_jax.training import job, table


@pytest.fixture
def both_settings(config):
    config.base_holdout = 1 / 6
    config.inner.steps, config.compare_steps = 1, ()
    config.runs = (
        ("standard", {"shots": 2}),
        ("lwof", {"setting": "lwof", "prior": "mixture"}),
    )
    return config


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return tmp_path_factory.mktemp("table")


@pytest.fixture
def rows(both_settings, workdir):
    if not (workdir / "results.json").exists():
        table.run(both_settings, workdir)
    return json.loads((workdir / "results.json").read_text())


def test_each_run_differs_in_its_own_fields(rows):
    assert [(r["run"], r["setting"], r["shots"], r["split"]) for r in rows] == [
        ("standard", "standard", 2, "val"),
        ("standard", "standard", 2, "test"),
        ("lwof", "lwof", 1, "val"),
        ("lwof", "lwof", 1, "test"),
    ]


def test_learning_without_forgetting_reports_novel_base_and_both(rows):
    for row in rows:
        for name in ("base", "both"):
            assert (row[name] is None) == (row["setting"] == "standard")
        if row["setting"] == "lwof":
            # Of 3 novel and 6 base classes, told apart by their colours.
            assert row["novel"]["mean"] > 40
            assert row["base"]["mean"] > 30
            assert row["both"]["mean"] > 20


def test_the_runs_share_one_backbone(rows, workdir):
    assert [p.parent.name for p in workdir.glob("*/backbone.npz")] == ["backbone"]


def test_started_again_nothing_is_trained_again(rows, workdir, both_settings):
    before = {path: path.stat().st_mtime_ns for path in workdir.rglob("*.npz")}
    (workdir / "standard" / "params_T1.npz").unlink()
    again = table.run(both_settings, workdir)
    for path, time in before.items():
        changed = path.stat().st_mtime_ns != time
        assert changed == (path.parent.name == "standard"), path
    without_seconds = [{**row, "seconds": 0} for row in rows]
    assert [{**row, "seconds": 0} for row in again] == without_seconds


def test_the_table_is_written_as_markdown(rows, workdir):
    text = (workdir / "table.md").read_text()
    val = rows[0]["novel"]
    assert f"| standard | 1 | {val['mean']:.2f} ± {val['ci95']:.2f} |" in text
    assert "paper" not in text  # it has no rows for this data set


def test_a_mistake_in_one_run_is_found_before_any_work(both_settings, tmp_path):
    both_settings.runs = (("lwof", {"setting": "lwof", "prior": "gaussian"}),)
    with pytest.raises(UserError, match="prior is 'gaussian', but must be mixture"):
        table.run(both_settings, tmp_path / "run")
    both_settings.runs = (("misspelt", {"shotz": 3}),)
    with pytest.raises(UserError, match=r"unknown field config\.shotz"):
        table.run(both_settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_splits_that_are_not_asked_for_are_not_evaluated(config, tmp_path):
    config.eval.splits = ("val",)
    config.compare_steps = ()
    assert [row["split"] for row in job.run(config, tmp_path / "run")] == ["val"]
