"""What a job can train and evaluate: SIB, its peers, and whatever a user adds.

A method is one file with `Settings` (its hyper-parameters and their defaults) and
`make(settings, ways) -> Method`, and one line here.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from sib_jax.methods import matching, prototypical, sib, weight_generator
from sib_jax.methods.method import Classes, Method

__all__ = ["METHODS", "Classes", "Entry", "Method"]


class Entry(NamedTuple):
    """How a method is made of its config.

    Attributes:
      settings: NamedTuple of its hyper-parameters.
      make: (settings, ways) -> `Method`; a ValueError says which hyper-parameter cannot work.
    """

    settings: Callable[..., Any]
    make: Callable[[Any, int], Method]


METHODS: dict[str, Entry] = {
    "sib": Entry(sib.Settings, sib.make),
    "prototypical": Entry(prototypical.Settings, prototypical.make),
    "matching": Entry(matching.Settings, matching.make),
    "weight_generator": Entry(weight_generator.Settings, weight_generator.make),
}
