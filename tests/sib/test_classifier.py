import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sib_jax.sib import classifier
from sib_jax.sib.classifier import Cosine, Dot


def test_cosine_ignores_lengths_and_is_scaled_and_shifted():
    weights = jnp.asarray([[3.0, 0.0], [0.0, 0.1]])
    features = jnp.asarray([[2.0, 0.0], [1.0, 1.0]])
    found = classifier.logits(Cosine(jnp.asarray(10.0), jnp.asarray(0.5)), weights, features)
    half = 1 / np.sqrt(2)
    np.testing.assert_allclose(found, [[15, 5], [10 * (0.5 + half)] * 2], rtol=1e-6)


def test_dot_product():
    weights = jnp.asarray([[3.0, 0.0], [0.0, 0.1]])
    features = jnp.asarray([[2.0, 5.0]])
    found = classifier.logits(Dot(jnp.asarray(2.0), jnp.asarray(1.0)), weights, features)
    np.testing.assert_allclose(found, [[14, 3]], rtol=1e-6)


def test_a_zero_vector_gives_finite_logits_and_gradients():
    def total(weights):
        features = jnp.asarray([[0.0, 0.0], [1.0, 0.0]])
        return jnp.sum(classifier.logits(classifier.init(), weights, features))

    value, gradient = jax.value_and_grad(total)(jnp.zeros((3, 2)))
    assert jnp.isfinite(value)
    assert jnp.all(jnp.isfinite(gradient))


def test_unknown_form_is_named():
    with pytest.raises(ValueError, match=r"'euclid'.*'cosine' and 'dot'"):
        classifier.init("euclid")
