"""Empirical Bayes Meta-Learning with Synthetic Gradients (SIB), in JAX.

Pure functions over pytrees, each for one episode: compose them with jax.vmap, jax.jit, jax.grad.
"""

from sib_jax.elbo import Aux, elbo, negative_elbo
from sib_jax.episodes import Episode, FeatureTable, feature_table, sample
from sib_jax.gaussian import Gaussian, Mixture
from sib_jax.inner_loop import adapt
from sib_jax.model import Params, init, initial_posterior, logits

__version__ = "0.1.0"

__all__ = [
    "Aux",
    "Episode",
    "FeatureTable",
    "Gaussian",
    "Mixture",
    "Params",
    "adapt",
    "elbo",
    "feature_table",
    "init",
    "initial_posterior",
    "logits",
    "negative_elbo",
    "sample",
]
