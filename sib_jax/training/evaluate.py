"""Accuracies over many episodes, with their 95% intervals."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sib_jax import episodes, lwof
from sib_jax.episodes import FeatureTable
from sib_jax.inner_loop import adapt_with_logits
from sib_jax.model import Params, initial_posterior
from sib_jax.training import devices


class Task(NamedTuple):
    """What a task looks like; static, so hashable.

    Attributes:
      ways: k.
      shots: support examples of each class.
      queries: of each class.
      setting: "standard" or "lwof".
      summary: in the setting "lwof", what the gradient network sees of the base classes.
    """

    ways: int
    shots: int
    queries: int
    setting: str = "standard"
    summary: str = "logsumexp"

    def accuracies(self) -> tuple[str, ...]:
        """The names of what is measured; the last one chooses the best epoch."""
        return ("novel",) if self.setting == "standard" else lwof.Accuracies._fields

    def shape(self) -> dict[str, int]:
        """The arguments of the functions that draw episodes."""
        return {"ways": self.ways, "shots": self.shots, "queries": self.queries}


class Tables(NamedTuple):
    """Features that evaluation tasks are drawn from.

    Attributes:
      novel: of the classes to learn.
      base: of the base classes, images that no training stage saw; learning without forgetting
        needs them.
    """

    novel: FeatureTable
    base: FeatureTable | None = None


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
    tables: Tables,
    task: Task,
    inner: Inner,
    *,
    tasks: int,
    key: jax.Array,
    batch: int = 50,
) -> dict[str, Interval]:
    """Mean accuracies over `tasks` episodes; episode i is a function of (key, i).

    Args:
      params: meta-learned parameters.
      tables: features of a split.
      task: what an episode looks like.
      inner: how theta is adapted.
      tasks: number of episodes.
      key: PRNG key.
      batch: episodes at once, or a few more, so that every device has as many.

    Returns:
      An interval for each of `task.accuracies()`.
    """
    found = accuracies(params, tables, task, inner, tasks=tasks, key=key, batch=batch)
    return {name: interval(found[:, i]) for i, name in enumerate(task.accuracies())}


def accuracies(
    params: Params,
    tables: Tables,
    task: Task,
    inner: Inner,
    *,
    tasks: int,
    key: jax.Array,
    batch: int = 50,
) -> np.ndarray:
    """[tasks, len(task.accuracies())], 0 to 1, one row an episode; arguments as in `evaluate`."""
    batch = devices.filled(batch)
    params, tables = devices.to_all((params, tables), devices.episode_mesh(batch))
    starts = range(0, tasks, batch)
    found = [_accuracies(params, tables, key, start, task, inner, batch) for start in starts]
    return np.concatenate([np.asarray(a) for a in found])[:tasks]


def interval(accuracy: np.ndarray) -> Interval:
    """Mean and 1.96 std / sqrt(tasks) of accuracies [tasks] in 0..1, in percent (section 3)."""
    percent = 100 * np.asarray(accuracy, np.float64)
    return Interval(float(percent.mean()), float(1.96 * percent.std() / math.sqrt(len(percent))))


@functools.partial(jax.jit, static_argnums=(4, 5, 6))
def _accuracies(
    params: Params,
    tables: Tables,
    key: jax.Array,
    start: jax.Array,
    task: Task,
    inner: Inner,
    batch: int,
) -> jax.Array:
    """Of the episodes start ... start + batch - 1; [batch, accuracies]."""
    mesh = devices.episode_mesh(batch)

    def standard(draw_key: jax.Array, inner_key: jax.Array) -> jax.Array:
        episode = episodes.sample(draw_key, tables.novel, **task.shape())
        posterior = initial_posterior(
            params, episode.support, episode.support_labels, ways=task.ways, query=episode.query
        )
        _, logits = adapt_with_logits(
            params, posterior, episode.query, key=inner_key, **inner._asdict()
        )
        return jnp.mean(jnp.argmax(logits, axis=1) == episode.query_labels)[None]

    def without_forgetting(draw_key: jax.Array, inner_key: jax.Array) -> jax.Array:
        if tables.base is None:
            raise ValueError("setting 'lwof' needs features of base classes: Tables(novel, base)")
        episode = lwof.sample_evaluation(draw_key, tables.novel, tables.base, **task.shape())
        found = lwof.accuracies(
            params, episode, key=inner_key, summary=task.summary, **inner._asdict()
        )
        return jnp.stack(found)

    def accuracy(index: jax.Array) -> jax.Array:
        keys = jax.random.split(jax.random.fold_in(key, index))
        return standard(*keys) if task.setting == "standard" else without_forgetting(*keys)

    indices = start + jnp.arange(batch)
    indices = jax.lax.with_sharding_constraint(indices, devices.over_episodes(mesh))
    found = jax.vmap(accuracy)(indices)
    return jax.lax.with_sharding_constraint(found, devices.replicated(mesh))
