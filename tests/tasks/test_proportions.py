"""Shares of classes against the moments of the Dirichlet distribution, and rounding by hand."""

import itertools
import re

import jax
import numpy as np
import pytest

from sib_jax.tasks import proportions

DRAWS = 8000


@pytest.mark.parametrize("alpha", [0.5, 2.0])
def test_numbers_have_the_moments_of_a_dirichlet_distribution(alpha: float) -> None:
    keys = jax.random.split(jax.random.key(0), DRAWS)
    draw = jax.jit(jax.vmap(lambda key: proportions.counts(key, f"dirichlet:{alpha}", 5, 75)))
    found = np.asarray(draw(keys))
    assert (found.sum(1) == 75).all()
    assert (found >= 0).all()
    variance = 0.2 * 0.8 / (5 * alpha + 1)
    error = 75 * np.sqrt(variance / DRAWS)
    np.testing.assert_allclose(found.mean(0), 15, atol=4.5 * error)
    np.testing.assert_allclose(found.var(0), 75**2 * variance, rtol=0.08)
    covariance = np.cov(found.T)[~np.eye(5, dtype=bool)]
    np.testing.assert_allclose(covariance, -(75**2) * variance / 4, rtol=0.25)


def test_each_class_is_missing_as_often() -> None:
    keys = jax.random.split(jax.random.key(0), 2000)
    draw = jax.jit(jax.vmap(lambda key: proportions.counts(key, "missing", 4, 60)))
    found = np.asarray(draw(keys))
    assert {tuple(sorted(row)) for row in found} == {(0, 20, 20, 20)}
    np.testing.assert_allclose((found == 0).mean(0), 0.25, atol=0.04)


def test_the_largest_remainders_are_rounded_up() -> None:
    assert proportions.apportion(np.array([0.46, 0.34, 0.2]), 10).tolist() == [5, 3, 2]
    assert proportions.apportion(np.array([0.32, 0.34, 0.34]), 3).tolist() == [1, 1, 1]
    assert proportions.apportion(np.full(5, 0.2, np.float32), 75).tolist() == [15] * 5
    assert proportions.apportion(np.array([1.0, 0.0]), 7).tolist() == [7, 0]


@pytest.mark.parametrize("total", [1, 10, 12])
@pytest.mark.parametrize("shares", ["balanced", "missing", "dirichlet:2"])
def test_no_class_has_more_than_the_most(shares: str, total: int) -> None:
    keys = jax.random.split(jax.random.key(1), 200)
    found = jax.jit(jax.vmap(lambda key: proportions.counts(key, shares, 3, total)))(keys)
    assert np.max(found) <= proportions.most(shares, 3, total)


def test_what_cannot_be_shared_equally_falls_to_any_class() -> None:
    keys = jax.random.split(jax.random.key(2), 4000)
    draw = jax.jit(jax.vmap(lambda key: proportions.counts(key, "balanced", 4, 6)))
    found = np.asarray(draw(keys))
    assert {tuple(sorted(row)) for row in found} == {(1, 1, 2, 2)}
    np.testing.assert_allclose(found.mean(0), 1.5, atol=0.03)


@pytest.mark.parametrize(("classes", "each"), [(2, 1), (3, 2), (4, 3)])
def test_the_most_examples_of_a_class_are_those_of_all_ways_to_divide_them(
    classes: int, each: int
) -> None:
    total = classes * each
    divided = itertools.product(range(1, total + 1), repeat=classes)
    most = max(max(numbers) for numbers in divided if sum(numbers) == total)
    assert proportions.most_shots("uneven", classes, each) == most
    assert proportions.most_shots("balanced", classes, each) == each


@pytest.mark.parametrize("text", ["dirichlet:2", "dirichlet:0.5", "missing", "balanced"])
def test_what_may_be_written(text: str) -> None:
    assert re.fullmatch(proportions.PATTERN, text)


@pytest.mark.parametrize("text", ["dirichlet", "dirichlet:0", "dirichlet:0.0", "dirichlet:-1", ""])
def test_what_may_not_be_written(text: str) -> None:
    assert not re.fullmatch(proportions.PATTERN, text)
