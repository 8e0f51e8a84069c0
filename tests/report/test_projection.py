"""The plane of an episode's picture, against what principal components are."""

import numpy as np
import pytest

from sib_jax.report.projection import plane


def test_it_holds_as_much_of_the_variance_as_a_plane_can():
    points = np.random.default_rng(0).normal(size=(30, 6)) * [1, 5, 2, 1, 3, 1]
    found = plane({"query": points, "path": points[:2, None]})
    centred = points - points.mean(axis=0)
    variances = np.linalg.eigvalsh(centred.T @ centred)[::-1]
    np.testing.assert_allclose(np.sum(found["query_2d"] ** 2, axis=0), variances[:2])
    np.testing.assert_allclose(found["explained"], variances[:2] / variances.sum())
    np.testing.assert_allclose(found["path_2d"][:, 0], found["query_2d"][:2])


@pytest.mark.parametrize("shape", [(7, 1), (1, 3), (1, 1)])
def test_where_less_than_a_plane_varies(shape):
    points = np.random.default_rng(0).normal(size=shape)
    found = plane({"query": points, "path": points[None]})
    assert found["path_2d"].shape == (1, shape[0], 2)
    distances = np.abs(points[:, None] - points[None]).sum(axis=2)
    drawn = found["query_2d"][:, None] - found["query_2d"][None]
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=2), distances, atol=1e-12)
    assert found["explained"][1] == 0
