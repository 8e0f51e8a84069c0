import jax
import numpy as np
import pytest

from sib_jax.backbones import augment, preprocess
from sib_jax.backbones.preprocess import Preprocessing

IDENTITY = Preprocessing(8, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)


train = jax.jit(augment.train, static_argnums=2, static_argnames=("padding", "flip", "jitter"))


def augmented(images, crop=8, seed=0, padding=0, flip=False, jitter=0.0):
    preprocessing = IDENTITY._replace(crop=crop)
    options = {"padding": padding, "flip": flip, "jitter": jitter}
    return np.asarray(train(jax.random.key(seed), images, preprocessing, **options))


def test_evaluation_takes_the_centre_and_normalises(images):
    preprocessing = Preprocessing(4, (0.1, 0.2, 0.3), (0.5, 0.25, 2.0))
    found = preprocess.central_crop(images, preprocessing)
    wanted = (images[:, 2:6, 2:6] / 255 - [0.1, 0.2, 0.3]) / [0.5, 0.25, 2.0]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_evaluation_pads_a_small_image_with_black(images):
    found = np.asarray(preprocess.central_crop(images, IDENTITY._replace(crop=10)))
    np.testing.assert_allclose(found[:, 1:9, 1:9], images / 255, atol=1e-6)
    assert np.all(found[:, 0] == 0)


def test_fit_finds_mean_and_std(images):
    found = preprocess.fit(images, 8)
    np.testing.assert_allclose(found.mean, (images / 255).mean((0, 1, 2)), atol=1e-5)
    np.testing.assert_allclose(found.std, (images / 255).std((0, 1, 2)), atol=1e-5)


def test_without_augmentation_training_sees_the_image(images):
    np.testing.assert_allclose(augmented(images), images / 255, atol=1e-6)


def test_a_crop_is_a_window_of_the_padded_image(images):
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0))) / 255
    places = set()
    for seed in range(20):
        for image, whole in zip(augmented(images, padding=2, seed=seed), padded, strict=True):
            windows = [
                (y, x)
                for y in range(5)
                for x in range(5)
                if np.allclose(whole[y : y + 8, x : x + 8], image, atol=1e-6)
            ]
            assert len(windows) == 1
            places.add(windows[0])
    assert len(places) == 25  # every window is drawn in 100 images


def test_half_of_the_images_are_mirrored():
    images = np.random.default_rng(1).integers(0, 256, (400, 8, 8, 3), np.uint8)
    found = augmented(images, flip=True)
    kept = np.isclose(found, images / 255, atol=1e-6).all((1, 2, 3))
    mirrored = np.isclose(found, images[:, :, ::-1] / 255, atol=1e-6).all((1, 2, 3))
    assert np.all(kept ^ mirrored)
    assert 140 < kept.sum() < 260  # 6 standard deviations


def test_jitter_keeps_the_range_and_changes_the_colours(images):
    found = augmented(images, jitter=0.4)
    assert found.min() >= 0
    assert found.max() <= 1
    assert np.abs(found - images / 255).max(axis=(1, 2, 3)).min() > 0.01


def test_jitter_of_a_gray_image_keeps_it_gray():
    gray = np.full((3, 8, 8, 3), 100, np.uint8)
    found = augmented(gray, jitter=0.4)
    np.testing.assert_allclose(found, found[:, :1, :1, :1] * np.ones_like(found), atol=1e-6)


def test_augmentation_is_a_function_of_the_key(images):
    options = {"padding": 2, "flip": True, "jitter": 0.4}
    np.testing.assert_array_equal(augmented(images, **options), augmented(images, **options))
    assert not np.allclose(augmented(images, **options), augmented(images, seed=1, **options))
