"""Accuracies over many episodes, with their 95% intervals."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sib_jax.methods.method import Method
from sib_jax.runtime import devices
from sib_jax.tasks.accuracy import accuracies as accuracies_of
from sib_jax.tasks.setting import Setting, Sources


class Interval(NamedTuple):
    """Mean accuracy and half the width of its 95% interval, both in percent."""

    mean: float
    ci95: float


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
      method: what answers the queries. Keep it: another one is compiled anew, even if equal.
      params: its parameters.
      setting: how episodes are drawn.
      sources: what they are drawn from.
      tasks: number of episodes.
      key: PRNG key.
      batch: episodes at once, or a few more, so that every device has as many.

    Returns:
      An interval for each of `setting.measures`.
    """
    found = accuracies(method, params, setting, sources, tasks=tasks, key=key, batch=batch)
    return {name: interval(found[:, i]) for i, name in enumerate(setting.measures)}


def accuracies(
    method: Method,
    params: Any,
    setting: Setting,
    sources: Sources,
    *,
    tasks: int,
    key: jax.Array,
    batch: int = 50,
) -> np.ndarray:
    """[tasks, len(setting.measures)], 0 to 1, one row an episode; arguments as in `evaluate`."""
    batch = devices.filled(batch)
    params, sources = devices.to_all((params, sources), devices.episode_mesh(batch))
    starts = range(0, tasks, batch)
    found = [_accuracies(params, sources, key, start, method, setting, batch) for start in starts]
    return np.concatenate([np.asarray(a) for a in found])[:tasks]


def interval(accuracy: np.ndarray) -> Interval:
    """Mean and 1.96 std / sqrt(tasks) of accuracies [tasks] in 0..1, in percent (section 3)."""
    percent = 100 * np.asarray(accuracy, np.float64)
    return Interval(float(percent.mean()), float(1.96 * percent.std() / math.sqrt(len(percent))))


@functools.partial(jax.jit, static_argnums=(4, 5, 6))
def _accuracies(
    params: Any,
    sources: Sources,
    key: jax.Array,
    start: jax.Array,
    method: Method,
    setting: Setting,
    batch: int,
) -> jax.Array:
    """Of the episodes start ... start + batch - 1; [batch, measures]."""
    mesh = devices.episode_mesh(batch)

    def measured(index: jax.Array) -> jax.Array:
        draw_key, method_key = jax.random.split(jax.random.fold_in(key, index))
        episode = setting.sample_evaluation(draw_key, sources)
        logits = method.logits(params, episode, method_key)
        found = accuracies_of(logits, episode.query_labels, setting.task.ways)
        return jnp.stack([found[name] for name in setting.measures])

    indices = start + jnp.arange(batch)
    indices = jax.lax.with_sharding_constraint(indices, devices.over_episodes(mesh))
    found = jax.vmap(measured)(indices)
    return jax.lax.with_sharding_constraint(found, devices.replicated(mesh))
