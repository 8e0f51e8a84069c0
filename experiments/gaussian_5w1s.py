"""5-way 1-shot with a Gaussian posterior and a learned Gaussian prior, as in the paper.

python -m sib_jax.main --config=experiments/gaussian_5w1s.py

The closed-form KL term counts in the inner loop and in the loss, with a weight of 1e-4 (the paper's
bound has 1: --config.elbo.beta=1). results/formulation.md compares it with a point mass.
"""

import ml_collections

from sib_jax.config import default


def get_config(dataset: str = "glyphs") -> ml_collections.ConfigDict:
    """The fields in which it differs from experiments/5w1s.py."""
    config = default(dataset)
    config.ways = 5
    config.shots = 1
    config.posterior = "gaussian"
    config.prior = "gaussian"
    config.elbo.beta = 1e-4
    config.heads = (("T0", {"inner.steps": 0}), ("adapted", {}))
    return config
