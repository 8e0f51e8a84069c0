"""The official recipe, 5-way 5-shot: point mass, no KL term, SGD-Nesterov, one episode a step.

python -m sib_jax.main --config=experiments/official_5w5s.py

Source: github.com/hushell/sib_meta_learn, config/miniImageNet_5shot.yaml and algorithm.py.
"""

import ml_collections

from sib_jax.config import default


def get_config(dataset: str = "glyphs") -> ml_collections.ConfigDict:
    """50,000 steps, validated every 1,000, whatever the data set."""
    config = default(dataset)
    config.backbone = "conv4_64"
    config.ways = 5
    config.shots = 5
    config.final_relu = True
    config.posterior = "point"
    config.prior = "none"
    config.elbo.beta = 0.0
    config.inner.steps = 3
    config.inner.step_size = 1e-3
    config.optimizer.name = "sgd"
    config.optimizer.lr = 1e-3
    config.optimizer.momentum = 0.9
    config.optimizer.weight_decay = 5e-4
    config.optimizer.batch = 1
    config.optimizer.epochs = 50
    config.optimizer.steps_per_epoch = 1000
    config.optimizer.drop_epochs = ()
    config.optimizer.val_tasks = 1000
    config.heads = (("T0", {"inner.steps": 0}), ("adapted", {}))
    return config
