"""5-way 1-shot, standard setting: the paper's Tables 1 and 2, right half, upper block.

python -m sib_jax.main --config=experiments/5w1s.py
python -m sib_jax.main --config=experiments/5w1s.py:folder --data_dir=DIR --config.inner.steps=5
"""

import ml_collections

from sib_jax.config import default


def get_config(dataset: str = "glyphs") -> ml_collections.ConfigDict:
    """Every field at its default for `dataset`; theta^0 on its own beside T steps."""
    config = default(dataset)
    config.ways = 5
    config.shots = 1
    config.heads = (("T0", {"inner.steps": 0}), ("adapted", {}))
    return config
