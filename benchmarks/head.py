"""Episodes a second of meta-training and evaluation on frozen features, beside the official head.

python benchmarks/head.py --official=DIR [--official_python=PYTHON] [--json=FILE]

5-way 1-shot, 15 queries, T = 3, point mass. The features of 64 classes of 600 images are in memory.
Drawing the episodes is included in the time; compiling and warm-up are not. Ours is the compiled
epoch of `experiment.meta_train`, and `experiment.evaluate`, always at its best batch. "batch1" is
the official code at its own batch of 1; "best" is the same at the best of a scan over batch sizes.
Both have their best number of threads.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import ours
import timing
from ours import Setting
from timing import Official

WORK = {
    "train_d640": ("train", 640),
    "train_d1600": ("train", 1600),
    "eval_d640": ("evaluate", 640),
}


def main(argv: Sequence[str]) -> None:
    """Finds the best batch of each, then measures both in alternating rounds."""
    flags = timing.parser(__doc__, official=True)
    flags.add_argument("--episodes", type=int, default=1024, help="in one measurement")
    flags.add_argument(
        "--rounds", type=int, default=5, help="alternating rounds; medians are shown"
    )
    flags.add_argument("--batches", type=timing.numbers, default=(1, 2, 4, 8, 16, 32, 64, 128))
    flags.add_argument("--images", type=int, default=600, help="in each of the 64 classes")
    args = flags.parse_args(argv)
    with Official(args.official, args.official_python) as official:
        about = timing.describe(official)
        rows = [row for name in WORK for row in _rows(name, args, official)]
    timing.report(rows, about, args.json)


def _rows(name: str, args: Any, official: Official) -> list[dict[str, Any]]:
    """Ours against the official code at batch 1, and at its best batch."""
    work, features = WORK[name]
    setting = Setting(features=features, images=args.images)
    our_batch, our_work = _our_best(work, setting, args)

    def ask(batch: int, threads: int) -> Callable[[], float]:
        request = setting._replace(batch=batch)._asdict()
        return lambda: official.seconds(work, units=args.episodes, threads=threads, **request)

    rows = []
    for against, batches in (("batch1", (1,)), ("best", args.batches)):
        asked = {(b, t): ask(b, t) for b in batches for t in timing.THREADS}
        batch, threads = best = min(asked, key=lambda choice: asked[choice]())
        row = timing.compare(
            f"{name}_vs_{against}",
            args.episodes,
            "episodes",
            lambda: timing.seconds(our_work),
            asked[best],
            args.rounds,
            our_batch=our_batch,
            official_batch=batch,
            official_threads=threads,
        )
        rows.append(row)
        print(f"{row['work']}: {row['ratio']:.1f}", flush=True)
    return rows


def _our_best(work: str, setting: Setting, args: Any) -> tuple[int, timing.Work]:
    """The batch at which ours is fastest, and the work at that batch."""
    table = ours.table(setting)
    works = {
        batch: ours.WORK[work](ours.config_of(setting._replace(batch=batch)), table, args.episodes)
        for batch in args.batches
    }
    batch = min(works, key=lambda batch: timing.fastest(works[batch], 2))
    return batch, works[batch]


if __name__ == "__main__":
    main(sys.argv[1:])
