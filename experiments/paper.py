"""Both settings, 5-shot and 1-shot, T = 0, 1, 3 and 5: all rows of the paper's Tables 1 and 2.

python -m sib_jax.main --config=experiments/paper.py:mini_imagenet --data_dir=DIR --workdir=runs/paper

One backbone, trained on five sixths of each training class's images, serves both settings; the last
sixth are the base queries. A backbone that you have goes in with --config.backbone_file=FILE.
"""

import ml_collections

from sib_jax.config import default


def get_config(dataset: str = "glyphs") -> ml_collections.ConfigDict:
    """Four runs that share every other field."""
    config = default(dataset)
    config.runs = ("standard_5w5s", "standard_5w1s", "lwof_5w5s", "lwof_5w1s")
    config.base_holdout = 1 / 6
    config.inner.steps = 5
    config.compare_steps = (0, 1, 3)
    return config
