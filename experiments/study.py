"""Which parts of the Bayesian formulation pay: variants of T = 3, on validation tasks only.

python -m sib_jax.main --config=experiments/study.py:mini_imagenet --data_dir=DIR

Every head starts from the first one and changes the fields shown; all share one backbone and a
short schedule of 40,000 episodes. results/formulation.md has the results.
"""

import ml_collections

from sib_jax.config import default

POINT = {"posterior": "point", "prior": "none"}
POINT_WITH_PRIOR = {"posterior": "point", "prior": "gaussian"}
GAUSSIAN = {"posterior": "gaussian", "prior": "gaussian"}
LWOF = {
    "setting": "lwof",
    "prior": "mixture",
    "posterior": "point",
    "learn_prior": True,
    "base_summary": "logsumexp",
}
FIXED = {**LWOF, "learn_prior": False, "elbo.beta": 0.0}


def get_config(dataset: str = "glyphs") -> ml_collections.ConfigDict:
    """A point mass without prior, then one change at a time."""
    config = default(dataset)
    config.base_holdout = 1 / 6
    config.inner.steps = 3
    config.elbo.beta = 1e-3
    config.optimizer.epochs = 10
    config.optimizer.steps_per_epoch = 500
    config.optimizer.drop_epochs = (5, 8)
    config.eval.splits = ("val",)
    config.heads = (
        # The posterior, and the weight of the KL term.
        ("point", POINT),
        ("point-beta1e-3", {**POINT_WITH_PRIOR, "elbo.beta": 1e-3}),
        ("gaussian-beta1e-4", {**GAUSSIAN, "elbo.beta": 1e-4}),
        ("gaussian-beta1e-3", {**GAUSSIAN, "elbo.beta": 1e-3}),
        ("gaussian-beta1e-2", {**GAUSSIAN, "elbo.beta": 1e-2}),
        ("gaussian-beta1", {**GAUSSIAN, "elbo.beta": 1.0}),
        # The prior.
        ("gaussian-fixed_prior", {**GAUSSIAN, "learn_prior": False}),
        # Samples, and the scale that the posterior starts with.
        ("gaussian-samples5", {**GAUSSIAN, "inner.samples": 5}),
        ("gaussian-std0.001", {**GAUSSIAN, "initial_std": 0.001}),
        # The step size eta.
        ("point-eta1e-2", {**POINT, "inner.step_size": 1e-2}),
        ("point-eta1e-1", {**POINT, "inner.step_size": 1e-1}),
        ("gaussian-eta1e-2", {**GAUSSIAN, "inner.step_size": 1e-2}),
        # 5-shot.
        ("point-5shot", {**POINT, "shots": 5}),
        ("point-5shot-eta1e-2", {**POINT, "shots": 5, "inner.step_size": 1e-2}),
        ("gaussian-5shot", {**GAUSSIAN, "shots": 5}),
        # Learning without forgetting: what xi sees of the base classes, the KL term, and whether
        # the base classes' weights are learned further.
        ("lwof-none", {**LWOF, "base_summary": "none"}),
        ("lwof-max", {**LWOF, "base_summary": "max"}),
        ("lwof-logsumexp", LWOF),
        ("lwof-no_kl", {**LWOF, "elbo.beta": 0.0}),
        ("lwof-fixed-none", {**FIXED, "base_summary": "none"}),
        ("lwof-fixed-max", {**FIXED, "base_summary": "max"}),
        ("lwof-fixed-logsumexp", FIXED),
        ("lwof-fixed-none-kl", {**FIXED, "base_summary": "none", "elbo.beta": 1e-3}),
    )
    return config
