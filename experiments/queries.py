"""What the number of queries is worth: 1 to 150 of a task in all, for SIB and its untrained peers.

python -m sib_jax.main --config=experiments/queries.py:mini_imagenet --data_dir=DIR

5-way, 1-shot and 5-shot. SIB is meta-trained once for each number of shots, on 75 queries.
"""

from typing import Any

import ml_collections

from sib_jax.config import default

QUERIES = (1, 5, 15, 40, 75, 150)
METHODS: dict[str, dict[str, Any]] = {
    "sib_T0": {"inner.steps": 0},
    "sib_T3": {"inner.steps": 3},
    # These are not trained.
    "simple_shot": {"method": "simple_shot"},
    "soft_kmeans": {"method": "soft_kmeans"},
    "sinkhorn_kmeans": {"method": "sinkhorn_kmeans"},
    "tim": {"method": "tim"},
    "pt_map": {"method": "pt_map"},
    "gaussian_em": {"method": "gaussian_em"},
}


def get_config(dataset: str = "mini_imagenet") -> ml_collections.ConfigDict:
    """A head for each number of shots, method and number of queries."""
    config = default(dataset)
    config.eval.val_tasks, config.eval.test_tasks = 500, 2000
    config.optimizer.total_queries = 75
    config.heads = tuple(
        (f"{name}_5w{shots}s_{n}q", {"shots": shots, "total_queries": n, **fields})
        for shots in (1, 5)
        for name, fields in METHODS.items()
        for n in QUERIES
    )
    return config
