"""Methods with nothing to learn: hyper-parameters and a function of one episode."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from sib_jax.methods.method import Classes, Method, no_parameters
from sib_jax.methods.parts.checked import checked
from sib_jax.tasks.episode import Episode

CENTRES = ("episode", "base")


def untrained(
    name: str,
    logits: Callable[..., jax.Array],
    settings: Any,
    ways: int,
    *,
    balances: bool = False,
) -> Method:
    """The method that scores the queries by `logits`.

    Args:
      name: as in results.json.
      logits: (settings, support, support_labels, query, *, ways) -> [n, k].
      settings: hyper-parameters.
      ways: k.
      balances: see `Method`.

    Returns:
      A method without parameters, loss or randomness, on features. Its logits take lists too, and
      raise as `sib_jax.initial_posterior` does.
    """

    def of_episode(params: dict[str, jax.Array], episode: Episode, key: jax.Array) -> jax.Array:
        del params, key
        episode = checked(episode, ways)
        if not episode.query.shape[0]:
            raise ValueError("the episode has no queries")
        return logits(settings, episode.support, episode.support_labels, episode.query, ways=ways)

    return Method(name, no_parameters, of_episode, balances=balances)


def centred_untrained(
    name: str, logits: Callable[..., jax.Array], settings: Any, ways: int
) -> Method:
    """The same for features from which CL2N subtracts a mean: an episode's, or the base classes'.

    Args:
      name: as in results.json, but without "base mean", which is added where it applies.
      logits: as in `untrained`, and with `centre`, [d] or None for the episode's mean.
      settings: with the fields `normalization` and `centre`, "episode" or "base".
      ways: k.

    Raises:
      ValueError: `centre` is neither, or the normalization subtracts no mean.
    """
    if settings.centre not in CENTRES:
        raise ValueError(f"unknown centre {settings.centre!r}; known are 'episode' and 'base'")
    if settings.centre == "episode":
        return untrained(name, logits, settings, ways)
    if settings.normalization != "CL2N":
        raise ValueError(
            f"centre is 'base', but {settings.normalization} subtracts no mean: set "
            "normalization='CL2N'"
        )

    def init(key: jax.Array, classes: Classes) -> dict[str, jax.Array]:
        del key
        if classes.base_mean is None:
            raise ValueError("centre is 'base', but there are no features of base classes")
        return {"base_mean": classes.base_mean}

    def of_episode(params: dict[str, jax.Array], episode: Episode, key: jax.Array) -> jax.Array:
        told = functools.partial(logits, centre=params["base_mean"])
        return untrained(name, told, settings, ways).logits({}, episode, key)

    return Method(f"{name} base mean", init, of_episode, fitted=True)
