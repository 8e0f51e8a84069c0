"""Tasks a second of every untrained method, beside easyfsl and the authors' code.

python benchmarks/methods.py [--python=PYTHON] [--realistic=DIR] [--json=FILE]

5-way 1-shot, 15 queries, on the same random clusters of features, d = 640. PYTHON must have torch
and easyfsl (PyPI). DIR is a checkout of github.com/oveilleux/Realistic_Transductive_Few_Shot, the
code of alpha-TIM's authors, which also runs other methods in batches. Ours is the evaluation that
every run uses, at the best batch of a scan. easyfsl takes one task at a time. The authors' code is
at its best batch. Drawing the tasks is included in the time; compiling and warm-up are not.
Iterative methods take the same number of steps in each code.

python benchmarks/methods.py --whole=10000

Only ours, on that many tasks of each method: the seconds that all of them take, with compiling.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import jax
import numpy as np
import ours
import timing

from sib_jax.config import default
from sib_jax.experiment import settings
from sib_jax.experiment.evaluate import evaluate
from sib_jax.runtime import devices
from sib_jax.tasks.setting import Sources
from sib_jax.tasks.table import FeatureTable, feature_table

CLASSES, IMAGES = 20, 600


class Compared(NamedTuple):
    """A method of ours, and its counterparts elsewhere: module, class and options."""

    fields: dict[str, Any]
    easyfsl: tuple[str, str, dict[str, Any]] | None = None
    realistic: tuple[str, str, dict[str, Any]] | None = None


_TIM = {"temp": 15, "iter": 1000, "loss_weights": [1.0, 1.0, 1.0]}
_ALPHA = {"lr_alpha_tim": 1e-4, "entropies": ["Shannon", "Alpha", "Alpha"]}
_ALPHA |= {"alpha_values": [2.0] * 3, "use_tuned_alpha_values": False}
_LAPLACIAN = {"knn": 3, "proto_rect": True, "iter": 20, "use_tuned_lmd": False, "lmd": [0.7]}
# Its own weight of 10 underflows with features of this size, and answers are then at chance.
_PT_MAP = {"fine_tuning_steps": 20, "lambda_regularization": 1.0}

METHODS = {
    "simple_shot": Compared(
        {}, ("simple_shot", "SimpleShot", {}), ("simpleshot", "SimpleShot", {})
    ),
    "soft_kmeans": Compared({}),
    "sinkhorn_kmeans": Compared({}),
    "bd_cspn": Compared({}, ("bd_cspn", "BDCSPN", {}), ("bdcspn", "BDCSPN", {})),
    "laplacian_shot": Compared(
        {}, ("laplacian_shot", "LaplacianShot", {}), ("laplacianshot", "LaplacianShot", _LAPLACIAN)
    ),
    "tim_adm": Compared({"method": "tim"}),
    "tim_gradient": Compared(
        {"method": "tim", "tim.variant": "gradient"}, ("tim", "TIM", {"fine_tuning_steps": 1000})
    ),
    "alpha_tim": Compared({}, None, ("tim", "ALPHA_TIM", {**_TIM, **_ALPHA})),
    "pt_map": Compared({}, ("pt_map", "PTMAP", _PT_MAP)),
    "gaussian_em": Compared({}),
}


class Peers(timing.Official):
    """The others' code in a process of its own, which sleeps while ours is measured."""

    def __init__(self, python: str):
        """Starts it."""
        self._start(python, "peers_worker.py")

    def __enter__(self) -> Self:
        return self


def main(argv: Sequence[str]) -> None:
    """Measures each method beside the others' versions of it, in alternating rounds."""
    flags = timing.parser(__doc__)
    flags.add_argument("--python", help="a Python that has torch, which runs the code of others")
    flags.add_argument("--realistic", help="a checkout of Realistic_Transductive_Few_Shot")
    flags.add_argument("--methods", default=",".join(METHODS))
    flags.add_argument("--features", type=int, default=640)
    flags.add_argument(
        "--rounds", type=int, default=5, help="alternating rounds; medians are shown"
    )
    flags.add_argument("--seconds", type=float, default=1.0, help="of one measurement, roughly")
    flags.add_argument("--batches", type=timing.numbers, default=(10, 50, 200))
    flags.add_argument("--whole", type=int, help="only ours, on that many tasks of each method")
    args = flags.parse_args(argv)
    features = clusters(args.features)
    table = feature_table(features.reshape(-1, args.features), np.repeat(range(CLASSES), IMAGES))
    if args.whole:
        rows, about = _whole(table, args)
    else:
        rows, about = _compared(features, table, args)
    timing.report(rows, about, args.json)


def clusters(features: int) -> np.ndarray:
    """Features [CLASSES, IMAGES, d] like those of a backbone that ends in a ReLU."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((CLASSES, 1, features), np.float32)
    return np.maximum(
        centres + 3 * random.standard_normal((CLASSES, IMAGES, features), np.float32), 0
    )


def _whole(table: FeatureTable, args: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    about = timing.describe()
    for name in args.methods.split(","):
        begun = time.perf_counter()
        accuracy = _work(name, table, args.whole, 50)()
        took = time.perf_counter() - begun
        rows.append({"work": name, "tasks": args.whole, "seconds": took, "accuracy": accuracy})
        print(f"{name}: {took:.1f} s", flush=True)
        timing.write(rows, about, args.json)
    rows.append({"work": "all", "seconds": sum(row["seconds"] for row in rows)})
    return rows, about


def _compared(
    features: np.ndarray, table: FeatureTable, args: Any
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, Peers(args.python or sys.executable) as peers:
        path = str(Path(folder, "features.npy"))
        np.save(path, features)
        about = timing.describe(peers if args.python else None)
        for name in args.methods.split(","):
            batch, tasks = _our_best(name, table, args)
            work = _work(name, table, tasks, batch)
            work()
            for of, asked in _requests(METHODS[name], args):
                row = _row(f"{name} vs {of}", work, tasks, peers, {**asked, "features": path}, args)
                rows.append({**row, "our_batch": batch, "our_accuracy": work()})
            if not _requests(METHODS[name], args):
                took = timing.fastest(work, args.rounds)
                rows.append({"work": name, "unit": "tasks/s", "ours": tasks / took})
                rows[-1] |= {"our_batch": batch, "our_accuracy": work()}
            print(rows[-1]["work"], f"{rows[-1].get('ratio', 0):.1f}", flush=True)
            timing.write(rows, about, args.json)
    return rows, about


def _requests(compared: Compared, args: Any) -> list[tuple[str, dict[str, Any]]]:
    """The requests to the code of others for a method."""
    given = {"easyfsl": args.python, "realistic": args.python and args.realistic}
    fixed = {"easyfsl": {"batch": 1}, "realistic": {"checkout": args.realistic}}
    found = []
    for of, there in given.items():
        if there and (known := getattr(compared, of)):
            request = dict(zip(("module", "name", "options"), known, strict=True))
            found.append((of, {"of": of, **request, **fixed[of]}))
    return found


def _row(
    work: str, our: timing.Work, tasks: int, peers: Peers, request: dict[str, Any], args: Any
) -> dict[str, Any]:
    """The ratio of tasks a second; theirs has its best batch and number of threads."""
    fixed = request.pop("batch", None)
    best: tuple[float, dict[str, Any]] | None = None
    for batch in (fixed,) if fixed else args.batches:
        for threads in timing.THREADS:
            asked = {**request, "shots": 1, "batch": batch, "threads": threads}
            each = peers.seconds("run", units=batch, **asked) / batch
            if best is None or each < best[0]:
                best = each, asked
    assert best is not None
    each, asked = best
    batch = asked["batch"]
    units = batch * max(1, round(args.seconds / each / batch))
    answers: list[dict[str, Any]] = []

    def theirs() -> float:
        answers.append(peers.ask("run", units=units, **asked))
        return answers[-1]["seconds"] * tasks / units

    row = timing.compare(
        work,
        tasks,
        "tasks",
        lambda: timing.seconds(our),
        theirs,
        args.rounds,
        their_batch=batch,
        their_threads=asked["threads"],
    )
    row["theirs"] = row.pop("official")
    row["their_accuracy"] = float(np.mean([answer["accuracy"] for answer in answers]))
    return row


def _our_best(name: str, table: FeatureTable, args: Any) -> tuple[int, int]:
    """The fastest batch, and the number of tasks that then takes about `args.seconds`."""
    each = {}
    for batch in args.batches:
        each[batch] = timing.fastest(_work(name, table, batch, batch), 2) / batch
    best = min(each, key=lambda batch: each[batch])
    return best, best * max(1, round(args.seconds / each[best] / best))


def _work(name: str, table: FeatureTable, tasks: int, batch: int) -> Callable[[], float]:
    """Evaluates a method as a run does, and returns the mean accuracy in percent."""
    config = default("features")
    config.method = METHODS[name].fields.get("method", name)
    config.update_from_flattened_dict(METHODS[name].fields)
    (head,) = settings.read(config).heads
    sources = devices.to_all(Sources(table), devices.episode_mesh(batch))
    params, key = ours.init_params(head, table), jax.random.key(0)

    def run() -> float:
        found = evaluate(
            head.method, params, head.setting, sources, tasks=tasks, key=key, batch=batch
        )
        return found["novel"].mean

    return run


if __name__ == "__main__":
    main(sys.argv[1:])
