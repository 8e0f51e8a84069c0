"""Learning without forgetting: what an episode holds, and what is measured in it."""

import jax
import numpy as np
import pytest

from sib_jax.tasks import without_forgetting
from sib_jax.tasks.accuracy import accuracies
from sib_jax.tasks.table import feature_table

CLASSES, IMAGES, FEATURES, WAYS, SHOTS, QUERIES = 8, 12, 6, 3, 2, 4
SIZE = {"ways": WAYS, "shots": SHOTS, "queries": QUERIES}


@pytest.fixture
def table():
    """The features of an image say its class and its place: [class, image, noise ...]."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), IMAGES)
    features = rng.standard_normal((len(labels), FEATURES)).astype(np.float32)
    features[:, 0], features[:, 1] = labels, np.tile(np.arange(IMAGES), CLASSES)
    return feature_table(features, labels)


def _drawn(table, seed=0):
    return without_forgetting.sample_training(jax.random.key(seed), table, **SIZE)


def test_pretended_novel_classes_are_no_base_classes_of_their_episode(table):
    for seed in range(20):
        episode = _drawn(table, seed)
        novel = set(np.asarray(episode.support[:, 0], int))
        base = np.asarray(episode.base)
        assert len(novel) == WAYS
        assert novel.isdisjoint(base)
        assert novel | set(base) == set(range(CLASSES))


def test_labels_say_which_class_a_query_is_of(table):
    episode = _drawn(table)
    novel = np.asarray(episode.support[::SHOTS, 0], int)  # the class behind each label
    of_label = np.concatenate([novel, np.asarray(episode.base)])
    np.testing.assert_array_equal(of_label[episode.query_labels], episode.query[:, 0])
    assert np.sum(episode.query_labels < WAYS) == WAYS * QUERIES
    assert np.sum(episode.query_labels >= WAYS) == WAYS * QUERIES


def test_no_image_is_drawn_twice(table):
    for seed in range(20):
        episode = _drawn(table, seed)
        images = np.concatenate([episode.support, episode.query])[:, :2]
        assert len(np.unique(images, axis=0)) == len(images)


def test_base_queries_are_drawn_evenly_from_all_base_images(table):
    keys = jax.random.split(jax.random.key(3), 400)
    draw = lambda key: without_forgetting.sample_evaluation(key, table, table, **SIZE)  # noqa: E731
    drawn = jax.jit(jax.vmap(draw))(keys)
    base = np.asarray(drawn.query)[:, WAYS * QUERIES :, :2].reshape(-1, 2).astype(int)
    counts = np.zeros((CLASSES, IMAGES))
    np.add.at(counts, (base[:, 0], base[:, 1]), 1)
    expected = len(base) / counts.size  # 50 an image, so a standard deviation of 7
    assert np.all(np.abs(counts - expected) < 5 * np.sqrt(expected))


def test_accuracies_are_those_counted_by_hand():
    rng = np.random.default_rng(1)
    logits = rng.standard_normal((40, WAYS + 5)).astype(np.float32)
    labels = rng.integers(0, WAYS + 5, 40)
    correct = {"novel": [], "base": [], "both": []}
    for scores, label in zip(logits, labels, strict=True):
        correct["both"].append(np.argmax(scores) == label)
        if label < WAYS:
            correct["novel"].append(np.argmax(scores[:WAYS]) == label)
        else:
            correct["base"].append(np.argmax(scores[WAYS:]) == label - WAYS)
    found = accuracies(logits, labels, WAYS)
    assert found.keys() == correct.keys()
    for name, expected in correct.items():
        np.testing.assert_allclose(found[name], np.mean(expected), atol=1e-6)


def test_without_base_classes_there_is_one_accuracy():
    found = accuracies(np.eye(WAYS, dtype=np.float32), np.array([0, 1, 1]), WAYS)
    assert found.keys() == {"novel"}
    np.testing.assert_allclose(found["novel"], 2 / 3)


@pytest.mark.parametrize("jitted", [False, True])
def test_too_few_base_images_are_told(table, jitted):
    few = feature_table(np.ones((5, FEATURES), np.float32), np.arange(5))

    def draw(key):
        return without_forgetting.sample_evaluation(key, table, few, **SIZE)

    with pytest.raises(ValueError, match=r"12 queries of base classes, .* only 5 images"):
        (jax.jit(draw) if jitted else draw)(jax.random.key(0))
    # Of two other classes the smallest have 5 images each.
    larger = feature_table(
        np.ones((60, FEATURES), np.float32), np.repeat(np.arange(5), [5, 20, 5, 20, 10])
    )
    with pytest.raises(ValueError, match=r"12 queries of base classes, .* only 10 images"):
        without_forgetting.sample_training(jax.random.key(0), larger, ways=WAYS, shots=1, queries=4)


def test_some_classes_must_stay_base(table):
    with pytest.raises(ValueError, match="ways is 8, but must be below 8"):
        without_forgetting.sample_training(jax.random.key(0), table, **SIZE | {"ways": CLASSES})


@pytest.mark.parametrize(
    ("ways", "message"), [(CLASSES + 1, "1 to 8, the table's"), (0, "least 1")]
)
def test_more_classes_than_there_are_cannot_be_novel(table, ways, message):
    with pytest.raises(ValueError, match=message):
        without_forgetting.sample_evaluation(
            jax.random.key(0), table, table, ways=ways, shots=1, queries=1
        )
