"""Systems with a network of their own, trained from images: nothing is pretrained.

python -m sib_jax.main --config=experiments/images.py
python -m sib_jax.main --config=experiments/images.py:mini_imagenet --data_dir=DIR

5-way, 1-shot and 5-shot, on the same tasks as experiments/comparison.py; prototypical networks also
learn from 20-way episodes, as their paper advises. They normalise by the statistics of the images
at hand, and so answer the queries of an episode together. MAML, its first-order form and the
meta-learner LSTM have 32 filters, the others those of Conv4-64.
"""

from typing import Any

import ml_collections

from sib_jax.config import default

METHODS: dict[str, dict[str, Any]] = {
    "maml": {"method": "maml"},
    "maml_first_order": {"method": "maml", "maml.order": 1},
    "anil": {"method": "anil", "anil.end_to_end": True},
    "meta_lstm": {"method": "meta_lstm", "meta_lstm.learner": "conv"},
    "matching": {"method": "matching", "matching.end_to_end": True},
    "prototypical": {"method": "prototypical", "prototypical.end_to_end": True},
    "prototypical_20_ways": {
        "method": "prototypical",
        "prototypical.end_to_end": True,
        "optimizer.ways": 20,
    },
    "snail": {"method": "snail", "snail.end_to_end": True},
}


def get_config(dataset: str = "glyphs") -> ml_collections.ConfigDict:
    """A head for each method and number of shots."""
    config = default(dataset)
    config.optimizer.batch = 4
    config.eval.batch = 10  # images take more memory than features
    config.heads = tuple(
        (f"{name}_5w{shots}s", {"shots": shots, **fields})
        for shots in (1, 5)
        for name, fields in METHODS.items()
    )
    return config
