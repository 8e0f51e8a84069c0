"""What an episode is, and how episodes are drawn on the device from a table of features."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Episode(NamedTuple):
    """One task: k ways, m support examples, n queries.

    Attributes:
      support: features [m, d].
      support_labels: int [m], in 0..k-1.
      query: features [n, d].
      query_labels: int [n]; only the loss and the accuracy read them.
    """

    support: jax.Array
    support_labels: jax.Array
    query: jax.Array
    query_labels: jax.Array


class FeatureTable(NamedTuple):
    """Features of a split, a contiguous block of rows for each class.

    Attributes:
      features: [images, d].
      starts: int [classes], first row of each class.
      counts: int [classes], rows of each class.
    """

    features: jax.Array
    starts: jax.Array
    counts: jax.Array


def feature_table(features: np.ndarray | jax.Array, labels: np.ndarray) -> FeatureTable:
    """A table for `sample`.

    Args:
      features: [images, d].
      labels: int [images], ascending.

    Returns:
      The table, on the default device.
    """
    labels = np.asarray(labels)
    if len(labels) != len(features):
        raise ValueError(f"got {len(features)} features but {len(labels)} labels")
    if np.any(np.diff(labels) < 0):
        raise ValueError("labels must ascend: each class is one contiguous block of rows")
    counts = np.bincount(labels)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return FeatureTable(
        jnp.asarray(features), jnp.asarray(starts, jnp.int32), jnp.asarray(counts, jnp.int32)
    )


def distinct(key: jax.Array, size: int | jax.Array, draws: int) -> jax.Array:
    """Draws distinct numbers from 0..size-1, every ordered choice equally likely.

    The first `draws` swaps of a Fisher-Yates shuffle, on an array of which only the swapped places
    are stored: cost draws^2 whatever the size, where a permutation sorts `size` random keys.

    Args:
      key: PRNG key.
      size: how many numbers there are; may be traced. At least `draws`.
      draws: how many to draw; static.

    Returns:
      int32 [draws].
    """
    order = jnp.arange(draws)
    targets = jax.random.randint(key, (draws,), order, size)  # place swapped with place i

    def value_at(place: jax.Array, swaps: jax.Array, moved: jax.Array) -> jax.Array:
        # What stands at `place` after the first `swaps` swaps: what the last one put there.
        last = jnp.max(jnp.where((targets == place) & (order < swaps), order, -1))
        return jnp.where(last < 0, place, moved[last])

    def swap(moved: jax.Array, i: jax.Array) -> tuple[jax.Array, jax.Array]:
        drawn = value_at(targets[i], i, moved)
        return moved.at[i].set(value_at(i, i, moved)), drawn

    return jax.lax.scan(swap, jnp.zeros(draws, jnp.int32), order)[1]


def sample(key: jax.Array, table: FeatureTable, *, ways: int, shots: int, queries: int) -> Episode:
    """Draws one k-way n-shot episode: classes, then distinct images of each (section 3).

    Args:
      key: PRNG key; the episode is a function of it and of the table.
      table: features of a split with at least `ways` classes of `shots + queries` images.
      ways: k.
      shots: support examples of each class.
      queries: queries of each class.

    Returns:
      Episode with m = ways * shots and n = ways * queries, both class after class.
    """
    class_key, image_key = jax.random.split(key)
    classes = distinct(class_key, table.counts.shape[0], ways)
    draw = jax.vmap(lambda k, size: distinct(k, size, shots + queries))
    rows = table.starts[classes][:, None] + draw(
        jax.random.split(image_key, ways), table.counts[classes]
    )
    labels = jnp.arange(ways)
    return Episode(
        table.features[rows[:, :shots].reshape(-1)],
        jnp.repeat(labels, shots),
        table.features[rows[:, shots:].reshape(-1)],
        jnp.repeat(labels, queries),
    )
