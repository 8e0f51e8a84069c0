"""Learning without forgetting: k novel classes beside the base classes (section 4, (b)).

The queries mix novel and base images. In training, k of the base classes pretend to be novel.

References:
  Gidaris and Komodakis, "Dynamic few-shot visual learning without forgetting", CVPR 2018.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from sib_jax.tasks.draw import distinct
from sib_jax.tasks.episode import Episode
from sib_jax.tasks.standard import sample
from sib_jax.tasks.table import FeatureTable


def sample_training(
    key: jax.Array, table: FeatureTable, *, ways: int, shots: int, queries: int, **others: Any
) -> Episode:
    """Draws an episode from the base classes: k of them pretend to be novel, the others stay base.

    Args:
      key: PRNG key.
      table: features of the base classes, in the order of the prior's components.
      ways: k.
      shots: support examples of each pretended novel class.
      queries: queries of each; and as many of all base classes together as of all novel ones.
      **others: how many are of each novel class, or in all, see `standard.sample`.

    Returns:
      Episode whose first half of queries is of the novel classes.
    """
    class_key, novel_key, base_key = jax.random.split(key, 3)
    order = jax.random.permutation(class_key, table.classes)
    novel, base = order[:ways], order[ways:]
    return _sample(
        (novel_key, base_key),
        _classes(table, novel),
        _classes(table, base),
        base,
        shots,
        queries,
        others,
    )


def sample_evaluation(
    key: jax.Array,
    novel_table: FeatureTable,
    base_table: FeatureTable,
    *,
    ways: int,
    shots: int,
    queries: int,
    **others: Any,
) -> Episode:
    """Draws an episode of novel classes beside all base classes.

    Args:
      key: PRNG key.
      novel_table: features of the novel classes.
      base_table: features of the base classes that no training stage saw, in the order of the
        prior's components.
      ways: k.
      shots: support examples of each novel class.
      queries: queries of each; and as many of all base classes together as of all novel ones.
      **others: how many are of each novel class, or in all, see `standard.sample`.
    """
    class_key, novel_key, base_key = jax.random.split(key, 3)
    novel = distinct(class_key, novel_table.classes, ways)
    base = jnp.arange(base_table.classes)
    return _sample(
        (novel_key, base_key),
        _classes(novel_table, novel),
        base_table,
        base,
        shots,
        queries,
        others,
    )


def _classes(table: FeatureTable, classes: jax.Array) -> FeatureTable:
    return dataclasses.replace(table, starts=table.starts[classes], counts=table.counts[classes])


def _sample(
    keys: tuple[jax.Array, jax.Array],
    novel: FeatureTable,
    base: FeatureTable,
    components: jax.Array,
    shots: int,
    queries: int,
    others: dict[str, Any],
) -> Episode:
    ways = novel.classes
    task = sample(keys[0], novel, ways=ways, shots=shots, queries=queries, **others)
    # Distinct images, every image of every base class equally likely.
    ends = jnp.cumsum(base.counts)
    drawn = distinct(keys[1], ends[-1], task.query.shape[0])
    label = jnp.searchsorted(ends, drawn, side="right")
    rows = base.starts[label] + drawn - (ends[label] - base.counts[label])
    return Episode(
        task.support,
        task.support_labels,
        jnp.concatenate([task.query, base.features[rows]]),
        jnp.concatenate([task.query_labels, ways + label]),
        components,
    )
