"""The standard setting: k novel classes, and queries of only these (section 3, (a))."""

import jax
import jax.numpy as jnp

from sib_jax import number, prng_key
from sib_jax.compiled_once import compiled_once
from sib_jax.tasks import proportions
from sib_jax.tasks.draw import distinct, distinct_in_blocks
from sib_jax.tasks.episode import Episode
from sib_jax.tasks.proportions import BALANCED, MISSING, UNEVEN
from sib_jax.tasks.table import FeatureTable


def sample(
    key: jax.Array,
    table: FeatureTable,
    *,
    ways: int,
    shots: int,
    queries: int,
    query_classes: str = BALANCED,
    support_classes: str = BALANCED,
    total_queries: int = 0,
) -> Episode:
    """Draws one k-way n-shot episode: classes, then distinct images of each (section 3).

    Args:
      key: PRNG key; the episode is a function of it and of the table.
      table: features of a split with at least `ways` classes, each with enough images for an
        episode: `shots + queries` if it is balanced.
      ways: k.
      shots: support examples of each class; 0 for a zero-shot task.
      queries: queries of each class; may be 0.
      query_classes: shares of the classes among all queries, see `proportions`.
      support_classes: "balanced", or "uneven": ways * shots support examples, at least one of each
        class.
      total_queries: queries in all; 0 for ways * queries.

    Returns:
      Episode with m = ways * shots and n = ways * queries or `total_queries`, both class by class.

    Raises:
      TypeError: one of the numbers is not whole.
      ValueError: one is negative, shares are of an unknown kind or impossible, the table has too
        few classes, or one of them has too few images.
    """
    prng_key.check(key)
    ways, shots = number.whole("ways", ways, 1), number.whole("shots", shots, 0)
    queries = number.whole("queries", queries, 0)
    total_queries = number.whole("total_queries", total_queries, 0)
    proportions.check("query_classes", query_classes)
    if support_classes not in (BALANCED, UNEVEN):
        raise ValueError(f"support_classes must be {BALANCED} or {UNEVEN}; got {support_classes!r}")
    if support_classes == UNEVEN and not shots:
        raise ValueError(
            "support_classes is uneven, with at least one example of each class, but shots is 0"
        )
    if query_classes == MISSING and ways == 1:
        raise ValueError("query_classes is missing, but ways is 1, and the one class needs queries")
    if ways > table.classes:
        raise ValueError(f"ways is {ways}, but must be 1 to {table.classes}, the table's classes")
    most = proportions.most_shots(support_classes, ways, shots)
    n = total_queries or ways * queries
    most += proportions.most(query_classes, ways, n)
    if most > table.smallest:
        may = "" if most == shots + queries else f", up to {most} of one class"
        field = "total_queries" if total_queries else "queries"
        raise ValueError(
            f"shots + {field} is {shots} + {total_queries or queries}{may}, but the smallest of "
            f"the table's classes has {table.smallest} images"
        )
    return _drawn(
        key,
        table,
        ways=ways,
        shots=shots,
        queries=queries,
        query_classes=query_classes,
        support_classes=support_classes,
        n=n,
    )


@compiled_once
def _drawn(
    key: jax.Array,
    table: FeatureTable,
    *,
    ways: int,
    shots: int,
    queries: int,
    query_classes: str,
    support_classes: str,
    n: int,
) -> Episode:
    """`sample`, once what is given has been checked; n queries in all."""
    class_key, image_key = jax.random.split(key)
    classes = distinct(class_key, table.classes, ways)
    if (query_classes, support_classes, n) != (BALANCED, BALANCED, ways * queries):
        return _unbalanced(image_key, table, classes, (shots, support_classes), (n, query_classes))
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


def _unbalanced(
    key: jax.Array,
    table: FeatureTable,
    classes: jax.Array,
    support: tuple[int, str],
    query: tuple[int, str],
) -> Episode:
    """Numbers of each class are random, but not their sum: shapes stay the same."""
    ways = classes.shape[0]
    m, n = ways * support[0], query[0]
    support_key, query_key, image_key = jax.random.split(key, 3)
    if support[1] == BALANCED:
        examples = jnp.full(ways, support[0])
    else:
        examples = proportions.uneven(support_key, ways, m)
    of_support, first = _blocks(examples, m)
    of_query, then = _blocks(proportions.counts(query_key, query[1], ways, n), n)
    labels = jnp.concatenate([of_support, of_query])
    order = jnp.concatenate([first, examples[of_query] + then])
    drawn = classes[labels]
    rows = distinct_in_blocks(image_key, table.starts[drawn], table.counts[drawn], order)
    return Episode(table.features[rows[:m]], of_support, table.features[rows[m:]], of_query)


def _blocks(counts: jax.Array, total: int) -> tuple[jax.Array, jax.Array]:
    """Labels class by class, and the number of each example in its class; both int [total]."""
    labels = jnp.repeat(jnp.arange(counts.shape[0]), counts, total_repeat_length=total)
    return labels, jnp.arange(total) - (jnp.cumsum(counts) - counts)[labels]
