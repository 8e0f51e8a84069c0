"""A setting: how episodes are drawn, in training and in evaluation, and what is measured."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sib_jax.tasks import proportions, standard, without_forgetting
from sib_jax.tasks.accuracy import BASE, BOTH, NOVEL
from sib_jax.tasks.episode import Episode
from sib_jax.tasks.table import FeatureTable

WITHOUT_FORGETTING = "lwof"


class Task(NamedTuple):
    """The size of an episode.

    Attributes:
      ways: k, novel classes.
      shots: support examples of each.
      queries: of each.
      query_classes: shares of the classes among all queries, see `proportions`.
      support_classes: "balanced", or "uneven": ways * shots examples, at least one of each class.
      total_queries: queries in all; 0 for ways * queries.
    """

    ways: int
    shots: int
    queries: int
    query_classes: str = proportions.BALANCED
    support_classes: str = proportions.BALANCED
    total_queries: int = 0

    @property
    def all_queries(self) -> int:
        """n, without those of base classes."""
        return self.total_queries or self.ways * self.queries

    @property
    def most_shots(self) -> int:
        """Support examples that one class may have."""
        return proportions.most_shots(self.support_classes, self.ways, self.shots)

    @property
    def most_queries(self) -> int:
        """Queries that one class may have."""
        return proportions.most(self.query_classes, self.ways, self.all_queries)


class Sources(NamedTuple):
    """What evaluation tasks are drawn from.

    Attributes:
      novel: the classes to learn.
      base: images of the base classes that no training stage saw, where a setting needs them.
    """

    novel: FeatureTable
    base: FeatureTable | None = None


class Setting(NamedTuple):
    """How episodes of one size are drawn. Make one with `make`.

    Attributes:
      name: "standard" or "lwof".
      task: the size of an episode.
      measures: what `tasks.accuracy.accuracies` gives of its episodes; the last one chooses the
        best epoch.
      sample_training: (key, table of the training classes) -> `Episode`.
      sample_evaluation: (key, `Sources`) -> `Episode`.
    """

    name: str
    task: Task
    measures: tuple[str, ...]
    sample_training: Callable[[jax.Array, FeatureTable], Episode]
    sample_evaluation: Callable[[jax.Array, Sources], Episode]

    @property
    def has_base(self) -> bool:
        """Whether its episodes have base classes."""
        return BASE in self.measures


def single(episode: Episode) -> Episode:
    """The episode in float32 where a table is in half precision, whose squares would overflow."""
    if episode.query.dtype not in (jnp.float16, jnp.bfloat16):
        return episode
    support, query = (x.astype(jnp.float32) for x in (episode.support, episode.query))
    return episode._replace(support=support, query=query)


def _standard(task: Task) -> Setting:
    def draw(key: jax.Array, table: FeatureTable) -> Episode:
        return single(standard.sample(key, table, **task._asdict()))

    return Setting("standard", task, (NOVEL,), draw, lambda key, sources: draw(key, sources.novel))


def _without_forgetting(task: Task) -> Setting:
    size = task._asdict()

    def training(key: jax.Array, table: FeatureTable) -> Episode:
        return single(without_forgetting.sample_training(key, table, **size))

    def evaluation(key: jax.Array, sources: Sources) -> Episode:
        if sources.base is None:
            raise ValueError("learning without forgetting needs images of the base classes")
        drawn = without_forgetting.sample_evaluation(key, sources.novel, sources.base, **size)
        return single(drawn)

    return Setting(WITHOUT_FORGETTING, task, (NOVEL, BASE, BOTH), training, evaluation)


SETTINGS: dict[str, Callable[[Task], Setting]] = {
    "standard": _standard,
    WITHOUT_FORGETTING: _without_forgetting,
}


@functools.cache
def make(name: str, task: Task) -> Setting:
    """The setting of this name, for episodes of this size; always the same one, to compile once."""
    return SETTINGS[name](task)


def has_base(name: str) -> bool:
    """Whether episodes of the setting of this name have base classes."""
    return name == WITHOUT_FORGETTING
