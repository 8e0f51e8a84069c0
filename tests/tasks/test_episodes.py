import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sib_jax
from sib_jax.tasks.draw import distinct, distinct_in_blocks
from sib_jax.tasks.without_forgetting import sample_evaluation


def _table(counts=(4, 6, 5, 9)):
    labels = np.repeat(np.arange(len(counts)), counts)
    rows = np.arange(len(labels))
    return sib_jax.feature_table(np.stack([rows, labels], 1).astype(np.float32), labels)


def test_every_ordered_choice_is_equally_likely():
    keys = jax.random.split(jax.random.key(0), 48_000)
    draws = jax.jit(jax.vmap(lambda k: distinct(k, 4, 3)))(keys)
    choices, counts = np.unique(np.asarray(draws), axis=0, return_counts=True)
    assert [tuple(c) for c in choices] == list(itertools.permutations(range(4), 3))
    # Chi-squared with 23 degrees of freedom; 49.7 is its 99.9% quantile.
    assert np.sum((counts - 2000) ** 2 / 2000) < 49.7


def test_drawing_all_gives_a_permutation():
    keys = jax.random.split(jax.random.key(0), 5)
    for drawn in jax.jit(jax.vmap(lambda k: distinct(k, 30, 30)))(keys):
        np.testing.assert_array_equal(np.sort(drawn), np.arange(30))


def test_an_episode_of_nothing_is_empty():
    episode = sib_jax.sample(jax.random.key(0), _table(), ways=3, shots=0, queries=0)
    assert episode.support.shape == episode.query.shape == (0, 2)


def test_draws_are_the_swaps_of_a_shuffle():
    """Against the shuffle itself, of a whole array; small blocks give long chains of swaps."""
    sizes, draws = np.array([6, 9, 40]), np.array([6, 7, 5])
    first = np.cumsum(sizes) - sizes
    block = np.random.default_rng(0).permutation(np.repeat(range(3), draws))
    order = np.array([np.sum(block[:i] == b) for i, b in enumerate(block)])
    draw = jax.jit(lambda key: distinct_in_blocks(key, first[block], sizes[block], order))
    for seed in range(40):
        key = jax.random.key(seed)
        shifts = jax.random.randint(key, (len(block),), order, sizes[block], jnp.int32)
        array = np.arange(sizes.sum())
        for place, target in zip(first[block] + order, first[block] + shifts, strict=True):
            array[[place, target]] = array[[target, place]]
        np.testing.assert_array_equal(draw(key), array[first[block] + order])


def test_an_episode_has_distinct_images_of_its_classes():
    table = _table()
    for seed in range(30):
        episode = sib_jax.sample(jax.random.key(seed), table, ways=3, shots=1, queries=3)
        assert episode.support.shape == (3, 2)
        assert episode.query.shape == (9, 2)
        classes = np.asarray(episode.support[:, 1])
        assert len(set(classes)) == 3
        np.testing.assert_array_equal(classes[episode.query_labels], episode.query[:, 1])
        rows = np.concatenate([episode.support[:, 0], episode.query[:, 0]])
        assert len(set(rows)) == 12


def test_every_image_and_class_is_drawn_as_often():
    table = _table((5, 5, 5))
    draw = lambda k: sib_jax.sample(k, table, ways=2, shots=1, queries=1)  # noqa: E731
    drawn = jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(1), 6000))
    for features in (drawn.support, drawn.query):
        counts = np.bincount(np.asarray(features[..., 0], int).ravel(), minlength=15)
        # Chi-squared with 14 degrees of freedom; 36.1 is its 99.9% quantile.
        assert np.sum((counts - 800) ** 2 / 800) < 36.1


def test_drawing_compiles_once_for_all_class_sizes():
    sizes = jax.jit(chex.assert_max_traces(lambda k, n: distinct(k, n, 3), 1))
    for size in (3, 10, 600):
        assert np.max(sizes(jax.random.key(0), size)) < size


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.uint64])
def test_labels_must_be_in_blocks(dtype):
    with pytest.raises(ValueError, match="ascend"):
        sib_jax.feature_table(np.zeros((3, 2)), np.array([0, 1, 0], dtype))


def test_labels_must_be_numbers_of_classes_one_for_each_image():
    with pytest.raises(ValueError, match=r"from 0, but the last is 10000000000000; np.unique\("):
        sib_jax.feature_table(np.zeros((2, 2)), np.array([0, 10**13]))
    with pytest.raises(
        ValueError, match=r"labels must be \[images\], one for each, got shape \(\)"
    ):
        sib_jax.feature_table(np.zeros((2, 2)), np.array(3))
    with pytest.raises(ValueError, match="3 features but 2 labels"):
        sib_jax.feature_table(np.zeros((3, 2)), np.array([0, 1]))


UNBALANCED = [("dirichlet:2", "balanced"), ("missing", "balanced"), ("dirichlet:0.5", "uneven")]


@pytest.mark.parametrize(("query_classes", "support_classes"), UNBALANCED)
def test_unbalanced_episodes_have_distinct_images_of_their_classes(query_classes, support_classes):
    table = _table((15, 18, 16, 19))

    @jax.jit
    @jax.vmap
    def draw(key):
        return sib_jax.sample(
            key,
            table,
            ways=3,
            shots=2,
            queries=3,
            query_classes=query_classes,
            support_classes=support_classes,
        )

    found = jax.tree.map(np.asarray, draw(jax.random.split(jax.random.key(0), 200)))
    kinds = set()
    for e in (sib_jax.Episode(*x, None) for x in zip(*found[:4], strict=True)):
        assert (len(e.support), len(e.query)) == (6, 9)
        classes = np.full(3, -1.0)
        classes[e.support_labels] = e.support[:, 1]
        assert len(set(classes) - {-1.0}) == 3  # each has an example
        np.testing.assert_array_equal(classes[e.support_labels], e.support[:, 1])
        np.testing.assert_array_equal(classes[e.query_labels], e.query[:, 1])
        assert len({*e.support[:, 0], *e.query[:, 0]}) == 15
        kinds.add((tuple(np.bincount(e.support_labels, minlength=3)), e.query_labels.tobytes()))
        if query_classes == "missing":
            assert sorted(np.bincount(e.query_labels, minlength=3)) == [0, 4, 5]
    assert len({k for k, _ in kinds}) == (1 if support_classes == "balanced" else 10)
    assert len(kinds) >= 3


@pytest.mark.parametrize("total", [1, 7])
def test_as_many_queries_in_all_as_asked_for(total):
    table, base = _table((9, 12, 10)), _table((30, 20))
    size = {"ways": 3, "shots": 2, "queries": 5, "total_queries": total}
    keys = jax.random.split(jax.random.key(0), 60)
    standard = jax.jit(jax.vmap(lambda k: sib_jax.sample(k, table, **size)))(keys)
    beside = jax.jit(jax.vmap(lambda k: sample_evaluation(k, table, base, **size)))(keys)
    for drawn, n in ((standard, total), (beside, 2 * total)):
        assert drawn.query_labels.shape == (60, n)
        numbers = np.asarray(drawn.query_labels)[:, :total]
        counts = np.stack([np.bincount(row, minlength=3) for row in numbers])
        assert counts.shape == (60, 3)
        assert (counts.max(1) - counts.min(1) <= 1).all()
        assert len(np.unique(counts, axis=0)) == 3  # any class may have one more, or one less
    in_base = np.asarray(beside.query_labels)[:, total:]
    assert ((in_base >= 3) & (in_base < 5)).all()


def test_unbalanced_images_are_drawn_as_often():
    table = _table((6, 6))
    draw = lambda k: sib_jax.sample(  # noqa: E731
        k, table, ways=2, shots=1, queries=2, query_classes="dirichlet:2"
    )
    drawn = jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(1), 6000))
    for features, expected in ((drawn.support, 1000), (drawn.query, 2000)):
        counts = np.bincount(np.asarray(features[..., 0], int).ravel(), minlength=12)
        # Chi-squared with 11 degrees of freedom; 31.3 is its 99.9% quantile. The numbers of queries
        # of the two classes vary, which adds to that.
        assert np.sum((counts - expected) ** 2 / expected) < 45


def test_a_parted_table_is_two_of_their_own_arrays():
    """Of which each holds some rows of the whole: the images that are drawn are the same."""
    counts, held = np.array([5, 8, 6]), np.array([2, 4, 1])
    labels = np.repeat(np.arange(3), counts)
    features = np.random.default_rng(0).normal(size=(19, 4)).astype(np.float32)
    is_held = np.concatenate([np.arange(n) >= n - h for n, h in zip(counts, held, strict=True)])
    parts = sib_jax.feature_table(features, labels).parted(held)
    for part, rows, queries in zip(parts, (~is_held, is_held), (2, 0), strict=True):
        own = sib_jax.feature_table(features[rows], labels[rows])
        assert part.smallest == own.smallest
        for seed in range(20):
            size = {"ways": 2, "shots": 1, "queries": queries}
            drawn = [sib_jax.sample(jax.random.key(seed), table, **size) for table in (part, own)]
            jax.tree.map(np.testing.assert_array_equal, *drawn)
