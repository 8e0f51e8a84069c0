"""Learning without forgetting: k novel classes beside the base classes (section 3, (b)).

The queries mix novel and base images. In training, k of the base classes pretend to be novel.

References:
  Gidaris and Komodakis, "Dynamic few-shot visual learning without forgetting", CVPR 2018.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sib_jax import number
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
      queries: queries of each; all base classes together have as many as all novel ones.
      **others: how many are of each novel class, or in all, see `standard.sample`.

    Returns:
      Episode whose first half of queries is of the novel classes.

    Raises:
      TypeError, ValueError: as `standard.sample`, or no class or too few images are left as base
        (numbers of images are unknown where the table is an argument of a jitted function).
    """
    ways = number.whole("ways", ways, 1)
    if ways >= table.classes:
        raise ValueError(
            f"ways is {ways}, but must be below {table.classes}, the table's classes: some must "
            "remain base classes"
        )
    class_key, novel_key, base_key = jax.random.split(key, 3)
    order = jax.random.permutation(class_key, table.classes)
    novel, base = order[:ways], order[ways:]
    return _sample(
        (novel_key, base_key),
        _classes(table, novel),
        _classes(table, base),
        base,
        _fewest(table, table.classes - ways),
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
      queries: queries of each; all base classes together have as many as all novel ones.
      **others: how many are of each novel class, or in all, see `standard.sample`.

    Raises:
      TypeError, ValueError: as `standard.sample`, or the base table has too few images (numbers are
        unknown where it is an argument of a jitted function).
    """
    ways = number.whole("ways", ways, 1)
    if ways > novel_table.classes:
        raise ValueError(
            f"ways is {ways}, but must be 1 to {novel_table.classes}, the table's classes"
        )
    class_key, novel_key, base_key = jax.random.split(key, 3)
    novel = distinct(class_key, novel_table.classes, ways)
    base = jnp.arange(base_table.classes)
    return _sample(
        (novel_key, base_key),
        _classes(novel_table, novel),
        base_table,
        base,
        _fewest(base_table, base_table.classes),
        shots,
        queries,
        others,
    )


def _classes(table: FeatureTable, classes: jax.Array) -> FeatureTable:
    return dataclasses.replace(table, starts=table.starts[classes], counts=table.counts[classes])


def _fewest(table: FeatureTable, classes: int) -> int:
    """The fewest images that so many classes have; all rows where numbers are unknown."""
    if isinstance(table.counts, jax.core.Tracer):
        return table.features.shape[0]
    return int(np.sort(np.asarray(table.counts))[:classes].sum())


def _sample(
    keys: tuple[jax.Array, jax.Array],
    novel: FeatureTable,
    base: FeatureTable,
    components: jax.Array,
    fewest: int,
    shots: int,
    queries: int,
    others: dict[str, Any],
) -> Episode:
    ways = novel.classes
    task = sample(keys[0], novel, ways=ways, shots=shots, queries=queries, **others)
    n = task.query.shape[0]
    if n > fewest:
        raise ValueError(
            f"an episode has {n} queries of base classes, as many as of novel ones, but their "
            f"table may have only {fewest} images for them: lower queries"
        )
    # Distinct images, every image of every base class equally likely.
    ends = jnp.cumsum(base.counts)
    drawn = distinct(keys[1], ends[-1], n)
    label = jnp.searchsorted(ends, drawn, side="right")
    rows = base.starts[label] + drawn - (ends[label] - base.counts[label])
    return Episode(
        task.support,
        task.support_labels,
        jnp.concatenate([task.query, base.features[rows]]),
        jnp.concatenate([task.true_labels, ways + label]),
        components,
    )
