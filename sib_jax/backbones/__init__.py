"""Backbones f: images -> features."""

from sib_jax.backbones.backbone import Backbone, Variables, make

__all__ = ["Backbone", "Variables", "make"]
