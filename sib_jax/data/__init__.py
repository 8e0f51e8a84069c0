"""Data sets: each module gives the same thing, a `DataSet` of three `Split`s."""

from sib_jax.data.own import register
from sib_jax.data.split import SPLITS, DataSet, Split

__all__ = ["SPLITS", "DataSet", "Split", "register"]
