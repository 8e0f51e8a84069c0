"""Methods trained from images: the method on the features of these images, learned along."""

import jax
import numpy as np
import pytest

from sib_jax import backbones
from sib_jax.methods import METHODS, Classes
from sib_jax.methods.parts import end_to_end
from sib_jax.tasks.episode import Episode

SHAPE = (16, 16, 1)


@pytest.fixture(scope="module")
def episode():
    rng = np.random.default_rng(0)
    support, query = (rng.integers(0, 256, (n, *SHAPE)).astype(np.uint8) for n in (3, 4))
    return Episode(support, np.arange(3), query, np.asarray([0, 1, 2, 0]))


def method_of(name):
    return METHODS[name].make(METHODS[name].settings(end_to_end=True), 3)


def init(method):
    return jax.jit(method.init, static_argnums=1)(jax.random.key(0), Classes(SHAPE, 6))


def test_it_is_the_method_on_features_of_the_episodes_images(episode):
    method = method_of("prototypical")
    assert (method.name, method.reads) == ("prototypical end to end", "images")
    params = init(method)
    backbone = backbones.make("conv4_64", image_size=16, channels=1)
    variables = {**backbone.init(jax.random.key(1)), "params": params.network}
    images = np.concatenate([episode.support, episode.query]) / np.float32(255)
    features, _ = jax.jit(backbone.apply_train)(variables, images)
    features, scale = np.asarray(features), float(params.head.scale)
    wanted = -scale * np.square(features[3:, None] - features[:3]).mean(2)  # one shot
    found = jax.jit(method.logits)(params, episode, jax.random.key(2))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["prototypical", "matching", "anil", "snail"])
def test_it_is_a_setting_of_several(name):
    settings = METHODS[name].settings
    assert METHODS[name].make(settings(), 3).reads == "features"
    assert method_of(name).reads == "images"


@pytest.mark.parametrize("name", ["prototypical", "anil"])
def test_every_parameter_learns(name, episode):
    method = method_of(name)
    params = init(method)
    gradient = jax.jit(jax.grad(lambda p: method.loss(p, episode, jax.random.key(1))[0]))(params)
    assert isinstance(params, end_to_end.EndToEnd)
    for leaf in jax.tree.leaves(gradient.network):
        assert np.isfinite(leaf).all()
        assert np.abs(leaf).max() > 0
