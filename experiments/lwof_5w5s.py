"""5-way 5-shot without forgetting the training classes: the lower blocks of Tables 1 and 2.

python -m sib_jax.main --config=experiments/lwof_5w5s.py
python -m sib_jax.main --config=experiments/lwof_5w5s.py:folder --data_dir=DIR
"""

import ml_collections

from sib_jax.config import default


def get_config(dataset: str = "glyphs") -> ml_collections.ConfigDict:
    """Every field at its default for `dataset`; theta^0 on its own beside T steps."""
    config = default(dataset, "lwof")
    config.ways = 5
    config.shots = 5
    config.heads = (("T0", {"inner.steps": 0}), ("adapted", {}))
    return config
