"""The official recipe, 5-way 1-shot: point mass, no KL term, SGD-Nesterov, one episode a step.

python -m sib_jax.main --config=experiments/official_5w1s.py

Source: github.com/hushell/sib_meta_learn, config/miniImageNet_1shot.yaml and algorithm.py.
"""

import ml_collections

from sib_jax.config import OFFICIAL, default


def get_config(dataset: str = "glyphs") -> ml_collections.ConfigDict:
    """50,000 steps, validated every 1,000, whatever the data set."""
    config = default(dataset)
    config.update_from_flattened_dict({**OFFICIAL, "ways": 5, "shots": 1})
    config.heads = (("T0", {"inner.steps": 0}), ("adapted", {}))
    return config
