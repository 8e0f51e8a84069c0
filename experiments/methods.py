r"""SIB beside the systems of the paper's tables that learn on frozen features; 5-way 1-shot.

python -m sib_jax.main --config=experiments/methods.py
python -m sib_jax.main --config=experiments/methods.py:mini_imagenet --data_dir=DIR \
  --config.backbone_file=weights/mini_imagenet-conv4_64.npz

All on one backbone and the same tasks. The weight generators learn without forgetting: their Novel
accuracy is that of the standard setting.
"""

import ml_collections

from sib_jax.config import BASE_HOLDOUT, WITHOUT_FORGETTING, default, steps

GENERATOR = {"method": "weight_generator", "setting": "lwof"}


def get_config(dataset: str = "glyphs") -> ml_collections.ConfigDict:
    """SIB at several T, in both settings, and the other systems."""
    config = default(dataset)
    config.base_holdout = BASE_HOLDOUT
    config.heads = (
        *steps(0, 1, 3, 5),
        ("prototypical", {"method": "prototypical"}),
        ("matching", {"method": "matching"}),
        *((f"lwof_{name}", {**fields, **WITHOUT_FORGETTING}) for name, fields in steps(0, 3)),
        ("average", GENERATOR),
        ("attention", {**GENERATOR, "weight_generator.generator": "attention"}),
    )
    return config
