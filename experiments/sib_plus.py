r"""SIB+ beside SIB and the two untrained rivals that it has to beat: does meta-training pay?

python -m sib_jax.main --config=experiments/sib_plus.py:mini_imagenet --data_dir=DIR \
  --config.backbone_file=conv4_128

SIB+ (`sib_jax/methods/sib_plus.py`) begins as soft k-means, or as balanced k-means with balanced
assignments, and learns from there.
"""

from typing import Any

import ml_collections

from sib_jax.config import BASE_HOLDOUT, default

METHODS: dict[str, dict[str, Any]] = {
    "soft_kmeans": {"method": "soft_kmeans"},
    "sinkhorn_kmeans": {"method": "sinkhorn_kmeans"},
    "sib_T5": {"inner.steps": 5},
    "sib_plus": {"method": "sib_plus"},
    "sib_plus_balanced": {"method": "sib_plus", "sib_plus.iterations": 20},
}


def get_config(dataset: str = "glyphs") -> ml_collections.ConfigDict:
    """1-shot and 5-shot, all on the same tasks."""
    config = default(dataset)
    config.base_holdout = BASE_HOLDOUT
    config.heads = tuple(
        (f"{name}_5w{shots}s", {"shots": shots, **fields})
        for shots in (1, 5)
        for name, fields in METHODS.items()
    )
    return config
