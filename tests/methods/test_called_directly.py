"""Methods called directly take what users write, and refuse what has no answer."""

import functools

import jax
import numpy as np
import pytest

from sib_jax import Episode
from sib_jax.experiment.loading import untrained
from sib_jax.methods import METHODS, Classes

WAYS = 3


TRAINED = ("prototypical", "matching", "sib_plus", "weight_generator", "snail", "anil", "meta_lstm")
ON_IMAGES = {
    "maml": {"steps": 1, "test_steps": 1, "filters": 2, "blocks": 2},
    "meta_lstm": {"learner": "conv", "steps": 1, "filters": 2, "blocks": 2},
    "prototypical": {"end_to_end": True},
}


@functools.cache
def made(name):
    """A method, and parameters as it starts."""
    entry = METHODS[name]
    method = entry.make(entry.settings(), WAYS)
    classes = Classes((8,), 4, np.eye(4, 8, dtype=np.float32))
    return method, jax.jit(lambda key: method.init(key, classes))(jax.random.key(1))


@pytest.fixture(params=[*untrained(), *TRAINED])
def logits(request):
    """(episode) -> logits of one method."""
    method, params = made(request.param)
    return lambda given: method.logits(params, given, jax.random.key(0))


def episode(labels=(0, 1, 2, 0), queries=5):
    rng = np.random.default_rng(0)
    support, query = (rng.standard_normal((n, 8)).astype(np.float32) for n in (4, queries))
    return Episode(support, np.asarray(labels), query, np.zeros(queries, int))


def test_lists_are_arrays_and_labels_of_queries_need_not_be_known(logits):
    """The values are known, as outside jit, which would only make a program of each operation."""
    given = episode()
    unlabelled = Episode(*(array.tolist() for array in given[:3]))
    found, wanted = jax.jit(lambda: [logits(e) for e in (unlabelled, given)])()
    np.testing.assert_array_equal(found, wanted)


@pytest.fixture(params=ON_IMAGES)
def logits_of_images(request):
    """(episode) -> logits of one method that reads images; parameters are traced."""
    entry = METHODS[request.param]
    method = entry.make(entry.settings(**ON_IMAGES[request.param]), WAYS)
    assert method.reads == "images"
    key, classes = jax.random.key(1), Classes((16, 16, 1), 4)
    params = jax.eval_shape(lambda: method.init(key, classes))
    return lambda given: jax.eval_shape(lambda p: method.logits(p, given, key), params)


def of_images():
    given = episode()
    rng = np.random.default_rng(0)
    support, query = (rng.integers(0, 256, (n, 16, 16, 1), np.uint8) for n in (4, 5))
    return given._replace(support=support, query=query)


def test_methods_on_images_refuse_what_has_no_answer(logits_of_images):
    given = of_images()
    assert logits_of_images(given).shape == (5, WAYS)
    with pytest.raises(ValueError, match="without an example: 1"):
        logits_of_images(given._replace(support_labels=[0, 2, 2, 0]))
    with pytest.raises(ValueError, match=r"query must be \[n, height, width, channels\]"):
        logits_of_images(given._replace(query=given.query[0]))
    with pytest.raises(TypeError, match=r"must be a sib_jax\.Episode\(.*; got tuple"):
        logits_of_images(tuple(given))


def test_a_tuple_is_no_episode(logits):
    with pytest.raises(TypeError, match=r"must be a sib_jax\.Episode\(.*; got tuple"):
        logits(tuple(episode()))


def test_a_class_without_an_example_is_refused_by_all(logits):
    with pytest.raises(ValueError, match="without an example: 1"):
        logits(episode((0, 2, 2, 0)))


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ((1, 2, 3, 1), ValueError, r"must be in 0\.\.2 for ways=3, got 1\.\.3"),
        ((0, 2, 2, 0), ValueError, r"holds 2 of the 3 classes of ways=3; without an example: 1"),
        ((0.0, 1.0, 2.0, 0.0), TypeError, "must be integers"),
        ((0, 1, 2), ValueError, "must be one label for each of 4 rows"),
    ],
)
def test_labels_that_are_none_are_refused(labels, error, message):
    soft = METHODS["soft_kmeans"].make(METHODS["soft_kmeans"].settings(), WAYS)
    with pytest.raises(error, match=f"support_labels {message}"):
        soft.logits({}, episode(labels), jax.random.key(0))


def test_queries_of_another_length_are_refused():
    soft = METHODS["soft_kmeans"].make(METHODS["soft_kmeans"].settings(), WAYS)
    given = episode()
    with pytest.raises(ValueError, match="query has features of length 7"):
        soft.logits({}, given._replace(query=given.query[:, :7]), jax.random.key(0))
