"""Empirical Bayes Meta-Learning with Synthetic Gradients (SIB), in JAX.

Pure functions over pytrees, each for one episode: compose them with jax.vmap, jax.jit, jax.grad.
"""

from sib_jax.sib.distributions import Gaussian, Mixture, PointMass
from sib_jax.sib.elbo import Aux, elbo, negative_elbo
from sib_jax.sib.inner_loop import adapt
from sib_jax.sib.params import Params, init, initial_posterior, logits
from sib_jax.tasks.episode import Episode
from sib_jax.tasks.standard import sample
from sib_jax.tasks.table import FeatureTable, feature_table

__version__ = "0.1.0"

__all__ = [
    "Aux",
    "Episode",
    "FeatureTable",
    "Gaussian",
    "Mixture",
    "Params",
    "PointMass",
    "adapt",
    "elbo",
    "feature_table",
    "init",
    "initial_posterior",
    "logits",
    "negative_elbo",
    "sample",
]
