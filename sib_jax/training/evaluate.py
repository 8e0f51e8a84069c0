"""Accuracy over many episodes, with its 95% interval."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sib_jax import episodes
from sib_jax.episodes import FeatureTable
from sib_jax.inner_loop import adapt
from sib_jax.model import Params, initial_posterior, logits
from sib_jax.training import devices


class Task(NamedTuple):
    """What an evaluation task looks like; static, so hashable."""

    ways: int
    shots: int
    queries: int


class Inner(NamedTuple):
    """How theta is adapted to a task; static, so hashable."""

    steps: int
    step_size: float
    samples: int = 1
    beta: float = 1.0
    checkpoint: bool = False


class Interval(NamedTuple):
    """Mean accuracy and half the width of its 95% interval, both in percent."""

    mean: float
    ci95: float


def evaluate(
    params: Params,
    table: FeatureTable,
    task: Task,
    inner: Inner,
    *,
    tasks: int,
    key: jax.Array,
    batch: int = 50,
) -> Interval:
    """Mean accuracy over `tasks` episodes; episode i is a function of (key, i).

    Args:
      params: meta-learned parameters.
      table: features of a split.
      task: what an episode looks like.
      inner: how theta is adapted.
      tasks: number of episodes.
      key: PRNG key.
      batch: episodes at once.
    """
    return interval(accuracies(params, table, task, inner, tasks=tasks, key=key, batch=batch))


def accuracies(
    params: Params,
    table: FeatureTable,
    task: Task,
    inner: Inner,
    *,
    tasks: int,
    key: jax.Array,
    batch: int = 50,
) -> np.ndarray:
    """The accuracy, 0 to 1, of each of `tasks` episodes; arguments as in `evaluate`."""
    starts = range(0, tasks, batch)
    found = [_accuracies(params, table, key, start, task, inner, batch) for start in starts]
    return np.concatenate([np.asarray(a) for a in found])[:tasks]


def interval(accuracy: np.ndarray) -> Interval:
    """Mean and 1.96 std / sqrt(tasks) of accuracies [tasks] in 0..1, in percent (section 3)."""
    percent = 100 * np.asarray(accuracy, np.float64)
    return Interval(float(percent.mean()), float(1.96 * percent.std() / math.sqrt(len(percent))))


@functools.partial(jax.jit, static_argnums=(4, 5, 6))
def _accuracies(
    params: Params,
    table: FeatureTable,
    key: jax.Array,
    start: jax.Array,
    task: Task,
    inner: Inner,
    batch: int,
) -> jax.Array:
    """Of the episodes start ... start + batch - 1; [batch]."""
    sharding = devices.over_episodes(devices.episode_mesh(batch))

    def accuracy(index: jax.Array) -> jax.Array:
        draw_key, inner_key = jax.random.split(jax.random.fold_in(key, index))
        episode = episodes.sample(draw_key, table, **task._asdict())
        posterior = initial_posterior(
            params, episode.support, episode.support_labels, ways=task.ways, query=episode.query
        )
        posterior = adapt(params, posterior, episode.query, key=inner_key, **inner._asdict())
        predicted = jnp.argmax(logits(params, posterior, episode.query), axis=1)
        return jnp.mean(predicted == episode.query_labels)

    indices = jax.lax.with_sharding_constraint(start + jnp.arange(batch), sharding)
    return jax.vmap(accuracy)(indices)
