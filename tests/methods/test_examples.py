"""Combinations of an episode's examples, by their inner products and as vectors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export as jax_export

from sib_jax.methods import bd_cspn, pt_map, simple_shot, sinkhorn_kmeans, soft_kmeans
from sib_jax.methods.parts import distances, examples

LABELS = np.asarray([0, 2, 1, 0])


def _vectors(count=12, features=16):
    return np.random.default_rng(0).normal(size=(count, features)).astype(np.float32)


@pytest.fixture(params=["products", "vectors"])
def form(request, monkeypatch):
    if request.param == "vectors":
        monkeypatch.setattr(examples, "_RATE", 0)
    return request.param


def test_points_are_the_combinations_written_out(form):
    vectors = _vectors()
    weights = np.random.default_rng(1).normal(size=(3, 12)).astype(np.float32)
    found = examples.prepare(vectors, ways=3, passes=1)
    assert (found.products is None) == (form == "vectors")
    points, want = found.combined(weights), weights @ vectors
    inner, squares = found.inner(points)
    np.testing.assert_allclose(inner, want @ vectors.T, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(squares, (want**2).sum(1), rtol=1e-4)
    lengths = np.linalg.norm(want, axis=1)[:, None] * np.linalg.norm(vectors, axis=1)
    np.testing.assert_allclose(found.cosines(points), want @ vectors.T / lengths, atol=1e-5)
    distances = ((want[:, None] - vectors[None]) ** 2).sum(-1)
    np.testing.assert_allclose(found.squared_distances(points), distances, rtol=1e-4, atol=1e-4)


def test_weights_of_class_means():
    vectors = _vectors()
    weights = examples.mean_weights(examples.prepare(vectors, ways=4, passes=1), LABELS, 4)
    want = [vectors[:4][k == LABELS].mean(0) for k in range(3)] + [np.zeros(16)]
    np.testing.assert_allclose(weights @ vectors, want, rtol=1e-5, atol=1e-6)


def test_products_are_made_where_examples_are_few():
    def made(count, features, ways, passes):
        vectors = jax.ShapeDtypeStruct((count, features), jnp.float32)
        found = jax.eval_shape(lambda x: examples.prepare(x, ways=ways, passes=passes), vectors)
        return found.products is not None

    assert made(80, 640, 5, 4)
    assert not made(80, 64, 5, 4)  # vectors are shorter than a row of products
    assert not made(10_000, 20_000, 5, 21)  # the products alone would be 400 MB


def test_points_of_no_length_have_cosines_that_are_finite(form):
    vectors = _vectors()
    vectors[5] = 0
    vectors[7] = -vectors[6]
    found = examples.prepare(vectors, ways=3, passes=1)
    weights = np.zeros((3, 12), np.float32)
    weights[1, 6:8] = 1  # they cancel
    weights[2, 0] = 1
    cosines = np.asarray(found.cosines(found.combined(weights)))
    assert np.all(np.abs(cosines) <= 1 + 1e-5)
    np.testing.assert_array_equal(cosines[0], 0)
    np.testing.assert_array_equal(cosines[:, 5], 0)
    assert cosines[2, 0] == pytest.approx(1)


METHODS = {
    "soft_kmeans": (soft_kmeans, soft_kmeans.Settings()),
    "euclidean": (soft_kmeans, soft_kmeans.Settings(distance="euclidean", scale=0.1)),
    "sinkhorn_kmeans": (sinkhorn_kmeans, sinkhorn_kmeans.Settings()),
    "bd_cspn": (bd_cspn, bd_cspn.Settings()),
    "pt_map": (pt_map, pt_map.Settings()),
}


@pytest.mark.parametrize("name", METHODS)
def test_methods_answer_alike_in_both_forms(name, monkeypatch):
    method, settings = METHODS[name]
    vectors = _vectors(40, 64) + _vectors(1, 64)
    given = vectors[:4], LABELS, vectors[4:]

    def run():
        return jax.jit(lambda *e: method.logits(settings, *e, ways=3))(*given)

    by_products = run()
    monkeypatch.setattr(examples, "_RATE", 0)
    by_vectors = run()
    np.testing.assert_allclose(by_products, by_vectors, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", [simple_shot, soft_kmeans, bd_cspn])
def test_one_program_can_be_exported_for_any_number_of_examples(method):
    support, query = jax_export.symbolic_shape("m, n")
    shapes = (support, 64), (support,), (query, 64)
    types = jnp.float32, jnp.int32, jnp.float32
    given = [jax.ShapeDtypeStruct(*of) for of in zip(shapes, types, strict=True)]
    logits = functools.partial(method.logits, method.Settings(), ways=3)
    exported = jax_export.export(jax.jit(logits))(*given)
    vectors = _vectors(40, 64)
    found = exported.call(vectors[:4], LABELS.astype(np.int32), vectors[4:])
    want = jax.jit(logits)(vectors[:4], LABELS, vectors[4:])
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-4)


def test_squares_of_half_precision_do_not_overflow():
    long, short = jnp.full((1, 640), 30, jnp.float16), jnp.full((1, 640), 29, jnp.float16)
    np.testing.assert_allclose(distances.squared_distances(long, short), [[640]], rtol=1e-3)
    given = examples.prepare(jnp.concatenate([long, short]), ways=1, passes=1)
    found = given.squared_distances(jnp.asarray([[1.0, 0.0]]))
    np.testing.assert_allclose(found, [[0, 640]], rtol=1e-3)
