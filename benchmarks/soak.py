"""Memory and open files of one long run, sampled every few seconds: they must stay flat.

python benchmarks/soak.py --minutes=60 [--json=FILE] [--plot=FILE.png]

The run meta-trains on the features of glyphs, with an evaluation, a checkpoint and a line of
metrics after every epoch, until SIGTERM stops it. Its backbone is trained for only one epoch, as
accuracy does not matter here. The samples come from /proc, so this works only on Linux.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import timing

ROOT = Path(__file__).resolve().parents[1]
FIELDS = {
    "pretrain.epochs": 1,
    "pretrain.val_tasks": 50,
    "heads": "(('soak', {'inner.steps': 3}),)",
    "optimizer.epochs": 10**6,
    "optimizer.steps_per_epoch": 50,
    "optimizer.val_tasks": 100,
}
COLUMNS = ("seconds", "resident_mb", "open_files", "threads", "epochs")


def main(argv: Sequence[str]) -> None:
    """Runs, samples, and reports how much each quantity grew from the first half to the second."""
    flags = timing.parser(__doc__)
    flags.add_argument("--minutes", type=float, default=60, help="of meta-training")
    flags.add_argument("--every", type=float, default=5, help="seconds between samples")
    flags.add_argument("--plot", help="file to write a plot to")
    flags.add_argument("--folder", help="where it runs or goes on; default: a temporary folder")
    args = flags.parse_args(argv)
    about = timing.describe()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.folder or temporary).absolute()
        samples = _samples(folder, args.minutes * 60, args.every)
    rows = [_grown(samples, column) for column in ("resident_mb", "open_files", "threads")]
    timing.report(rows, about, None)
    if args.json:
        said = {"about": about, "rows": rows, "columns": COLUMNS, "samples": samples}
        Path(args.json).write_text(json.dumps(said) + "\n")
    if args.plot:
        _plot(samples, args.plot)


def _samples(folder: Path, seconds: float, every: float) -> list[list[float]]:
    log, metrics = folder / "log", folder / "run" / "metrics.jsonl"
    with log.open("w") as out:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "sib_jax.main"),
                *(f"--config={ROOT / 'experiments' / '5w1s.py'}", f"--workdir={folder / 'run'}"),
                *(f"--config.{name}={value}" for name, value in FIELDS.items()),
            ],
            stdout=out,
            stderr=out,
            env={
                **os.environ,
                "JAX_PLATFORMS": "cpu",
                "PYTHONPATH": str(ROOT),
                "SIB_JAX_CACHE": str(folder / "cache"),
            },
        )
    found: list[list[float]] = []
    begun: float | None = None
    while not found or found[-1][0] < seconds:
        if process.poll() is not None:
            sys.exit(f"the run ended: {log.read_text()}")
        epochs = metrics.read_text().count('"soak"') if metrics.exists() else 0
        begun = begun or (time.monotonic() if epochs else None)
        if begun:
            found.append([round(time.monotonic() - begun, 1), *_sample(process.pid), epochs])
        time.sleep(every)
    process.send_signal(signal.SIGTERM)
    if process.wait(timeout=300) != 143:
        sys.exit(f"the run did not stop as it should: {log.read_text()[-2000:]}")
    return found


def _sample(pid: int) -> tuple[float, int, int]:
    """Resident memory in MB, open files, threads."""
    status = Path(f"/proc/{pid}/status").read_text()
    numbers = dict(re.findall(r"(VmRSS|Threads):\s+(\d+)", status))
    files = len(os.listdir(f"/proc/{pid}/fd"))
    return round(int(numbers["VmRSS"]) * 1024 / 1e6, 1), files, int(numbers["Threads"])


def _grown(samples: list[list[float]], column: str) -> dict[str, Any]:
    """The medians of both halves, without the first tenth, in which everything is compiled."""
    values = np.array([row[COLUMNS.index(column)] for row in samples])
    values = values[len(values) // 10 :]
    first, second = np.array_split(values, 2)
    return {
        "measured": column,
        "minutes": round(samples[-1][0] / 60, 1),
        "epochs": samples[-1][COLUMNS.index("epochs")],
        "first half": float(np.median(first)),
        "second half": float(np.median(second)),
        "most": float(values.max()),
    }


def _plot(samples: list[list[float]], path: str) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    columns = dict(zip(COLUMNS, np.array(samples).T, strict=True))
    minutes = columns["seconds"] / 60
    figure, axes = pyplot.subplots(3, 1, sharex=True, figsize=(7, 6), layout="constrained")
    for axis, (column, label) in zip(
        axes,
        {
            "resident_mb": "resident memory, MB",
            "open_files": "open files",
            "epochs": "epochs, each evaluated",
        }.items(),
        strict=True,
    ):
        axis.plot(minutes, columns[column], linewidth=1)
        axis.set_ylabel(label)
        axis.set_ylim(0, 1.15 * columns[column].max())
        axis.grid(alpha=0.3)
    axes[-1].set_xlabel("minutes of meta-training")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main(sys.argv[1:])
