"""Two processes, on one machine and over its network interface, run one job together."""

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sib_jax.config import default
from sib_jax.experiment import job

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def command(config, tmp_path):
    """Of the toy job, in the workdir `both` of the test."""
    config.posterior, config.prior, config.elbo.beta = "point", "none", 0.0
    config.heads = (("T2", {"inner.steps": 2}),)
    usual, changed = flat(default("folder")), flat(config)
    return [
        *(sys.executable, "-m", "sib_jax.main", "--config=experiments/5w1s.py:folder"),
        *(f"--config.{k}={v}" for k, v in changed.items() if v != usual[k]),
        f"--workdir={tmp_path / 'both'}",
    ]


def flat(config):
    leaves = {}
    for name, value in config.to_dict().items():
        inner = {f"{name}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {}
        leaves |= inner or {name: value}
    return leaves


def start(command, folder, cwd=ROOT):
    """Both processes; what they say goes to out0 and out1 in `folder`."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    processes = []
    for i in range(2):
        with (folder / f"out{i}").open("w") as out:
            flags = f"--coordinator_address=localhost:{port} --process_count=2 --process_id={i}"
            process = subprocess.Popen(
                [*command, "--distributed", *flags.split()],
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
            )
        processes.append(process)
    return processes


def wait(processes, folder):
    """The exit codes, and what each process said."""
    try:
        codes = [process.wait(timeout=900) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return codes, [(folder / f"out{i}").read_text() for i in range(2)]


def test_two_processes_equal_one(command, config, tmp_path):
    """Also after a signal that only one of them got."""
    logged = tmp_path / "both" / "metrics.jsonl"
    processes = start(command, tmp_path)
    while not logged.exists() and all(process.poll() is None for process in processes):
        time.sleep(0.02)
    processes[1].send_signal(signal.SIGTERM)
    codes, said = wait(processes, tmp_path)
    assert codes == [143, 143], said
    assert all("interrupted; the same command goes on" in text for text in said)
    assert not (tmp_path / "both" / "results.json").exists()

    codes, said = wait(start(command, tmp_path), tmp_path)
    assert codes == [0, 0], said
    assert "going on from" in said[0]
    assert "epoch" in said[0]
    assert "epoch" not in said[1]  # one of them tells

    job.run(config, tmp_path / "one")
    for one, both in zip(*(lines(tmp_path / name) for name in ("one", "both")), strict=True):
        assert (one["stage"], one["step"]) == (both["stage"], both["step"])
        for name in one.keys() - {"stage"}:
            tolerance = 100 / 10 if name.startswith("val_") else 1e-3  # one validation task
            np.testing.assert_allclose(both[name], one[name], rtol=1e-3, atol=tolerance)
    for one, both in zip(*(rows(tmp_path / name) for name in ("one", "both")), strict=True):
        assert abs(one.pop("novel")["mean"] - both.pop("novel")["mean"]) <= 100 / one["tasks"]
        for name in ("nll", "nll_scaled", "temperature"):
            # Of answers that are all right the NLL is 0, but for rounding.
            np.testing.assert_allclose(both.pop(name), one.pop(name), rtol=0.02, atol=1e-5)
        for name in ("ece", "ece_scaled"):  # a query that changes its bin
            assert abs(both.pop(name) - one.pop(name)) < 1
        assert one | {"seconds": 0} == both | {"seconds": 0}


_UNLIKE = """
import pickle, re, sys, time
from pathlib import Path
from sib_jax import command
from sib_jax.backbones import pretrained
from sib_jax.errors import UserError
from sib_jax.experiment import job
from sib_jax.runtime import devices

address, index = (re.search(f"--{name}=([^ ]+)", " ".join(sys.argv))[1]
                  for name in ("coordinator_address", "process_id"))
index = int(index)
devices.join(address, 2, index)
devices._PATIENCE = 1
config = pickle.loads(Path("config").read_bytes())

load = pretrained.load
def late(*given):
    found = load(*given)
    time.sleep(3 * index)
    return found
pretrained.load = late
job.run(config, Path("slow"), "pretrain")
print("both have the backbone")

try:
    job.run(config, Path(("mine", "yours")[index]), "pretrain")
except UserError as error:
    print(error)

with command.mistakes_told():
    config.seed = index
    job.run(config, Path("unlike"), ("all", "pretrain")[index], report=index == 0)
"""


def test_processes_that_are_not_alike(config, backbone_file, tmp_path):
    """One is slow, or sees another folder, or was started with other flags."""
    config.backbone_file = backbone_file
    (tmp_path / "config").write_bytes(pickle.dumps(config))
    codes, said = wait(start([sys.executable, "-c", _UNLIKE], tmp_path, tmp_path), tmp_path)
    for text in said:
        # The slow one found the file that the other had just written, and went where it was not.
        assert "both have the backbone" in text
        assert "is not the same folder for all processes" in text
        assert "not all processes have the same config.seed, mode, report: start" in text
    assert codes == [1, 1], said
    assert not (tmp_path / "mine" / "checkpoints").exists()
    assert not (tmp_path / "unlike" / "config.json").exists()


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def rows(workdir):
    return json.loads((workdir / "results.json").read_text())
