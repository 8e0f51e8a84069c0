"""Balanced assignments against Sinkhorn's iteration written out, in float64 and in logarithms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sib_jax.methods.parts.transport import balanced


def _written_out(scores: np.ndarray, iterations: int) -> np.ndarray:
    found = scores.astype(np.float64)
    found -= np.logaddexp.reduce(found, axis=1, keepdims=True)
    for _ in range(iterations):
        found -= np.logaddexp.reduce(found, axis=1, keepdims=True)
        found -= np.logaddexp.reduce(found, axis=0, keepdims=True)
        found += np.log(scores.shape[0] / scores.shape[1])
    return found


_compiled = jax.jit(balanced, static_argnums=1)


@pytest.mark.parametrize("iterations", [0, 1, 7, 11, 12, 31, 100])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0, 1000.0])
def test_as_written_out(scale: float, iterations: int) -> None:
    scores = (scale * np.random.default_rng(0).standard_normal((23, 5))).astype(np.float32)
    found = np.asarray(_compiled(jnp.asarray(scores), iterations))
    expected = _written_out(scores, iterations)
    np.testing.assert_allclose(_exp(found), _exp(expected), rtol=2e-3, atol=2e-5)
    np.testing.assert_allclose(found, expected, atol=2e-5 * max(scale, 1), rtol=2e-5)


def test_a_class_that_no_query_is_near_gets_its_share() -> None:
    far = np.zeros((4, 2), np.float32)
    far[:, 1] = -1000, -900, -800, -700
    found = np.asarray(_compiled(jnp.asarray(far), 2000))
    np.testing.assert_allclose(np.exp(found).sum(0), 2, rtol=1e-5)
    np.testing.assert_allclose(np.exp(found), _exp(_written_out(far, 2000)), atol=1e-4)
    assert np.exp(found)[2:, 1].sum() > 1.9


def test_gradients_are_finite_where_entries_vanish() -> None:
    scores = jnp.asarray(200 * np.random.default_rng(1).standard_normal((9, 3)), jnp.float32)
    weights = jnp.asarray(np.random.default_rng(2).standard_normal((9, 3)), jnp.float32)
    found = jax.jit(jax.grad(lambda s: jnp.sum(weights * jnp.exp(balanced(s, 50)))))(scores)
    assert np.isfinite(found).all()


def _exp(log: np.ndarray) -> np.ndarray:
    return np.exp(np.minimum(log, 10))
