"""One head of SIB+ for tasks of many sizes.

python -m sib_jax.main --config=experiments/any_task.py:mini_imagenet --data_dir=DIR

Meta-trained on tasks of 1 to 75 queries, the shares of the classes drawn from Dirichlet(2), and of
1, 3 or 10 examples a class on average, of which some classes have more than others. Every class of
the data needs 121 images for that; on other data sets than mini-ImageNet and CIFAR-FS tasks are
smaller, and 41 suffice. All have `config.ways` classes: the head serves any number of them, but
with twice as many it was below soft k-means (RESULTS.md). Evaluated beside that, which learns
nothing.
`sib_jax.predict` uses what this gave for a shipped backbone.
"""

import ml_collections

from sib_jax.config import default

LARGE = tuple((shots, queries) for shots in (1, 3, 10) for queries in (75, 25, 5, 1))
SMALL = tuple((shots, queries) for shots in (1, 2, 4) for queries in (25, 10, 3, 1))


def get_config(dataset: str = "mini_imagenet") -> ml_collections.ConfigDict:
    """SIB+ and soft k-means at 3 examples a class on average."""
    config = default(dataset)
    sizes = LARGE if dataset in ("mini_imagenet", "cifar_fs") else SMALL
    config.shots, config.support_classes = 3, "uneven"
    config.total_queries, config.query_classes = sizes[0][1], "dirichlet:2"
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
