"""Both settings, 5-shot and 1-shot, T = 0, 1, 3 and 5: all rows of the paper's Tables 1 and 2.

python -m sib_jax.main --config=experiments/paper.py:mini_imagenet --data_dir=DIR

One backbone, trained on five sixths of the images of each training class, serves both settings; the
last sixth are the base queries. A backbone that you have goes in with --config.backbone_file=FILE.
"""

import ml_collections

from sib_jax.config import BASE_HOLDOUT, WITHOUT_FORGETTING, default

SETTINGS = {"standard": {}, "lwof": WITHOUT_FORGETTING}


def get_config(dataset: str = "glyphs") -> ml_collections.ConfigDict:
    """Sixteen heads on one backbone."""
    config = default(dataset)
    config.base_holdout = BASE_HOLDOUT
    config.heads = tuple(
        (f"{setting}_5w{shots}s_T{t}", {"shots": shots, "inner.steps": t, **fields})
        for setting, fields in SETTINGS.items()
        for shots in (5, 1)
        for t in (0, 1, 3, 5)
    )
    return config
