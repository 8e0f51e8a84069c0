"""Both settings, 5-shot and 1-shot, T = 0, 1, 3 and 5: all rows of the paper's Tables 1 and 2.

python -m sib_jax.main --config=experiments/paper.py:mini_imagenet --data_dir=DIR

One backbone, trained on five sixths of the images of each training class, serves both settings; the
last sixth are the base queries. A backbone that you have goes in with --config.backbone_file=FILE.
"""

import ml_collections

from sib_jax.config import WITHOUT_FORGETTING, default


def get_config(dataset: str = "glyphs") -> ml_collections.ConfigDict:
    """Four runs that share every field but these."""
    config = default(dataset)
    config.base_holdout = WITHOUT_FORGETTING["base_holdout"]
    config.inner.steps = 5
    config.compare_steps = (0, 1, 3)
    config.runs = (
        ("standard_5w5s", {"shots": 5}),
        ("standard_5w1s", {"shots": 1}),
        ("lwof_5w5s", {"shots": 5, **WITHOUT_FORGETTING}),
        ("lwof_5w1s", {"shots": 1, **WITHOUT_FORGETTING}),
    )
    return config
