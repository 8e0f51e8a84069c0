"""Episodes a second of meta-training on 1, 2, 4 and 8 CPU devices, and whether losses agree.

python benchmarks/devices.py [--devices=1,2,4,8] [--batches=8,64] [--json=FILE] [--toy]

Each number of devices is measured at each batch. The devices share the cores of one CPU. With no
more devices than cores, this shows whether one device leaves cores idle; with more, it shows what
sharding costs. The losses on the same episodes may differ only by rounding.
"""

import concurrent.futures
import math
import multiprocessing
import sys
from collections.abc import Sequence
from typing import Any

import jax
import ours
import timing
from ours import Setting

_TOLERANCE = 1e-4  # relative, after an epoch of training


def main(argv: Sequence[str]) -> None:
    """Measures each number of devices in a process of its own."""
    flags = timing.parser(__doc__)
    flags.add_argument("--devices", type=timing.numbers, default=(1, 2, 4, 8))
    flags.add_argument("--batches", type=timing.numbers, default=(8, 64))
    flags.add_argument("--toy", action="store_true", help="a rehearsal, at sizes that take seconds")
    args = flags.parse_args(argv)
    about = timing.describe()
    rows: list[dict[str, Any]] = []
    for batch in args.batches:
        found = {count: _in_own_process(count, batch, args.toy) for count in args.devices}
        rows += [
            {"work": f"train_on_{count}_devices_batch_{batch}", "unit": "episodes/s", **values}
            for count, values in found.items()
        ]
    timing.report(rows, about, args.json)
    for batch in args.batches:
        losses = [row["loss"] for row in rows if row["work"].endswith(f"_{batch}")]
        if not all(math.isclose(loss, losses[0], rel_tol=_TOLERANCE) for loss in losses):
            sys.exit(f"batch {batch}: the losses differ by more than {_TOLERANCE}: {losses}")


def _in_own_process(count: int, batch: int, toy: bool) -> dict[str, float]:
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, spawn) as pool:
        return pool.submit(_train, count, batch, toy).result()


def _train(count: int, batch: int, toy: bool) -> dict[str, float]:
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", count)
    setting = Setting(batch=batch, features=64, images=30) if toy else Setting(batch=batch)
    episodes = 128 if toy else 2048
    train = ours.training(ours.config_of(setting), ours.table(setting), episodes)
    loss = train()
    return {"ours": episodes / timing.fastest(train, 3), "loss": loss}


if __name__ == "__main__":
    main(sys.argv[1:])
