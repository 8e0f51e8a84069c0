"""What a job can train and evaluate: SIB, its peers, and whatever a user adds.

A method is one file with `Settings` (its hyper-parameters and their defaults) and
`make(settings, ways) -> Method`, and one line here; or, outside of the package, `register`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from sib_jax.methods import (
    alpha_tim,
    anil,
    bd_cspn,
    gaussian_em,
    laplacian_shot,
    maml,
    matching,
    meta_lstm,
    prototypical,
    pt_map,
    sib,
    sib_plus,
    simple_shot,
    sinkhorn_kmeans,
    snail,
    soft_kmeans,
    tim,
    weight_generator,
)
from sib_jax.methods.contract import MethodError, check_settings
from sib_jax.methods.method import Classes, Method

__all__ = ["METHODS", "Classes", "Entry", "Method", "MethodError", "register"]


class Entry(NamedTuple):
    """How a method is made from its config.

    Attributes:
      settings: NamedTuple of its hyper-parameters.
      make: (settings, ways) -> `Method`; a ValueError, here or when the method is first used, says
        which hyper-parameter cannot work.
    """

    settings: Callable[..., Any]
    make: Callable[[Any, int], Method]


METHODS: dict[str, Entry] = {
    "sib": Entry(sib.Settings, sib.make),
    "sib_plus": Entry(sib_plus.Settings, sib_plus.make),
    "prototypical": Entry(prototypical.Settings, prototypical.make),
    "matching": Entry(matching.Settings, matching.make),
    "weight_generator": Entry(weight_generator.Settings, weight_generator.make),
    "anil": Entry(anil.Settings, anil.make),
    "meta_lstm": Entry(meta_lstm.Settings, meta_lstm.make),
    "snail": Entry(snail.Settings, snail.make),
    "maml": Entry(maml.Settings, maml.make),
    # None of these is trained.
    "simple_shot": Entry(simple_shot.Settings, simple_shot.make),
    "soft_kmeans": Entry(soft_kmeans.Settings, soft_kmeans.make),
    "sinkhorn_kmeans": Entry(sinkhorn_kmeans.Settings, sinkhorn_kmeans.make),
    "bd_cspn": Entry(bd_cspn.Settings, bd_cspn.make),
    "laplacian_shot": Entry(laplacian_shot.Settings, laplacian_shot.make),
    "tim": Entry(tim.Settings, tim.make),
    "alpha_tim": Entry(alpha_tim.Settings, alpha_tim.make),
    "pt_map": Entry(pt_map.Settings, pt_map.make),
    "gaussian_em": Entry(gaussian_em.Settings, gaussian_em.make),
}

_OURS = dict(METHODS)


def register(name: str, settings: type, make: Callable[[Any, int], Method]) -> None:
    """Adds a user's own method, for configs to name, and for `sib_jax.load` if it is untrained.

    Args:
      name: a word; settings become the fields `<name>.<setting>` of a config.
      settings: a class of `typing.NamedTuple` whose fields all have defaults.
      make: (settings, ways) -> `Method`.

    Raises:
      MethodError: one of these is not as above, or the name is taken; the message says what is
        wanted.
    """
    from sib_jax import config  # which knows the methods

    check_settings(name, settings, make)
    if name in _OURS or name in {field.split(".")[0] for field in config.EXPERIMENT | config.HEAD}:
        raise MethodError(f"{name} is a name that sib_jax uses itself: give the method another")
    METHODS[name] = Entry(settings, make)


def is_own(name: str) -> bool:
    """Whether a method is the user's rather than one that comes with the package."""
    return METHODS[name] is not _OURS.get(name)
