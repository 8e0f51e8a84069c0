"""The command line as a user types it: processes of their own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from absl.testing import flagsaver

from sib_jax import data, main
from sib_jax.runtime import console

ROOT = Path(__file__).resolve().parents[1]


def run(*arguments, command=("-m", "sib_jax.main")):
    return subprocess.run(
        [sys.executable, *command, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )


@pytest.fixture(autouse=True)
def _no_config_before(monkeypatch):
    """A process reads one config file; newer Python runs a second in the module of the first."""
    monkeypatch.delitem(sys.modules, "config_config", raising=False)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ImportWarning")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "which experiment? Give one, for example: --config=experiments/5w1s.py"),
        (("--config=nope.py",), "nope.py"),
        (("--config=experiments/5w1s.py:imagenet",), "unknown data set 'imagenet'; known are"),
        (("--config=experiments/5w1s.py", "--config.foo=1"), "unknown field in --config.foo=1"),
        (("--config=5w1s", "--config.ways=5.0"), "config.ways is '5.0', but must be a whole"),
        (("--config=5w1z",), "5w1z is neither a file nor an experiment (did you mean 5w1s?);"),
        (("--config=experiments/5w1s.py", "--mode=test"), "--mode=test"),
        (("--config=experiments/5w1s.py", "stray"), "unexpected arguments ['stray']"),
        (
            ("--config=experiments/5w1s.py", "--config.backbone=resnet"),
            "config.backbone is 'resnet', but must be conv4_64",
        ),
        (("--config=experiments/5w1s.py", "--process_id=1"), "--process_id need --distributed"),
        (("--config=experiments/5w1s.py", "--profile=x", "--mode=evaluate"), "--profile traces"),
        (
            ("--config=README.md",),
            "README.md is not Python (SyntaxError: ",
        ),
        (("--config=experiments",), "experiments is neither a file nor an experiment; there are"),
        (("--config=5w1",), ", unbalanced\n"),  # the list is whole
        (("--config=experiments/5w1s.py", "--config.heads=5"), "config.heads is (5,), but must be"),
        (
            ("--config=5w1s", "--heads=T0,T9"),
            "heads: none is named 'T9'; this experiment has T0, adapted",
        ),
        (("--config=5w1s", "--heads="), "heads is empty: name at least one"),
        (("--config=5w1s", "--workdir=gs://mine/run"), "is an address, but a workdir must be a"),
        (("--config=5w1s", "--workdir=README.md"), "README.md cannot be written: README.md is a"),
    ],
)
def test_a_mistake_ends_in_one_message(arguments, message, monkeypatch):
    told = mistake(arguments, monkeypatch)
    assert message in told
    assert told.startswith("sib_jax: ")
    assert told.count("\n") == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ImportWarning")
def test_a_config_that_lacks_fields_is_told_in_a_line(tmp_path, monkeypatch):
    file = tmp_path / "mine.py"
    file.write_text(
        "import ml_collections\n"
        "def get_config():\n    return ml_collections.ConfigDict({'seed': 0})\n"
    )
    monkeypatch.setattr(sys, "path", [*sys.path])
    told = mistake([f"--config={file}"], monkeypatch)
    assert told.startswith("sib_jax: config.")
    assert "is missing" in told
    assert told.count("\n") == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ImportWarning")
def test_a_file_of_one_s_own_is_run_before_the_config(tmp_path, monkeypatch):
    (tmp_path / "pixels_of_mine.py").write_text("SIZE = 16\n")
    file = tmp_path / "mine.py"
    file.write_text(
        "from pixels_of_mine import SIZE\n"
        "from sib_jax import data\n"
        "def load(data_dir, image_size):\n"
        "    raise OSError(f'asked for {image_size} pixels')\n"
        "data.register('mine', load, {'image_size': SIZE, 'crop': SIZE})\n"
    )
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(data.own, "OWN", {})
    words = ["--config=5w1s:mine", f"--workdir={tmp_path}/run"]
    assert "unknown data set 'mine'; known are glyphs" in mistake(words, monkeypatch)
    for given in ([f"--import={file}"], ["--import", str(file)]):
        monkeypatch.delitem(sys.modules, "config_config", raising=False)
        told = mistake([*given, *words], monkeypatch)
        assert told == (
            f"sib_jax: data set mine fails: OSError: asked for 16 pixels ({file}, line 4)\n"
        )
    monkeypatch.setattr(data.own, "OWN", {})
    (tmp_path / "package").mkdir()
    (tmp_path / "package/__init__.py").write_text("from . import inner")
    (tmp_path / "package/inner.py").write_text(
        "from sib_jax import data\ndata.register('other', print)"
    )
    monkeypatch.delitem(sys.modules, "config_config", raising=False)
    mistake([f"--import={tmp_path}/package", f"--import={file}", *words], monkeypatch)
    assert [*data.own.OWN] == ["other", "mine"]
    told = mistake([f"--import={tmp_path}/none.py", *words], monkeypatch)
    assert told.startswith(f"sib_jax: --import={tmp_path}/none.py is not an existing Python file,")


def mistake(arguments, monkeypatch):
    """What the command prints where nobody catches it; its status is 1."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(console, "start", lambda: None)  # the log of the other tests stays
    monkeypatch.setattr(sys, "argv", ["sib_jax", *arguments])  # the config's flags read it
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as ended:
        main.main(main.parse(sys.argv))
    return f"{ended.value}\n"


def test_a_mistake_ends_the_command_with_its_status():
    done = run("--config=5w1s", "--distributed")
    assert done.returncode == 1
    wanted = "sib_jax: --distributed: coordinator_address should be defined."
    assert done.stderr.startswith(wanted)
    assert done.stderr.count("\n") == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ImportWarning")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("def get_config(:", "is not Python (SyntaxError: invalid syntax, {file}, line 1)"),
        ("x = 1", "{file} is not a config file, which must define get_config()"),
        (
            "def get_config():\n    raise OSError(5, 'no\\nway')",
            "fails: OSError: [Errno 5] no",
        ),
        (
            "import not_a_module",
            "fails: ModuleNotFoundError: No module named 'not_a_module' ({file}, line 1)",
        ),
        ("def get_config():\n    return 5", "is not a config file, which must define get_config()"),
        ("def get_config(one, two):\n    return one", "get_config() missing 2 required"),
        (
            "from beside import size\ndef get_config():\n    return size('mini')",
            "fails: KeyError: 'mini' ({folder}/beside.py, line 2)",
        ),
    ],
)
@pytest.mark.parametrize("words", ["--config={}", "--config {}"])
def test_a_config_file_that_fails(tmp_path, words, content, message, monkeypatch):
    """In this process: `parse` needs no more than flags of its own."""
    from absl import flags
    from ml_collections import config_flags

    from sib_jax import main

    file = tmp_path / "mine.py"
    file.write_text(content)
    (tmp_path / "beside.py").write_text("def size(of):\n    return {}[of]\n")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "beside", raising=False)
    values = flags.FlagValues()
    config = config_flags.DEFINE_config_file("config", None, "", flag_values=values)
    monkeypatch.setattr(main.flags, "FLAGS", values)
    monkeypatch.setattr(main, "_CONFIG", config)
    with pytest.raises(SystemExit) as raised:
        main.parse(["sib_jax", *words.format(file).split()])
    assert str(raised.value).startswith(f"sib_jax: {file} ")
    assert message.format(file=file, folder=tmp_path) in str(raised.value)
    assert "\n" not in str(raised.value)


def start(module, *options):
    return subprocess.Popen(
        [sys.executable, "-m", module, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )


def wait_for_handler(process):
    """Until the process would answer SIGTERM: its first imports are still to come."""
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        caught = int(status.read_text().split("SigCgt:")[1].split()[0], 16)
        if caught >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.001)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
@pytest.mark.parametrize(
    ("number", "status", "moment"),
    [
        (signal.SIGINT, 130, "imports"),
        (signal.SIGTERM, 143, "imports"),
        (signal.SIGTERM, 143, "first log line"),
    ],
)
def test_a_signal_ends_the_command_in_one_line(tmp_path, number, status, moment):
    process = start("sib_jax.main", "--config=experiments/5w1s.py", f"--workdir={tmp_path}/run")
    if moment == "imports":
        wait_for_handler(process)
    else:
        assert "data set glyphs" in process.stdout.readline()
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == status
    assert said.startswith("sib_jax: interrupted; the same command goes on from ")
    assert said.count("\n") == 1


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="needs POSIX signals")
def test_control_c_between_the_handlers_is_not_lost():
    """Nor where another thread takes it, as those of libraries do."""
    program = """
import os, signal, threading, time
from sib_jax.runtime import interrupt

set_handler = signal.signal

def set_handler_late(number, handler):
    if number == signal.SIGTERM:
        os.kill(os.getpid(), signal.SIGINT)
    return set_handler(number, handler)

threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
signal.signal = set_handler_late
interrupt.watch()
time.sleep(60)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert done.returncode == 130
    assert done.stderr == "sib_jax: interrupted; the same command goes on from the start\n"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
@pytest.mark.parametrize("module", ["predict", "features", "report", "evaluate"])
def test_control_c_ends_the_other_commands_so_too(module):
    process = start(f"sib_jax.{module}", "--help")
    wait_for_handler(process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said == "sib_jax: interrupted; the same command goes on from the start\n"


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


_FEWER = """
import runpy
from sib_jax.data import glyphs
load = glyphs.load
glyphs.load = lambda: load(glyphs.Settings(examples=8))
runpy.run_module("sib_jax.main", run_name="__main__", alter_sys=True)
"""


def test_the_glyphs_job_prints_a_table(tmp_path):
    """The README's command, its schedules cut short, its images small and fewer."""
    done = run(
        "--config=experiments/5w1s.py",
        f"--workdir={tmp_path}/run",
        "--config.crop=16",
        "--config.queries=5",
        "--config.pretrain.epochs=1",
        "--config.pretrain.batch=256",
        "--config.pretrain.val_tasks=10",
        "--config.optimizer.epochs=1",
        "--config.optimizer.steps_per_epoch=5",
        "--config.optimizer.val_tasks=10",
        "--config.eval.val_tasks=50",
        "--config.eval.test_tasks=50",
        "--noreport",
        command=("-c", _FEWER),
    )
    assert done.returncode == 0, done.stderr
    first, *lines = done.stdout.splitlines()
    assert "glyphs" in first
    assert "conv4_64" in first
    rows = json.loads((tmp_path / "run" / "results.json").read_text())
    assert [row["head"] for row in rows] == ["T0", "T0", "adapted", "adapted"]
    for row in rows:
        cell = f"{row['novel']['mean']:.2f} ± {row['novel']['ci95']:.2f} %"
        assert any(f"T = {row['steps']}" in line and cell in line for line in lines)
