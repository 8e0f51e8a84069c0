"""Kills runs, and fails their writes, at many moments: the same command must end with the same.

python benchmarks/robustness.py [--toy] [--json=FILE]

A toy job (a folder of small images; pretraining, features, two heads, evaluation) runs undisturbed
once, as one process and as two. Then, in a workdir and cache of its own each time, it is killed
(SIGKILL) at a random instant within a stage, which is chosen by what the log has said; or one of
its writes, the n-th, fails: no room, an error of the disk, or the process ends when half of it is
written. Then the same command runs again. It must succeed; results.json must be as without the
disturbance, but for seconds; metrics.jsonl too, for kills; and no temporary file may be left.

Writes are failed in Python (file.write, os.fsync, os.replace, os.rename, os.mkdir), by a
sitecustomize module that only the processes started here see. What tensorstore writes below orbax
is not reached by it: tests/runtime/test_checkpoint.py fills the disk under that.
"""

import argparse
import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import timing
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
_CLASSES = {"train": 6, "val": 5, "test": 5}
_FIELDS = {
    "image_size": 16,
    "crop": 16,
    "ways": 3,
    "queries": 4,
    "pretrain.epochs": 2,
    "pretrain.batch": 12,
    "pretrain.padding": 1,
    "pretrain.val_tasks": 10,
    "optimizer.epochs": 2,
    "optimizer.steps_per_epoch": 5,
    "optimizer.batch": 2,
    "optimizer.val_tasks": 10,
    "eval.val_tasks": 20,
    "eval.test_tasks": 20,
    "eval.batch": 10,
}
# Each begins with what its pattern finds in the log, or when its file is there.
STAGES = {
    "start": r"",
    "decoding": r"data set folder",
    "pretraining": r" test: \d+ classes",
    "its second epoch": r"pretrain: epoch 1",
    "features": r"pretrain: epoch 2",
    "head T0": "backbone.npz",
    "head T0, second epoch": r"T0: epoch 1",
    "head adapted": "heads/T0.npz",
    "its second epoch ": r"adapted: epoch 1",
    "evaluation": "heads/adapted.npz",
    "writing results": "results.json",
}
_FAULTS = ("ENOSPC", "EIO", "stops half-way")
_HOOK = '''
"""Fails the n-th write of this process below some folders: FAULT is "n kind", FAULT_BELOW them."""
import atexit, builtins, errno, io, os
_n, _kind = os.environ["FAULT"].split(" ", 1)
_below, _count, _n = os.environ["FAULT_BELOW"].split(":"), 0, int(_n)
_after_fork = os.getpid()
def _due(path):
    global _count
    if isinstance(path, int):
        try: path = os.readlink(f"/proc/self/fd/{path}")
        except OSError: return False
    if not any(os.path.abspath(os.fsdecode(path)).startswith(b) for b in _below):
        return False
    _count += 1
    return _count == _n
def _fail():
    with _open(os.environ["FAULT_SAID"], "w") as file:
        file.write("failed")
    if _kind == "stops half-way":
        os._exit(9)
    number = getattr(errno, _kind)
    raise OSError(number, os.strerror(number))
class _File:
    def __init__(self, file, path): self._file, self._path = file, path
    def __getattr__(self, name): return getattr(self._file, name)
    def __enter__(self): return self
    def __exit__(self, *_): self._file.close()
    def __iter__(self): return iter(self._file)
    def write(self, data):
        if _due(self._path):
            if _kind == "stops half-way":
                self._file.write(data[: len(data) // 2])
                self._file.flush()
            _fail()
        return self._file.write(data)
_open = io.open
def _opened(path, mode="r", *args, **kwargs):
    file = _open(path, mode, *args, **kwargs)
    return _File(file, path) if set(mode) & set("wxa+") and not isinstance(path, int) else file
io.open = builtins.open = _opened
def _wrap(name):
    real = getattr(os, name)
    def call(path, *args, **kwargs):
        if _due(path): _fail()
        return real(path, *args, **kwargs)
    setattr(os, name, call)
for _name in ("fsync", "replace", "rename", "mkdir"): _wrap(_name)
def _tell():
    with _open(os.environ["FAULT_SAID"] + ".count", "w") as file:
        file.write(str(_count))
atexit.register(_tell)
'''


class Place(NamedTuple):
    """Where one trial runs.

    Attributes:
      root: a folder of its own.
      data: the images, the same for all.
      compiled: compiled programs, the same for all.
    """

    root: Path
    data: Path
    compiled: Path

    @property
    def workdir(self) -> Path:
        """The run's."""
        return self.root / "run"


def main(argv: Sequence[str]) -> None:
    """Disturbs, runs again, compares, and prints a table."""
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("--json", help="file that gets the table")
    flags.add_argument("--kills", type=int, default=60)
    flags.add_argument("--faults", type=int, default=60, help="of one process, spread evenly")
    flags.add_argument("--toy", action="store_true", help="6 kills and 6 faults")
    flags.add_argument("--seed", type=int, default=0)
    args = flags.parse_args(argv)
    if args.toy:
        args.kills = args.faults = 6
    about = timing.describe()
    with tempfile.TemporaryDirectory() as folder:
        rows = _all(args, Path(folder))
    timing.report(rows, about, args.json)
    failed = sum(row["bad"] for row in rows)
    print(f"{sum(row['trials'] for row in rows)} trials, {failed} of them bad")
    sys.exit(bool(failed))


def _all(args: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    chance = random.Random(args.seed)
    data, compiled = folder / "data", folder / "compiled"
    _draw(data)
    whole = {}
    for count in (1, 2):
        _undisturbed(Place(folder / f"warm{count}", data, compiled), count)
        whole[count] = _undisturbed(Place(folder / f"whole{count}", data, compiled), count)
    rows = _kills(args.kills, folder, data, compiled, whole, chance)
    return rows + _faults(args.faults, folder, data, compiled, whole[1])


class Whole(NamedTuple):
    """An undisturbed run.

    Attributes:
      results: its rows, without seconds.
      metrics: its lines.
      begun: when each stage began, in seconds from the start; and when all was done.
    """

    results: list[Any]
    metrics: list[str]
    begun: list[float]


def _undisturbed(place: Place, count: int) -> Whole:
    begun, start = [], time.monotonic()
    processes = _start(place, count)
    for stage in STAGES:
        _wait_for(place, stage, processes)
        begun.append(time.monotonic() - start)
    codes = [process.wait() for process in processes]
    if any(codes):
        raise SystemExit(f"the undisturbed run failed: {codes}\n{_log(place)}")
    return Whole(_results(place), _metrics(place), [*begun, time.monotonic() - start])


def _kills(
    number: int, folder: Path, data: Path, compiled: Path, whole: dict[int, Whole], chance: Any
) -> list[dict[str, Any]]:
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    names = list(STAGES)
    for trial in range(number):
        # Spread over the stages, however few trials there are; every third with two processes.
        index = trial * len(names) // number if number < len(names) else trial % len(names)
        stage, count = names[index], 2 if trial % 3 == 2 else 1
        place = Place(folder / f"kill{trial}", data, compiled)
        processes = _start(place, count)
        _wait_for(place, stage, processes)
        begun = whole[count].begun
        time.sleep(chance.random() * max(0.02, begun[index + 1] - begun[index]))
        running = [process.poll() is None for process in processes]
        for process in processes:
            process.kill()
            process.wait()
        row = rows.setdefault(
            (stage, count),
            {"disturbance": "SIGKILL", "at": stage.strip(), "processes": count, "trials": 0}
            | {"struck": 0, "one line": None, "bad": 0},
        )
        row["trials"] += 1
        row["struck"] += any(running)
        row["bad"] += _is_bad(place, count, whole[count], _metrics_too=True)
    return list(rows.values())


def _faults(
    number: int, folder: Path, data: Path, compiled: Path, whole: Whole
) -> list[dict[str, Any]]:
    total = _writes(Place(folder / "count", data, compiled))
    rows = {
        kind: {"disturbance": kind, "at": f"one of {total} writes", "processes": 1, "trials": 0}
        | {"struck": 0, "one line": 0, "bad": 0}
        for kind in _FAULTS
    }
    number = min(number, total * len(_FAULTS))
    for trial in range(number):
        kind = _FAULTS[trial % len(_FAULTS)]
        row = rows[kind]
        place = Place(folder / f"fault{trial}", data, compiled)
        (process,) = _start(place, 1, fault=f"{1 + trial * total // number} {kind}")
        code = process.wait()
        said = _log(place)
        row["trials"] += 1
        row["struck"] += (place.root / "said").exists()
        one_line = code == 1 and "Traceback" not in said and "sib_jax: " in said
        row["one line"] += one_line
        odd = code not in (0, 9) and not one_line
        if odd:
            print(f"{kind}, write {1 + trial * total // number}: status {code}\n{said}", flush=True)
        row["bad"] += odd or _is_bad(place, 1, whole, _metrics_too=False)
    return list(rows.values())


def _writes(place: Place) -> int:
    """How many writes an undisturbed run makes."""
    (process,) = _start(place, 1, fault="0 EIO")
    process.wait()
    return int((place.root / "said.count").read_text())


def _is_bad(place: Place, count: int, whole: Whole, *, _metrics_too: bool) -> bool:
    """The same command again: whether it ends otherwise than the undisturbed run."""
    codes = [process.wait(timeout=600) for process in _start(place, count)]
    problems = []
    if any(codes):
        problems.append(f"status {codes}: {_log(place)}")
    elif _results(place) != whole.results:
        problems.append("other results")
    elif _metrics_too and sorted(_metrics(place)) != sorted(whole.metrics):
        problems.append("other metrics")
    left = [path for path in place.root.rglob("*") if re.search(r"\.tmp|-tmp|damaged", path.name)]
    if left:
        problems.append(f"left behind: {', '.join(str(path) for path in left)}")
    for problem in problems:
        print(f"{place.root.name}: {problem}", flush=True)
    shutil.rmtree(place.root)
    return bool(problems)


def _start(place: Place, count: int, fault: str | None = None) -> list[subprocess.Popen[bytes]]:
    place.root.mkdir(exist_ok=True)
    command = [
        *(sys.executable, "-m", "sib_jax.main", "--config=experiments/5w1s.py:folder"),
        *(f"--data_dir={place.data}", f"--workdir={place.workdir}"),
        *(f"--config.{name}={value}" for name, value in _FIELDS.items()),
        "--config.optimizer.drop_epochs=(1,)",
    ]
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(ROOT),
        "SIB_JAX_CACHE": str(place.root / "cache"),
        "JAX_COMPILATION_CACHE_DIR": str(place.compiled),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
    }
    if fault is not None:
        hook = place.root / "hook"
        hook.mkdir()
        (hook / "sitecustomize.py").write_text(_HOOK)
        environment["PYTHONPATH"] = f"{hook}:{ROOT}"
        environment["FAULT"], environment["FAULT_SAID"] = fault, str(place.root / "said")
        environment["FAULT_BELOW"] = f"{place.workdir}:{place.root / 'cache'}"
    if count > 1:
        command += ["--distributed", f"--coordinator_address=localhost:{_free_port()}"]
        command += [f"--process_count={count}"]
    started = []
    for index in range(count):
        of_this = [*command, *([f"--process_id={index}"] if count > 1 else [])]
        with (place.root / f"log{index}").open("w") as log:
            started.append(
                subprocess.Popen(of_this, stdout=log, stderr=log, cwd=ROOT, env=environment)
            )
    return started


def _wait_for(place: Place, stage: str, processes: list[subprocess.Popen[bytes]]) -> None:
    """Until a stage has begun, or the run is over."""
    wanted = STAGES[stage]
    while any(process.poll() is None for process in processes):
        if wanted.endswith((".npz", ".json")):
            if (place.workdir / wanted).exists():
                return
        elif re.search(wanted, (place.root / "log0").read_text()):
            return
        time.sleep(0.002)


def _log(place: Place) -> str:
    return "\n".join(path.read_text() for path in sorted(place.root.glob("log?")))


def _results(place: Place) -> list[Any]:
    path = place.workdir / "results.json"
    rows = json.loads(path.read_text()) if path.exists() else []
    return [{**row, "seconds": 0} for row in rows]


def _metrics(place: Place) -> list[str]:
    return (place.workdir / "metrics.jsonl").read_text().splitlines()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def _draw(root: Path) -> None:
    """Classes of 12 images, told apart by their colours."""
    rng = np.random.default_rng(0)
    for split, classes in _CLASSES.items():
        for c in range(classes):
            pattern = np.kron(rng.integers(40, 215, (4, 4, 3)), np.ones((4, 4, 1), int))
            folder = root / split / f"{split}{c}"
            folder.mkdir(parents=True)
            for i in range(12):
                noisy = np.clip(pattern + rng.normal(0, 40, pattern.shape), 0, 255)
                Image.fromarray(noisy.astype(np.uint8)).save(folder / f"{i}.png")


if __name__ == "__main__":
    main(sys.argv[1:])
