"""The standard setting: k novel classes, and queries of these alone (section 4, (a))."""

import jax
import jax.numpy as jnp

from sib_jax.tasks.draw import distinct
from sib_jax.tasks.episode import Episode
from sib_jax.tasks.table import FeatureTable


def sample(key: jax.Array, table: FeatureTable, *, ways: int, shots: int, queries: int) -> Episode:
    """Draws one k-way n-shot episode: classes, then distinct images of each (section 3).

    Args:
      key: PRNG key; the episode is a function of it and of the table.
      table: features of a split with at least `ways` classes, each of `shots + queries` images.
      ways: k.
      shots: support examples of each class.
      queries: queries of each class.

    Returns:
      Episode with m = ways * shots and n = ways * queries, both class after class.

    Raises:
      ValueError: the table has too few classes, or one with too few images.
    """
    if not 1 <= ways <= table.classes:
        raise ValueError(f"ways is {ways}, but must be 1 to {table.classes}, the table's classes")
    if shots < 0 or queries < 0 or shots + queries > table.smallest:
        raise ValueError(
            f"shots + queries is {shots} + {queries}, but the smallest of the table's classes has "
            f"{table.smallest} images"
        )
    class_key, image_key = jax.random.split(key)
    classes = distinct(class_key, table.classes, ways)
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
