"""One head of SIB+ for tasks of many sizes.

python -m sib_jax.main --config=experiments/any_task.py:mini_imagenet --data_dir=DIR

Meta-trained on tasks of 1 to 75 queries, with shares of the classes drawn from Dirichlet(2), and of
1, 3 or 10 examples a class on average, some classes having more than others. Most tasks are 5-way,
some have 2, 10 or 20 classes, so training needs 20 classes, and 156 images of every class of the
data. On data sets other than mini-ImageNet and CIFAR-FS tasks are smaller, and 41 images suffice.
Evaluated beside soft k-means, which learns nothing, on tasks of `config.ways` classes;
results/queries.md has the others. `sib_jax.predict` uses what this gave for a shipped backbone.
"""

import ml_collections

from sib_jax.config import default

LARGE = (  # ways, shots, queries in all
    *((5, shots, queries) for shots in (1, 3, 10) for queries in (75, 25, 5, 1)),
    *((ways, *size) for ways in (2, 10, 20) for size in ((1, 75), (3, 15), (5, 75))),
)
SMALL = (
    *((5, shots, queries) for shots in (1, 2, 4) for queries in (25, 10, 3, 1)),
    *((ways, *size) for ways in (2, 10, 20) for size in ((1, 25), (1, 10), (2, 5))),
)


def get_config(dataset: str = "mini_imagenet") -> ml_collections.ConfigDict:
    """SIB+ and soft k-means at 3 examples a class on average."""
    config = default(dataset)
    sizes = LARGE if dataset in ("mini_imagenet", "cifar_fs") else SMALL
    config.shots, config.support_classes = 3, "uneven"
    config.total_queries, config.query_classes = 75 if sizes is LARGE else 25, "dirichlet:2"
    config.optimizer.sizes_in_turn = sizes
    config.optimizer.epochs, config.optimizer.steps_per_epoch = 15, 600
    config.optimizer.drop_epochs = (8, 12)
    config.sib_plus.steps = 5
    config.eval.test_tasks = 2000
    config.heads = (
        ("sib_plus", {"method": "sib_plus"}),
        ("soft_kmeans", {"method": "soft_kmeans"}),
    )
    return config
