"""Calibration against a brute-force version in NumPy."""

import itertools

import jax
import numpy as np
import pytest

from sib_jax.tasks import calibration

_reliability = jax.jit(calibration.reliability)
_nll = jax.jit(calibration.negative_log_likelihood)
_temperature = jax.jit(calibration.temperature)


def _brute_force(probabilities: np.ndarray, labels: np.ndarray) -> float:
    sure, right = probabilities.max(1), probabilities.argmax(1) == labels
    error = 0.0
    edges = np.linspace(0, 1, calibration.BINS + 1)
    for low, high in itertools.pairwise(edges):
        here = (sure > low) & (sure <= high)
        if here.any():
            error += here.mean() * abs(right[here].mean() - sure[here].mean())
    return error


def test_expected_calibration_error_and_likelihood_are_the_definitions() -> None:
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(500, 5)) * 2, random.integers(0, 5, 500)
    bins = np.asarray(_reliability(logits, labels))
    probabilities = np.exp(logits - logits.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    wanted = _brute_force(probabilities, labels)
    assert float(calibration.expected_calibration_error(bins)) == pytest.approx(wanted, abs=1e-6)
    nll = -np.log(probabilities[np.arange(500), labels]).mean()
    found = _nll(logits, labels)
    assert float(found) == pytest.approx(nll, rel=1e-5)


def test_certain_answers_fall_into_the_last_bin_and_sums_add_up() -> None:
    logits = np.array([[100.0, 0.0], [0.0, 100.0], [0.0, 0.0]])
    bins = np.asarray(_reliability(logits, np.array([0, 0, 1])))
    assert bins[-1].tolist() == [2, 2, 1]
    assert bins[:, 0].sum() == 3
    halves = _reliability(logits[:1], np.array([0])), _reliability(logits[1:], np.array([0, 1]))
    np.testing.assert_allclose(np.add(*halves), bins)


@pytest.mark.parametrize("scale", [0.05, 1.0, 40.0])
def test_the_temperature_is_where_a_fine_grid_has_the_least_nll(scale: float) -> None:
    random = np.random.default_rng(1)
    labels = random.integers(0, 5, 400)
    logits = scale * (random.normal(size=(400, 5)) + 1.5 * np.eye(5)[labels])

    def nll(temperature: float) -> float:
        scaled = (logits - logits.max(1, keepdims=True)) / temperature
        return float(np.mean(np.log(np.exp(scaled).sum(1)) - scaled[np.arange(400), labels]))

    found = float(_temperature(logits.astype(np.float32), labels))
    grid = np.geomspace(0.01, 100, 2001)
    best = grid[np.argmin([nll(t) for t in grid])]
    assert found == pytest.approx(best, rel=0.005)
    assert nll(found) <= min(map(nll, grid)) + 1e-6


def test_answers_always_right_are_made_certain_and_always_wrong_ones_uncertain() -> None:
    logits = np.eye(3, dtype=np.float32)
    right = _temperature(logits, np.arange(3))
    assert float(_nll(logits / np.asarray(right), np.arange(3))) < 1e-6
    assert float(_temperature(logits, np.array([1, 2, 0]))) > 500


@pytest.mark.parametrize("seed", range(8))
def test_the_offset_has_the_most_right_answers_of_all(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 5, 30)
    logits = (3 * np.eye(5)[labels] + random.normal(size=(30, 5))).astype(np.float32)
    logits[:, :2] += random.normal() * 4  # columns 0 and 1 are the novel classes

    def right(offset: float) -> int:
        moved = logits + offset * (np.arange(5) < 2)
        return int((moved.argmax(1) == labels).sum())

    found = calibration.novel_offset(logits, labels, 2)
    grid = np.linspace(-20, 20, 40001)
    assert right(found) == max(map(right, grid))


def test_the_offset_is_the_middle_of_all_that_are_best() -> None:
    """Offsets of 1 to 9 are best; a query that is wrong on both sides changes sides at 1.2."""
    gaps, labels = np.asarray([1, 9, 1.2]), np.asarray([0, 2, 1])
    logits = np.stack([0 * gaps, -9 + 0 * gaps, gaps], axis=1).astype(np.float32)
    assert calibration.novel_offset(logits, labels, 2) == 5


def test_a_tie_is_the_novel_class_s_already() -> None:
    """At an offset of 0 the first of two equal logits is taken."""
    logits = np.asarray([[0, -9, 0], [0, -9, 3]], np.float32)
    assert calibration.novel_offset(logits, np.asarray([0, 2]), 2) == 0


def test_no_offset_where_none_is_better() -> None:
    assert calibration.novel_offset(10 * np.eye(4, dtype=np.float32), np.arange(4), 2) == 0
