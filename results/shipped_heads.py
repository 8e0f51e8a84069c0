"""What the head of a shipped backbone reaches on tasks of many sizes, beside untrained methods.

python results/shipped_heads.py mini_imagenet --data_dir=DIR

All methods get the same tasks of test classes, with shares of the queries from Dirichlet(2). Writes
shipped_head_<data set>.json to the folder of this file.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import jax

import sib_jax
from sib_jax.config import default
from sib_jax.data.load import load
from sib_jax.experiment import inputs
from sib_jax.experiment.evaluate import STREAMS, evaluate
from sib_jax.runtime.seeds import key
from sib_jax.tasks.setting import Task, make

BACKBONES = {"mini_imagenet": "mini_imagenet-conv4_128"}  # those that have a head, by data set
METHODS = ("sib_plus", "soft_kmeans", "simple_shot")
SIZES = (  # ways, shots, queries in all
    *((5, shots, queries) for shots in (1, 5, 20) for queries in (1, 5, 15, 75, 300)),
    *((ways, shots, 75) for ways in (2, 10, 20) for shots in (1, 5)),
)


def main() -> None:
    """Evaluates the methods and writes the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", choices=BACKBONES, help="whose shipped head")
    parser.add_argument("--data_dir", required=True, help="where the data set is")
    parser.add_argument("--split", default="test", choices=("val", "test"), help="its classes")
    parser.add_argument("--tasks", type=int, default=600, help="to average over")
    options = parser.parse_args()
    backbone = BACKBONES[options.dataset]
    predictors = [sib_jax.load(backbone=backbone, method=method) for method in METHODS]
    first = predictors[0]
    config = default(options.dataset)
    data = load(
        options.dataset,
        options.data_dir,
        image_size=first.image_size,
        ratios=tuple(config.split_ratios),
        seed=0,
    )
    sources = inputs.of_features(data, first.pretrained, 0.0, lambda: None).evaluation
    rows: list[dict[str, Any]] = []
    for ways, shots, queries in SIZES:
        task = Task(ways, shots, 15, "dirichlet:2", total_queries=queries)
        if ways > sources[options.split].novel.classes:
            continue
        row: dict[str, Any] = {"ways": ways, "shots": shots, "queries": queries}
        for predictor in predictors:
            found = evaluate(
                predictor.head.make(ways),
                predictor.head.params,
                make("standard", task),
                sources[options.split],
                tasks=options.tasks,
                key=key(0, STREAMS[options.split]),
            )["novel"]
            row[predictor.head.name] = {"mean": found.mean, "ci95": found.ci95}
        jax.clear_caches()  # the next size needs other programs
        rows.append(row | {"split": options.split, "tasks": options.tasks, "backbone": backbone})
        print(
            f"{ways:2}-way {shots:2}-shot, {queries:3} queries: ",
            *(f"{row[m]['mean']:6.2f} ± {row[m]['ci95']:.2f} {m}" for m in METHODS),
            flush=True,
        )
    if options.split == "test":
        path = Path(__file__).with_name(f"shipped_head_{options.dataset}.json")
        path.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
