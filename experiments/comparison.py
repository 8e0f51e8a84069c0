"""Every method on one backbone and the same tasks: SIB, the paper's other systems, and the peers.

python -m sib_jax.main --config=experiments/comparison.py
python -m sib_jax.main --config=experiments/comparison.py:mini_imagenet --data_dir=DIR
python -m sib_jax.main --config=experiments/comparison.py:features --data_dir=FILE.npz

5-way, 1-shot and 5-shot. Those that learn are meta-trained on frozen features under SIB's schedule;
the weight generators and SIB beside base classes learn without forgetting, and their Novel accuracy
is that of the standard setting. Systems with a network of their own are in experiments/images.py.
"""

from typing import Any

import ml_collections

from sib_jax.config import BASE_HOLDOUT, CENTRED_BY_BASE, WITHOUT_FORGETTING, default

GENERATOR = {"method": "weight_generator", "setting": "lwof"}
METHODS: dict[str, dict[str, Any]] = {
    "sib_T0": {"inner.steps": 0},
    "sib_T3": {"inner.steps": 3},
    "sib_T5": {"inner.steps": 5},
    "matching": {"method": "matching"},
    "matching_full_context": {"method": "matching", "matching.full_context": True},
    "prototypical": {"method": "prototypical"},
    "anil": {"method": "anil"},
    "meta_lstm_linear": {"method": "meta_lstm"},
    "meta_lstm_cosine": {"method": "meta_lstm", "meta_lstm.learner": "cosine"},
    "snail": {"method": "snail"},
    "average_lwof": GENERATOR,
    "attention_lwof": {**GENERATOR, "weight_generator.generator": "attention"},
    "sib_T3_lwof": {"inner.steps": 3, **WITHOUT_FORGETTING},
    # These are not trained.
    "simple_shot": {"method": "simple_shot"},
    "soft_kmeans": {"method": "soft_kmeans"},
    "sinkhorn_kmeans": {"method": "sinkhorn_kmeans"},
    "bd_cspn": {"method": "bd_cspn"},
    "laplacian_shot": {"method": "laplacian_shot"},
    **CENTRED_BY_BASE,
    "tim_adm": {"method": "tim"},
    "tim_gradient": {"method": "tim", "tim.variant": "gradient"},
    "alpha_tim": {"method": "alpha_tim"},
    "pt_map": {"method": "pt_map"},
    "gaussian_em": {"method": "gaussian_em"},
}


def get_config(dataset: str = "glyphs") -> ml_collections.ConfigDict:
    """A head for each method and number of shots."""
    config = default(dataset)
    config.base_holdout = BASE_HOLDOUT
    config.heads = tuple(
        (f"{name}_5w{shots}s", {"shots": shots, **fields})
        for shots in (1, 5)
        for name, fields in METHODS.items()
    )
    return config
