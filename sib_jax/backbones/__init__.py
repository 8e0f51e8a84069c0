"""Backbones f: images -> features."""

from sib_jax.backbones.backbone import Backbone, Variables
from sib_jax.backbones.by_name import make
from sib_jax.backbones.own import BackboneError, register

__all__ = ["Backbone", "BackboneError", "Variables", "make", "register"]
