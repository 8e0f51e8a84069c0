"""How unequal may classes be? SIB and its peers under ever less equal shares of the queries.

python -m sib_jax.main --config=experiments/shares.py:mini_imagenet --data_dir=DIR

5-way, 1-shot and 5-shot, 75 queries: as many of each class, in shares from Dirichlet distributions
of alpha from 5 to 0.5, and with one class missing. What learns does so once for all of these, as in
experiments/unbalanced.py: from balanced episodes (`sib`), or from Dirichlet(2).
"""

from typing import Any

import ml_collections

from sib_jax.config import default

QUERIES = {
    "balanced": "balanced",
    "dirichlet_5": "dirichlet:5",
    "dirichlet_2": "dirichlet:2",
    "dirichlet_1": "dirichlet:1",
    "dirichlet_half": "dirichlet:0.5",
    "missing": "missing",
}
METHODS: dict[str, dict[str, Any]] = {
    "sib": {"optimizer.query_classes": "balanced"},
    "sib_unbalanced": {"optimizer.query_classes": "dirichlet:2"},
    "sib_plus_unbalanced": {
        "method": "sib_plus",
        "sib_plus.steps": 5,
        "optimizer.query_classes": "dirichlet:2",
    },
    # These are not trained.
    "simple_shot": {"method": "simple_shot"},
    "soft_kmeans": {"method": "soft_kmeans"},
    "sinkhorn_kmeans": {"method": "sinkhorn_kmeans"},
    "gaussian_em": {"method": "gaussian_em"},
}


def get_config(dataset: str = "mini_imagenet") -> ml_collections.ConfigDict:
    """A head for each number of shots, method and kind of tasks."""
    config = default(dataset)
    config.eval.val_tasks, config.eval.test_tasks = 500, 2000
    config.optimizer.epochs, config.optimizer.steps_per_epoch = 10, 500
    config.optimizer.drop_epochs = (5, 8)
    config.heads = tuple(
        (f"{name}_5w{shots}s_{kind}", {"shots": shots, "query_classes": queries, **fields})
        for shots in (1, 5)
        for name, fields in METHODS.items()
        for kind, queries in QUERIES.items()
    )
    return config
