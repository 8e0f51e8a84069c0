"""Time from process start to the first finished meta-training step, and memory of meta-training.

python benchmarks/start.py [--json=FILE]

Features of the size of mini-ImageNet's training split (64 classes of 600, 1600 features) lie in a
file, as the feature cache keeps them. A new process imports the package, opens the file, compiles
and takes one step: once with an empty compilation cache (cold) and once with one that an earlier
process filled (warm). Then another process meta-trains for some epochs, validation and checkpoints
included, and reports its peak memory.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import timing

_CLASSES = {"train": 64, "val": 16}


def main(argv: Sequence[str]) -> None:
    """Starts the processes and reports what they measured."""
    flags = timing.parser(__doc__)
    flags.add_argument("--experiment", default="5w1s", help="its mini_imagenet config is run")
    flags.add_argument(
        "--rounds", type=int, default=5, help="alternating rounds; medians are shown"
    )
    flags.add_argument("--images", type=int, default=600, help="in each class")
    flags.add_argument("--features", type=int, default=1600)
    flags.add_argument("--steps", type=int, default=200, help="in an epoch, to measure memory")
    flags.add_argument("--child", choices=list(_CHILDREN), help=argparse.SUPPRESS)
    flags.add_argument("--directory", help=argparse.SUPPRESS)
    args = flags.parse_args(argv)
    if args.child:
        print(json.dumps(_CHILDREN[args.child](args)))
        return
    about = timing.describe()
    with tempfile.TemporaryDirectory() as args.directory:
        for split, classes in _CLASSES.items():
            shape = (classes * args.images, args.features)
            features = np.random.default_rng(0).standard_normal(shape, np.float32)
            np.save(_path(args, split), features)
        rows = [*_start_rows(args), _memory_row(args)]
    timing.report(rows, about, args.json)


def _start_rows(args: argparse.Namespace) -> list[dict[str, Any]]:
    _start(args, "first_step", args.directory)  # fills the cache
    times: dict[str, list[dict[str, float]]] = {"cold": [], "warm": []}
    for _ in range(args.rounds):
        with tempfile.TemporaryDirectory() as empty:
            times["cold"].append(_start(args, "first_step", empty))
        times["warm"].append(_start(args, "first_step", args.directory))
    return [
        {
            "work": f"first_step_{name}",
            "unit": "s",
            **{part: statistics.median(t[part] for t in taken) for part in taken[0]},
        }
        for name, taken in times.items()
    ]


def _memory_row(args: argparse.Namespace) -> dict[str, Any]:
    table = _path(args, "train").stat().st_size
    peak = _start(args, "peak", args.directory)["peak"]
    return {
        "work": "peak_memory",
        "unit": "MB",
        "total": peak / 1e6,
        "table": table / 1e6,
        "above_table": (peak - table) / 1e6,
    }


def _start(args: argparse.Namespace, child: str, cache: str) -> dict[str, float]:
    """What a child measured; points in time become seconds since it was started."""
    options = [f"--{name}={getattr(args, name)}" for name in vars(args) if name not in _NOT_HANDED]
    begun = time.time()
    done = subprocess.run(
        [sys.executable, __file__, f"--child={child}", *options],
        env={**os.environ, "SIB_JAX_CACHE": cache},
        stdout=subprocess.PIPE,
        check=True,
    )
    told = json.loads(done.stdout)
    if child == "peak":
        return told
    return {
        "total": told["stepped"] - begun,
        "imported": told["imported"] - begun,
        "table_read": told["read"] - told["imported"],
        "compiled_and_stepped": told["stepped"] - told["read"],
    }


_NOT_HANDED = ("child", "json", "rounds")


def _first_step(args: argparse.Namespace) -> dict[str, float]:
    """The points in time up to a first step."""
    import ours

    from sib_jax.runtime import programs

    imported = time.time()
    programs.keep()  # in $SIB_JAX_CACHE, as the commands do
    config = ours.experiment(args.experiment, "mini_imagenet")
    table = _table(args, "train")
    read = time.time()
    ours.training(config, table, config.optimizer.batch)()
    return {"imported": imported, "read": read, "stepped": time.time()}


def _peak(args: argparse.Namespace) -> dict[str, float]:
    """The peak memory of meta-training."""
    import ours

    from sib_jax.experiment.meta_train import meta_train
    from sib_jax.report.metrics import Metrics
    from sib_jax.runtime import devices
    from sib_jax.tasks.setting import Sources

    config = ours.experiment(args.experiment, "mini_imagenet")
    config.optimizer.epochs = 2
    config.optimizer.steps_per_epoch = args.steps
    train, head = _table(args, "train"), ours.head_of(config)
    with tempfile.TemporaryDirectory() as directory:
        meta_train(
            head,
            ours.init_params(head, train),
            train,
            # Placed once, as in a run.
            devices.to_all(Sources(_table(args, "val")), devices.episode_mesh(config.eval.batch)),
            Path(directory) / "checkpoints",
            Metrics(Path(directory)),
        )
    return {"peak": timing.peak_memory()}


_CHILDREN = {"first_step": _first_step, "peak": _peak}


def _path(args: argparse.Namespace, split: str) -> Path:
    return Path(args.directory) / f"{split}.npy"


def _table(args: argparse.Namespace, split: str) -> Any:
    from sib_jax.tasks.table import feature_table

    labels = np.repeat(np.arange(_CLASSES[split]), args.images)
    return feature_table(np.load(_path(args, split), mmap_mode="r"), labels)


if __name__ == "__main__":
    main(sys.argv[1:])
