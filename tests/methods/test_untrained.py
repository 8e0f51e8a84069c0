"""Methods without parameters take what users write, and refuse what has no answer."""

import jax
import numpy as np
import pytest

from sib_jax import Episode
from sib_jax.experiment.loading import untrained
from sib_jax.methods import METHODS

WAYS = 3


@pytest.fixture(params=untrained())
def method(request):
    entry = METHODS[request.param]
    return entry.make(entry.settings(), WAYS)


def episode(labels=(0, 1, 2, 0), queries=5):
    rng = np.random.default_rng(0)
    support, query = (rng.standard_normal((n, 8)).astype(np.float32) for n in (4, queries))
    return Episode(support, np.asarray(labels), query, np.zeros(queries, int))


def test_lists_are_taken_for_arrays(method):
    given = episode()
    lists = jax.tree.map(lambda array: array.tolist(), given)
    key = jax.random.key(0)
    np.testing.assert_array_equal(method.logits({}, lists, key), method.logits({}, given, key))


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ((1, 2, 3, 1), ValueError, r"must lie in 0\.\.2 for ways=3, got 1\.\.3"),
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
