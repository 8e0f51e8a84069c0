"""Each write of a job fails in turn: one line says so, and the same command ends with the same."""

import json
import os
import sys

import numpy as np
import pytest
from failing_writes import KINDS, Died, Writes

from sib_jax.errors import UserError
from sib_jax.experiment import job

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="files are told by /proc")

# The long form, every kind and more of each file's writes, runs beside the long fuzz tests.
LONG = bool(os.environ.get("SIB_JAX_FUZZ"))
REPORT = os.environ.get("SIB_JAX_FUZZ_REPORT")


@pytest.fixture
def command(config, backbone_file, monkeypatch):
    """Runs the toy job, with a backbone that needs no training: all stages that write are there."""
    config.backbone_file = backbone_file
    config.posterior, config.prior = "point", "none"
    config.heads = (("T1", {"inner.steps": 1}),)
    config.optimizer.epochs, config.optimizer.steps_per_epoch = 2, 2
    config.eval.splits = ("test",)

    def run(place):
        monkeypatch.setenv("SIB_JAX_CACHE", str(place / "cache"))
        rows = job.run(config, place / "run")
        return [{**row, "seconds": 0} for row in rows]

    return run


@pytest.mark.parametrize("kind", KINDS if LONG else KINDS[:1])
def test_the_same_command_goes_on(command, tmp_path, monkeypatch, kind):
    whole = command(tmp_path / "whole")
    place = tmp_path / "place"
    place.mkdir()
    writes, lines, struck = Writes(place, kind, each=3 if LONG else 1), [], True
    while struck:
        rows = None
        with writes.failing(monkeypatch) as has_struck:
            try:
                rows = command(place)
            except UserError as error:
                lines.append(str(error))
            except Died:
                pass
            struck = has_struck()
        check_whole(place)
        assert len(writes.failed) < 500
    assert rows == whole
    assert json.loads((place / "run" / "results.json").read_text())[0]["head"] == "T1"
    for line in lines:
        assert "\n" not in line
        assert str(place) in line, line
        assert "; " in line, line  # what to do
    assert not [path for path in place.rglob("*") if path.name.endswith(".tmp")]
    print(f"{kind}: {len(writes.failed)} writes failed, {len(lines)} runs ended with a line")
    if REPORT:
        add_to_report(kind, len(writes.failed), len(lines))


def check_whole(place):
    """No file with its final name is half-written."""
    for path in place.rglob("*"):
        if ".tmp" in str(path) or "-tmp" in str(path):
            continue
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix in (".npz", ".npy"):
            with path.open("rb") as file:
                loaded = np.load(file)
                _ = dict(loaded) if path.suffix == ".npz" else loaded


def add_to_report(kind, failed, lines):
    with open(REPORT) as file:
        rows = json.load(file)
    rows[f"write fails: {kind}"] = {"cases": failed, "ended_with_a_line": lines}
    with open(REPORT, "w") as file:
        json.dump(rows, file, indent=1)
