"""Empirical Bayes Meta-Learning with Synthetic Gradients (SIB), in JAX.

Pure functions over pytrees, each for one episode: compose them with jax.vmap, jax.jit, jax.grad.
"""

import importlib
from typing import TYPE_CHECKING, Any

from sib_jax.runtime import at_start as _at_start  # noqa: F401  the first, see there
from sib_jax.sib.distributions import Gaussian, Mixture, PointMass
from sib_jax.sib.elbo import Aux, elbo, negative_elbo
from sib_jax.sib.inner_loop import adapt
from sib_jax.sib.params import Params, init, initial_posterior, logits
from sib_jax.tasks.episode import Episode
from sib_jax.tasks.standard import sample
from sib_jax.tasks.table import FeatureTable, feature_table

if TYPE_CHECKING:
    from sib_jax.experiment.from_python import run
    from sib_jax.experiment.loading import load

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
    "load",
    "logits",
    "negative_elbo",
    "run",
    "sample",
]


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def __getattr__(name: str) -> Any:
    """`load`, `run` and `config` when they are asked for: they take longer to import."""
    if name == "config":
        return importlib.import_module("sib_jax.config")
    if name == "load":
        from sib_jax.experiment.loading import load

        return load
    if name == "run":
        from sib_jax.experiment.from_python import run

        return run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
