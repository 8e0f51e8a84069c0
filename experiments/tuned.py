"""Untrained methods with settings that validation chose.

python -m sib_jax.main --config=experiments/tuned.py:mini_imagenet --data_dir=DIR

5-way, 1-shot and 5-shot, 75 queries in shares from Dirichlet(2), or as many of each class with
--config.query_classes=balanced. Each of a method's settings is a head; the one with the best
validation accuracy counts for the method on test, beside SIB+ of experiments/unbalanced.py or
experiments/sib_plus.py, whose T was chosen in the same way. alpha-TIM takes a tenth of its steps,
which are ten times as long: at its own 1,000 it would take an hour.
"""

import itertools
from typing import Any

import ml_collections

from sib_jax.config import default

GRIDS: dict[str, dict[str, tuple[Any, ...]]] = {
    "simple_shot": {"normalization": ("L2N", "CL2N"), "centre": ("episode", "base")},
    "soft_kmeans": {"scale": (5.0, 10.0, 20.0, 40.0, 80.0), "steps": (2, 10)},
    "sinkhorn_kmeans": {"scale": (5.0, 10.0, 20.0, 40.0), "steps": (10, 30)},
    "bd_cspn": {"form": ("code", "paper"), "centre": ("episode", "base")},
    "laplacian_shot": {"weight": (0.1, 0.3, 0.7, 1.5), "centre": ("episode", "base")},
    "tim": {"marginal_weight": (0.0, 0.1, 0.3, 1.0, 3.0)},
    "alpha_tim": {
        "steps": (100,),
        "step_size": (1e-3,),
        "scale": (5.0, 15.0, 50.0, 150.0),
        "alpha": (2.0, 5.0),
    },
    "pt_map": {"power": (0.5, 1.0)},
    "gaussian_em": {
        "scale": (10.0, 20.0),
        "prior": (0.5, 1.0, 2.0),
        "support_weight": (0.002, 0.05),
    },
}


def settings(method: str) -> list[dict[str, Any]]:
    """All combinations of a method's grid that can work."""
    grid = GRIDS[method]
    found = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    if method == "simple_shot":  # L2N subtracts no mean
        found.remove({"normalization": "L2N", "centre": "base"})
    return found


def get_config(dataset: str = "mini_imagenet") -> ml_collections.ConfigDict:
    """A head for each number of shots, method and setting, named by the setting."""
    config = default(dataset)
    config.eval.val_tasks, config.eval.test_tasks = 500, 2000
    config.query_classes = "dirichlet:2"
    config.heads = tuple(
        (
            "_".join([f"{method}_5w{shots}s", *(f"{k}={v}" for k, v in chosen.items())]),
            {"shots": shots, "method": method, **{f"{method}.{k}": v for k, v in chosen.items()}},
        )
        for shots in (1, 5)
        for method in GRIDS
        for chosen in settings(method)
    )
    return config
