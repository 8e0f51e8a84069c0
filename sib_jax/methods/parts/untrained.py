"""Methods with nothing to learn: hyper-parameters and a function of one episode."""

from collections.abc import Callable
from typing import Any

import jax

from sib_jax.methods.method import Method, no_parameters
from sib_jax.tasks.episode import Episode


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
      name: as it stands in results.json.
      logits: (settings, support, support_labels, query, *, ways) -> [n, k].
      settings: hyper-parameters.
      ways: k.
      balances: see `Method`.

    Returns:
      A method without parameters, loss or randomness, on features.
    """

    def of_episode(params: dict[str, jax.Array], episode: Episode, key: jax.Array) -> jax.Array:
        del params, key
        if not episode.query.shape[0]:
            raise ValueError("the episode has no queries")
        return logits(settings, episode.support, episode.support_labels, episode.query, ways=ways)

    return Method(name, no_parameters, of_episode, balances=balances)
