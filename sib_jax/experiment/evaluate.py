"""Accuracies over many episodes, with their 95% intervals."""

import collections
import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sib_jax.methods.method import Method
from sib_jax.runtime import devices
from sib_jax.runtime.seeds import Stream
from sib_jax.tasks.accuracy import accuracies as accuracies_of
from sib_jax.tasks.interval import Interval, interval
from sib_jax.tasks.setting import Setting, Sources

STREAMS = {"val": Stream.VAL_TASKS, "test": Stream.TEST_TASKS}
"""Where the tasks of a split come from."""

_UNDER_WAY = 4  # batches in flight: with more of them, several CPU devices may deadlock


class Answers(NamedTuple):
    """Answers to the queries of some episodes, on the devices.

    Attributes:
      accuracy: [episodes, len(setting.measures)], 0 to 1.
      logits: [episodes, n, k], or [episodes, n, k + b] where there are b base classes.
      labels: int [episodes, n].
    """

    accuracy: jax.Array
    logits: jax.Array
    labels: jax.Array


def evaluate(
    method: Method,
    params: Any,
    setting: Setting,
    sources: Sources,
    *,
    tasks: int,
    key: jax.Array,
    batch: int = 50,
) -> dict[str, Interval]:
    """Mean accuracies over `tasks` episodes; episode i is a function of (key, i).

    Args:
      method: what answers the queries. Reuse the same object: an equal one is compiled again
        (`settings.method_of` returns the same object for equal settings).
      params: its parameters.
      setting: how episodes are drawn.
      sources: what they are drawn from.
      tasks: number of episodes.
      key: PRNG key.
      batch: episodes at once, rounded up so that every device gets equally many.

    Returns:
      An interval for each of `setting.measures`.
    """
    found = answers(method, params, setting, sources, tasks=tasks, key=key, batch=batch)
    accuracy = np.concatenate([*map(np.asarray, [some.accuracy for some in found])])
    return {name: interval(accuracy[:, i]) for i, name in enumerate(setting.measures)}


def answers(
    method: Method,
    params: Any,
    setting: Setting,
    sources: Sources,
    *,
    tasks: int,
    key: jax.Array,
    batch: int = 50,
) -> Iterator[Answers]:
    """Answers to all episodes, batch by batch; arguments as in `evaluate`."""
    batch = devices.filled(batch)
    mesh = devices.episode_mesh(batch)
    params, sources = devices.to_all(params, mesh), devices.shared(sources, mesh)
    under_way: collections.deque[jax.Array] = collections.deque()
    for start in range(0, tasks, batch):
        found = _answers(params, sources, key, start, method, setting, batch)
        under_way.append(found.accuracy)
        if len(under_way) == _UNDER_WAY:
            under_way.popleft().block_until_ready()
        left = tasks - start
        yield found if left >= batch else _first(found, left)


@functools.partial(jax.jit, static_argnums=1)
def _first(found: Answers, count: int) -> Answers:
    return Answers(*(x[:count] for x in found))


def keys_of_task(key: jax.Array, index: jax.Array | int) -> tuple[jax.Array, jax.Array]:
    """The key that task number `index` is drawn with, and the key that the method gets."""
    draw_key, method_key = jax.random.split(jax.random.fold_in(key, index))
    return draw_key, method_key


@functools.partial(jax.jit, static_argnums=(4, 5, 6))
def _answers(
    params: Any,
    sources: Sources,
    key: jax.Array,
    start: jax.Array,
    method: Method,
    setting: Setting,
    batch: int,
) -> Answers:
    """Answers to the episodes start ... start + batch - 1."""
    mesh = devices.episode_mesh(batch)

    def answered(index: jax.Array) -> Answers:
        draw_key, method_key = keys_of_task(key, index)
        episode = setting.sample_evaluation(draw_key, sources)
        logits = method.logits(params, episode, method_key)
        found = accuracies_of(logits, episode.true_labels, setting.task.ways)
        accuracy = jnp.stack([found[name] for name in setting.measures])
        return Answers(accuracy, logits, episode.true_labels)

    indices = start + jnp.arange(batch)
    indices = jax.lax.with_sharding_constraint(indices, devices.over_episodes(mesh))
    found = jax.vmap(answered)(indices)
    return jax.lax.with_sharding_constraint(found, devices.replicated(mesh))
