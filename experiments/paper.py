"""Both settings, 5-shot and 1-shot, T = 0, 1, 3 and 5: all rows of the paper's Tables 1 and 2.

python -m sib_jax.main --config=experiments/paper.py:mini_imagenet --data_dir=DIR

One backbone, trained on five sixths of the images of each training class, serves both settings; the
last sixth are the base queries. To use a backbone that you have, add --config.backbone_file=FILE.
Untrained soft and balanced k-means show beside SIB what adaptation is worth without learning it.

On 2 CPU cores (AMD EPYC) mini-ImageNet takes 5 to 9 minutes for a standard head of the paper's
480,000 episodes and 16 to 28 for one without forgetting; the backbone before that takes 2 hours,
estimated from shorter runs. RESULTS.md has the command of a shorter schedule, which is as good to
0.3 points in the standard setting; without forgetting, Both needs the long one.
"""

import ml_collections

from sib_jax.config import BASE_HOLDOUT, WITHOUT_FORGETTING, default

SETTINGS = {"standard": {}, "lwof": WITHOUT_FORGETTING}
UNTRAINED = ("soft_kmeans", "sinkhorn_kmeans")


def get_config(dataset: str = "glyphs") -> ml_collections.ConfigDict:
    """Sixteen heads of SIB on one backbone, and two rivals."""
    config = default(dataset)
    config.base_holdout = BASE_HOLDOUT
    config.heads = tuple(
        (f"{setting}_5w{shots}s_T{t}", {"shots": shots, "inner.steps": t, **fields})
        for setting, fields in SETTINGS.items()
        for shots in (5, 1)
        for t in (0, 1, 3, 5)
    ) + tuple(
        (f"{method}_5w{shots}s", {"method": method, "shots": shots})
        for method in UNTRAINED
        for shots in (5, 1)
    )
    return config
