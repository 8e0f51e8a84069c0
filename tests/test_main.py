"""The command line as a user types it: processes of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def run(*arguments, **env):
    return subprocess.run(
        [sys.executable, "-m", "sib_jax.main", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu", **env},
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "which experiment? For example: --config=experiments/5w1s.py"),
        (("--config=nope.py",), "nope.py"),
        (("--config=experiments/5w1s.py:imagenet",), "unknown data set 'imagenet'; known are"),
        (("--config=experiments/5w1s.py", "--config.foo=1"), "unknown field in --config.foo=1"),
        (("--config=experiments/5w1s.py", "--config.ways=five"), "--config.ways=five"),
        (("--config=experiments/5w1s.py", "--mode=test"), "--mode=test"),
        (("--config=experiments/5w1s.py", "stray"), "unexpected arguments ['stray']"),
        (
            ("--config=experiments/5w1s.py", "--config.backbone=resnet"),
            "config.backbone is 'resnet', but must be conv4_64",
        ),
        (("--config=experiments/5w1s.py", "--process_id=1"), "--process_id go with --distributed"),
        (("--config=experiments/5w1s.py", "--distributed"), "give --coordinator_address=HOST:PORT"),
        (("--config=experiments/5w1s.py", "--profile=x", "--mode=evaluate"), "--profile traces"),
    ],
)
def test_a_mistake_ends_in_one_message(arguments, message):
    done = run(*arguments)
    assert done.returncode != 0
    assert message in done.stderr
    assert done.stderr.startswith("sib_jax: ")
    assert "Traceback" not in done.stderr


def test_every_experiment_is_accepted_by_the_check():
    import importlib.util

    from sib_jax.config import DATASETS, check

    files = sorted((ROOT / "experiments").glob("*.py"))
    assert files
    for file in files:
        spec = importlib.util.spec_from_file_location(file.stem.replace("5", "five"), file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for dataset in DATASETS:
            check(module.get_config(dataset))


def test_the_glyphs_job_prints_a_table(tmp_path):
    """The README's command, its schedules cut short."""
    done = run(
        "--config=experiments/5w1s.py",
        f"--workdir={tmp_path}/run",
        "--config.pretrain.epochs=1",
        "--config.pretrain.batch=1024",
        "--config.pretrain.val_tasks=10",
        "--config.optimizer.epochs=1",
        "--config.optimizer.steps_per_epoch=5",
        "--config.optimizer.val_tasks=10",
        "--config.eval.val_tasks=50",
        "--config.eval.test_tasks=50",
    )
    assert done.returncode == 0, done.stderr
    first, *lines = done.stdout.splitlines()
    assert "glyphs" in first
    assert "conv4_64" in first
    rows = json.loads((tmp_path / "run" / "results.json").read_text())
    for row in rows:
        cell = f"{row['novel']['mean']:.2f} ± {row['novel']['ci95']:.2f} %"
        assert any(f"T = {row['steps']}" in line and cell in line for line in lines)
