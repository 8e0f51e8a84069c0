"""Kills runs at many moments: the same command must always go on and end with the same results.

python benchmarks/robustness.py [--toy] [--processes=2] [--json=FILE]

First a toy job (a folder of small images; pretraining, features, two heads, evaluation) runs
undisturbed, as one process or as two. Then there are chains of runs, each chain in a workdir and
cache of its own. Each run of a chain is killed (SIGKILL) at a random instant within a stage; the
log and the files say which stage it is in. The next run goes on into the following stage, and the
last one may end. In chains of two processes, one of the two also gets SIGTERM once; both must then
save and stop.

After every kill, each file that has its final name must be whole. At the end, results.json (apart
from seconds) and metrics.jsonl must be the same as without the kills, and no temporary file may be
left.

Every run is a fork of a process that has imported the program and done nothing else. The command is
the same; it only saves seconds of imports, during which a kill could do no harm.
Writes that fail are tested in tests/experiment/test_failing_writes.py.
"""

import argparse
import json
import multiprocessing
import os
import random
import re
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import timing
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
FORK = multiprocessing.get_context("fork")
SIZE = 16
CLASSES = {"train": 6, "val": 5, "test": 5}
FIELDS = {
    "image_size": SIZE,
    "crop": SIZE,
    "ways": 3,
    "queries": 4,
    "pretrain.epochs": 2,
    "pretrain.batch": 12,
    "pretrain.padding": 1,
    "pretrain.val_tasks": 10,
    "optimizer.epochs": 4,  # so many that something is left to do after a signal in the second
    "optimizer.steps_per_epoch": 100,
    "optimizer.batch": 2,
    "optimizer.val_tasks": 10,
    "optimizer.drop_epochs": (1,),
    "eval.val_tasks": 20,
    "eval.test_tasks": 20,
    "eval.batch": 10,
}
SECONDS = 900  # the most that a run may take, on a busy machine


class Stage(NamedTuple):
    """A part of a run. It has begun when both patterns are found.

    Attributes:
      name: its name in the report.
      said: regular expression for a line in the log of this run.
      written: glob for files in the folder that holds the workdir and the cache.
    """

    name: str
    said: str = ""
    written: str = ""


_LOADED = r" test: \d+ classes"
STAGES = (
    Stage("start", r"data set folder"),
    Stage("decoding", written="cache/datasets/*"),
    Stage("pretraining", _LOADED),
    Stage("pretraining, second epoch", r"pretrain: (epoch 1|going on)"),
    Stage("features", _LOADED, "run/backbone.npz"),
    Stage("head T0", _LOADED, "run/checkpoints/heads/T0"),
    Stage("head T0, second epoch", r"T0: (epoch 1|going on)"),
    Stage("head adapted", _LOADED, "run/checkpoints/heads/adapted"),
    Stage("head adapted, second epoch", r"adapted: (epoch 1|going on)"),
    Stage("evaluation", _LOADED, "run/heads/adapted.npz"),
    Stage("report", _LOADED, "run/results.json"),
)


class Place(NamedTuple):
    """Where a chain runs: its own folder, and the images and compiled programs that all share."""

    root: Path
    data: Path
    compiled: Path


def main(argv: Sequence[str]) -> None:
    """Kills runs, starts them again, compares what they leave and prints a table."""
    flags = timing.parser(__doc__)
    flags.add_argument("--processes", type=int, default=1, choices=(1, 2), help="in each run")
    flags.add_argument(
        "--chains", type=int, default=6, help="chains of runs, each with a kill in every stage"
    )
    flags.add_argument("--jobs", type=int, default=1, help="chains that run at the same time")
    flags.add_argument("--toy", action="store_true", help="one chain")
    flags.add_argument(
        "--devices",
        type=int,
        help="no chains: stop one run by SIGTERM, and go on with that many devices",
    )
    flags.add_argument("--seed", type=int, default=0, help="of when and how runs are stopped")
    flags.add_argument("--compiled", help="folder that keeps compiled programs for the next time")
    args = flags.parse_args(argv)
    about = timing.describe()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        rows = _all(args, Path(folder))
    minutes = round((time.monotonic() - begun) / 60, 1)
    about = {**about, "minutes": minutes, "seed": args.seed}
    timing.report(rows, about, args.json)
    print(f"{rows[-1]['kills']} kills, {rows[-1]['bad']} bad, in {minutes} minutes")
    sys.exit(bool(rows[-1]["bad"]))


def prepare(folder: Path, kept: str | None) -> tuple[Path, Path]:
    """Draws the images and imports the program; returns the folders of images and programs."""
    data, compiled = folder / "data", Path(kept or folder / "compiled").absolute()
    draw(data)
    os.environ |= {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(compiled),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    sys.path.insert(0, str(ROOT))
    import sib_jax.experiment.job
    import sib_jax.main  # noqa: F401

    return data, compiled


def draw(root: Path) -> None:
    """Makes classes of 12 images, which differ in their colours."""
    rng = np.random.default_rng(0)
    for split, classes in CLASSES.items():
        for c in range(classes):
            pattern = np.kron(rng.integers(40, 215, (4, 4, 3)), np.ones((4, 4, 1), int))
            folder = root / split / f"{split}{c}"
            folder.mkdir(parents=True)
            for i in range(12):
                noisy = np.clip(pattern + rng.normal(0, 40, pattern.shape), 0, 255)
                Image.fromarray(noisy.astype(np.uint8)).save(folder / f"{i}.png")


def _all(args: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    data, compiled = prepare(folder, args.compiled)
    count, chains = args.processes, 1 if args.toy else args.chains
    if not any(compiled.glob("*")):
        _undisturbed(Place(folder / "compiling", data, compiled), count)
    whole = _undisturbed(Place(folder / "whole", data, compiled), count)
    print(f"undisturbed in {whole.begun[-1]:.0f} s", flush=True)
    if args.devices:
        return [_other_devices(Place(folder / "devices", data, compiled), args.devices, whole)]
    waiting = [
        FORK.Process(
            target=_chain,
            args=(Place(folder / f"chain{i}", data, compiled), count, whole, args.seed, i, chains),
        )
        for i in range(chains)
    ]
    running: list[Any] = []
    while waiting or running:
        running = [process for process in running if process.is_alive()]
        while waiting and len(running) < args.jobs:
            running.append(waiting.pop(0))
            running[-1].start()
        time.sleep(0.2)
    return _table([json.loads((folder / f"chain{i}.json").read_text()) for i in range(chains)])


class Whole(NamedTuple):
    """An undisturbed run.

    Attributes:
      results: the rows of its results.json, without seconds.
      metrics: the lines of its metrics.jsonl.
      begun: when each stage began, in seconds from the start, and when everything was done.
    """

    results: list[Any]
    metrics: list[str]
    begun: list[float]


def _undisturbed(place: Place, count: int) -> Whole:
    begun, start = [], time.monotonic()
    processes = start_run(place, count)
    for stage in STAGES:
        _wait_for(place, stage, processes)
        begun.append(time.monotonic() - start)
    codes = _ends(processes)
    if any(codes):
        raise SystemExit(f"the undisturbed run failed: {codes}\n{log_of(place)}")
    return Whole(results_of(place), _metrics(place), [*begun, time.monotonic() - start])


def _chain(place: Place, count: int, whole: Whole, seed: int, number: int, chains: int) -> None:
    """Kills a run in every stage, goes on with it each time, and writes down what came of it.

    Each stage is divided into `chains` equal parts, and chain `number` kills in its own part. The
    first chain kills early, since a stage may end sooner than it did in the undisturbed run.
    """
    chance = random.Random(seed + number)
    said: dict[str, Any] = {"processes": count, "struck": [], "problems": []}
    for index, stage in enumerate(STAGES):
        processes = start_run(place, count)
        _wait_for(place, stage, processes)
        length = whole.begun[index + 1] - whole.begun[index]
        share = (number + chance.random()) / chains
        _sleep(share * length, place, STAGES[index + 1 : index + 2])
        alive = any(process.is_alive() for process in processes)
        for process in processes:
            process.kill()
        codes = _ends(processes)
        if alive:
            said["struck"].append(_last_begun(place))
        elif any(codes):
            said["problems"].append(f"before {stage.name}: status {codes}: {log_of(place)}")
        said["problems"] += [f"after {stage.name}: {what}" for what in damaged(place.root)]
        if count == 2 and stage.name == "head T0":
            said["problems"] += _preempt(place)
    codes = _ends(start_run(place, count))
    if any(codes):
        said["problems"].append(f"at the end: status {codes}: {log_of(place)}")
    elif results_of(place) != whole.results:
        said["problems"].append("other results")
    elif sorted(_metrics(place)) != sorted(whole.metrics):
        said["problems"].append("other metrics")
    said["problems"] += [f"at the end: {what}" for what in damaged(place.root, ended=True)]
    for problem in said["problems"]:
        print(f"{place.root.name}: {problem}", flush=True)
    place.root.with_suffix(".json").write_text(json.dumps(said))
    print(f"{place.root.name}: {len(said['struck'])} kills", flush=True)


def _preempt(place: Place) -> list[str]:
    """Sends SIGTERM to one of two processes: both must save, and stop with status 143."""
    processes = start_run(place, 2)
    _wait_for(place, Stage("", r"T0: (epoch 1|going on)"), processes)
    os.kill(processes[1].pid, signal.SIGTERM)
    codes, said = _ends(processes), log_of(place)
    if codes != [143, 143] or said.count("interrupted; the same command goes on") != 2:
        return [f"SIGTERM to one of two: status {codes}: {said}"]
    return []


def _other_devices(place: Place, number: int, whole: Whole) -> dict[str, Any]:
    """Stops meta-training on one device and goes on with several: the same up to rounding."""
    processes = start_run(place, 1)
    _wait_for(place, Stage("", r"T0: epoch 1"), processes)
    os.kill(processes[0].pid, signal.SIGTERM)
    codes = _ends(processes)
    flags = f"--xla_force_host_platform_device_count={number}"
    codes += _ends(start_run(place, 1, XLA_FLAGS=flags))
    if codes != [143, 0] or "going on from step" not in log_of(place):
        raise SystemExit(f"status {codes}\n{log_of(place)}")
    furthest = 0.0
    for lines in zip(whole.metrics, _metrics(place), strict=True):
        before, after = map(json.loads, lines)
        furthest = max(furthest, abs(after["loss"] - before["loss"]) / abs(before["loss"]))
    pairs = zip(whole.results, results_of(place), strict=True)
    differ = sum(before["novel"] != after["novel"] for before, after in pairs)
    return {
        "stopped on": "1 device",
        "went on with": f"{number} devices",
        "largest relative difference of a loss": furthest,
        "rows of results.json that differ": differ,
        "kills": 1,
        "bad": int(furthest > 1e-4),
    }


def _table(chains: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a stage, with its number of kills; problems are counted over whole chains."""
    struck = Counter(name for chain in chains for name in chain["struck"])
    count = chains[0]["processes"]
    rows: list[dict[str, Any]] = [
        {"processes": count, "killed in": stage.name, "kills": struck[stage.name]}
        for stage in STAGES
    ]
    ended = f"all, in {len(chains)} chains: results, metrics and files"
    bad = sum(len(chain["problems"]) for chain in chains)
    return [*rows, {"processes": count, "killed in": ended, "kills": struck.total(), "bad": bad}]


def start_run(
    place: Place, count: int, fields: dict[str, Any] | None = None, **environment: str
) -> list[Any]:
    """Starts the command, as one process or several, each with a log of its own."""
    place.root.mkdir(exist_ok=True)
    command = [
        *("sib_jax.main", f"--config={ROOT / 'experiments' / '5w1s.py'}:folder"),
        *(f"--data_dir={place.data}", f"--workdir={place.root / 'run'}"),
        *(f"--config.{name}={value}" for name, value in (FIELDS | (fields or {})).items()),
    ]
    environment["SIB_JAX_CACHE"] = str(place.root / "cache")
    if count > 1:
        command += ["--distributed", f"--coordinator_address=localhost:{_free_port()}"]
        command += [f"--process_count={count}"]
    started = []
    for index in range(count):
        words = [*command, *([f"--process_id={index}"] if count > 1 else [])]
        log = place.root / f"log{index}"
        log.write_text("")
        process = FORK.Process(target=_command, args=(words, log, environment))
        process.start()
        started.append(process)
    return started


def _command(words: list[str], log: Path, environment: dict[str, str]) -> None:
    """Does what `python -m sib_jax.main` does, in this process."""
    with log.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ |= environment
    from absl import app

    from sib_jax import main as training
    from sib_jax.runtime import interrupt

    sys.argv = words  # where the flags of configs look for overrides
    interrupt.watch()
    app.run(training.main, words, flags_parser=training.parse)


def _wait_for(place: Place, stage: Stage, processes: list[Any]) -> None:
    """Waits until a stage has begun, or the run is over."""
    while any(process.is_alive() for process in processes) and not _has_begun(place, stage):
        time.sleep(0.02)


def _sleep(seconds: float, place: Place, following: Sequence[Stage]) -> None:
    """Sleeps, but not into the next stage: the machine may be faster now than it was."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not any(_has_begun(place, stage) for stage in following):
        time.sleep(0.01)


def _has_begun(place: Place, stage: Stage) -> bool:
    if stage.said and not re.search(stage.said, (place.root / "log0").read_text()):
        return False
    return not stage.written or any(place.root.glob(stage.written))


def _last_begun(place: Place) -> str:
    return next((s.name for s in reversed(STAGES) if _has_begun(place, s)), STAGES[0].name)


def _ends(processes: list[Any]) -> list[int | None]:
    """Waits for the processes; returns their exit statuses. Kills what does not end in time."""
    for process in processes:
        process.join(SECONDS)
        if process.is_alive():
            process.kill()
            process.join()
    return [process.exitcode for process in processes]


def damaged(root: Path, *, ended: bool = False) -> list[str]:
    """Files with their final names that are not whole; if the run has ended, temporaries too."""
    found = []
    for path in root.rglob("*"):
        inside = path.relative_to(root)
        if any(re.search(r"\.tmp$|-tmp|^damaged", part) for part in inside.parts):
            if ended:
                found.append(f"{inside} is left behind")
        elif check := _CHECKS.get(path.suffix):
            try:
                check(path)
            except FileNotFoundError:
                pass
            except Exception as error:  # a damaged file may fail in any way
                found.append(f"{inside} is half-written: {error}")
    return found


def _load(path: Path) -> None:
    with path.open("rb") as file:
        found = np.load(file)
        _ = dict(found) if isinstance(found, np.lib.npyio.NpzFile) else found


def _lines(path: Path) -> None:
    for line in path.read_text().split("\n")[
        :-1
    ]:  # the next run drops a last line that is cut short
        json.loads(line)


_CHECKS: dict[str, Callable[[Path], object]] = {
    ".npz": _load,
    ".npy": _load,
    ".json": lambda path: json.loads(path.read_text()),
    ".jsonl": _lines,
}


def log_of(place: Place) -> str:
    """The logs of all processes."""
    return "\n".join(path.read_text() for path in sorted(place.root.glob("log?")))


def results_of(place: Place) -> list[Any]:
    """The rows of results.json, without seconds."""
    path = place.root / "run" / "results.json"
    rows = json.loads(path.read_text()) if path.exists() else []
    return [{**row, "seconds": 0} for row in rows]


def _metrics(place: Place) -> list[str]:
    return (place.root / "run" / "metrics.jsonl").read_text().splitlines()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


if __name__ == "__main__":
    main(sys.argv[1:])
