"""SIB and its untrained peers under balanced queries, and under shares drawn from Dirichlet(2).

python -m sib_jax.main --config=experiments/unbalanced.py:mini_imagenet --data_dir=DIR

5-way, 1-shot and 5-shot, 75 queries. Every head is there twice, `..._balanced` and `..._dirichlet`,
for the two kinds of tasks it is evaluated on. SIB is meta-trained on balanced episodes (`sib`), or
on unbalanced ones (`sib_unbalanced`, and `sib_plus_unbalanced` for SIB+): on 40,000 episodes, once
for both kinds of tasks. The Gaussian posteriors have learned from balanced ones, with a KL term of
weight 1e-4 or 1e-2.
"""

from typing import Any

import ml_collections

from sib_jax.config import CENTRED_BY_BASE, default

GAUSSIAN = {
    "posterior": "gaussian",
    "prior": "gaussian",
    "optimizer.query_classes": "balanced",
}
QUERIES = {"balanced": "balanced", "dirichlet": "dirichlet:2"}
METHODS: dict[str, dict[str, Any]] = {
    "sib": {"optimizer.query_classes": "balanced"},
    "sib_unbalanced": {"optimizer.query_classes": "dirichlet:2"},
    "sib_plus_unbalanced": {
        "method": "sib_plus",
        "sib_plus.steps": 5,  # better than 10 on validation
        "optimizer.query_classes": "dirichlet:2",
    },
    "sib_gaussian": GAUSSIAN,
    "sib_gaussian_kl": {**GAUSSIAN, "elbo.beta": 1e-2},
    # These are not trained.
    "simple_shot": {"method": "simple_shot"},
    "soft_kmeans": {"method": "soft_kmeans"},
    "sinkhorn_kmeans": {"method": "sinkhorn_kmeans"},
    "bd_cspn": {"method": "bd_cspn"},
    "laplacian_shot": {"method": "laplacian_shot"},
    **CENTRED_BY_BASE,
    "tim": {"method": "tim"},
    "alpha_tim": {"method": "alpha_tim"},
    "pt_map": {"method": "pt_map"},
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
