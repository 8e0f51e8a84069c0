import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from sib_jax import backbones, pytorch
from sib_jax.backbones import Backbone, pretrained
from sib_jax.backbones.layers import BatchNorm
from sib_jax.backbones.preprocess import Preprocessing
from sib_jax.official import names as official_names

HERE = pathlib.Path(__file__).parents[1] / "parity"


def load(name):
    """Images [b, h, w, c], features and parameters that the official code gave."""
    path = HERE / f"{name}.npz"
    if not path.exists():
        folder = os.environ.get("SIB_JAX_PARITY")
        if folder is None or not (path := pathlib.Path(folder) / f"{name}.npz").exists():
            pytest.skip(f"{name}.npz is not in the folder named by SIB_JAX_PARITY")
    with np.load(path) as arrays:
        state = {k.removeprefix("param/"): arrays[k] for k in arrays.files if k.startswith("param")}
        return arrays["images_nchw"].transpose(0, 2, 3, 1), arrays["features"], state


@pytest.mark.parametrize(
    ("file", "name", "image_size"),
    [
        ("conv4_80", "conv4_64", 80),
        ("wrn16_2_80", "wrn_16_2", 80),
        ("wrn16_2_32_cifar", "wrn_16_2", 32),
    ],
)
def test_features_equal_the_official_ones(file, name, image_size):
    images, features, state = load(file)
    assert official_names.infer_backbone(state) == name
    backbone = backbones.make(name, image_size=image_size)
    variables = official_names.variables_from_official(backbone, state)
    got = jax.jit(backbone.apply)(variables, images)
    np.testing.assert_allclose(got, features, rtol=1e-5, atol=2e-6 * np.abs(features).max())


@pytest.mark.parametrize(
    ("name", "image_size", "channels", "features"),
    [
        ("conv4_64", 80, 3, 1600),
        ("conv4_64", 28, 1, 64),
        ("conv4_64", 84, 3, 1600),
        ("conv4_128", 32, 1, 512),
        ("wrn_28_10", 84, 3, 640),
        ("wrn_16_2", 32, 1, 128),
    ],
)
def test_shapes(name, image_size, channels, features):
    backbone = backbones.make(name, image_size=image_size, channels=channels)
    variables = jax.eval_shape(backbone.init, jax.random.key(0))
    images = jax.ShapeDtypeStruct((2, image_size, image_size, channels), jnp.float32)
    assert backbone.features == features
    assert jax.eval_shape(backbone.apply, variables, images).shape == (2, features)
    trained, stats = jax.eval_shape(backbone.apply_train, variables, images)
    assert trained.shape == (2, features)
    assert stats == variables["batch_stats"]


def test_both_forms_of_the_wide_residual_network():
    def resolution(**settings):
        backbone = backbones.make("wrn_10_2", **settings)
        variables = jax.eval_shape(backbone.init, jax.random.key(0))
        images = jnp.zeros((1, *[settings["image_size"]] * 2, 3))

        def group1(variables, images):
            _, seen = backbone.module.apply(variables, images, capture_intermediates=True)
            return seen["intermediates"]["block1_0"]["__call__"][0]

        return jax.eval_shape(group1, variables, images).shape[1]

    assert resolution(image_size=80) == 40
    assert resolution(image_size=32) == 32
    assert resolution(image_size=32, first_stride=2) == 16


def test_initialization():
    backbone = backbones.make("conv4_64", image_size=32)
    variables = backbone.init(jax.random.key(0))
    kernel = variables["params"]["conv_1"]["kernel"]
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / (9 * 64)), rtol=0.02)
    np.testing.assert_array_equal(variables["params"]["batch_norm_1"]["scale"], 1)
    np.testing.assert_array_equal(variables["params"]["batch_norm_1"]["bias"], 0)


def test_final_relu():
    settings = {"image_size": 16, "channels": 1}
    images = jax.random.normal(jax.random.key(1), (4, 16, 16, 1))
    with_relu = backbones.make("conv4_64", **settings)
    without = backbones.make("conv4_64", final_relu=False, **settings)
    variables = with_relu.init(jax.random.key(0))
    features, _ = jax.jit(without.apply_train)(variables, images)
    rectified, _ = jax.jit(with_relu.apply_train)(variables, images)
    assert features.min() < 0
    np.testing.assert_allclose(rectified, np.maximum(features, 0), rtol=1e-5, atol=1e-5)


def plain_block(x, kernel, scale, bias):
    """Convolution, batch normalization, ReLU, pooling, in the order of the definition."""
    y = jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    mean, var = y.mean((0, 1, 2), keepdims=True), y.var((0, 1, 2), keepdims=True)
    y = (y - mean) / jnp.sqrt(var + 1e-5) * scale[None, None, None] + bias[None, None, None]
    window = (1, 2, 2, 1)
    return jax.lax.reduce_window(jax.nn.relu(y), -jnp.inf, jax.lax.max, window, window, "VALID")


def test_training_equals_the_plain_definition_in_value_and_gradient():
    """With scales of both signs: pooling ahead of batch normalization minds the sign."""
    backbone = backbones.make("conv4_64", image_size=20, channels=2)
    variables = backbone.init(jax.random.key(0))
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.standard_normal(shape).astype(np.float32)  # noqa: E731
    params = jax.tree.map(
        lambda a: np.asarray(a) + (0.5 * draw(*a.shape) if a.ndim == 1 else 0), variables["params"]
    )
    params["batch_norm_0"]["scale"][::3] *= -1
    images, target = draw(6, 20, 20, 2), draw(6, backbone.features)

    def ours(params):
        features, _ = backbone.apply_train({**variables, "params": params}, images)
        return (features * target).sum()

    def plain(params):
        x = images
        for i in range(4):
            x = plain_block(x, params[f"conv_{i}"]["kernel"], **params[f"batch_norm_{i}"])
        return (x.transpose(0, 3, 1, 2).reshape(6, -1) * target).sum()

    got, got_grad = jax.jit(jax.value_and_grad(ours))(params)
    wanted, wanted_grad = jax.jit(jax.value_and_grad(plain))(params)
    np.testing.assert_allclose(got, wanted, rtol=1e-4)
    for a, b in zip(jax.tree.leaves(got_grad), jax.tree.leaves(wanted_grad), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3 * np.abs(b).max())


def test_running_statistics():
    """One step moves them by a tenth to the batch's mean and unbiased variance, as in PyTorch."""
    backbone = backbones.make("conv4_64", image_size=16, channels=1)
    variables = backbone.init(jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (3, 16, 16, 1))
    _, stats = jax.jit(backbone.apply_train)(variables, images)
    kernel = variables["params"]["conv_0"]["kernel"]
    layout = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated(images, kernel, (1, 1), "SAME", dimension_numbers=layout)
    y = np.asarray(y, np.float64).reshape(-1, 64)
    np.testing.assert_allclose(stats["batch_norm_0"]["mean"], 0.1 * y.mean(0), atol=1e-6)
    np.testing.assert_allclose(
        stats["batch_norm_0"]["var"], 0.9 + 0.1 * y.var(0, ddof=1), rtol=1e-5
    )


def test_constant_images_give_finite_gradients():
    backbone = backbones.make("conv4_64", image_size=16, channels=1)
    variables = backbone.init(jax.random.key(0))

    def loss(params, images):
        return backbone.apply_train({**variables, "params": params}, images)[0].sum()

    grads = jax.jit(jax.grad(loss))(variables["params"], jnp.zeros((2, 16, 16, 1)))
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


def test_bfloat16_keeps_float32_variables_and_features():
    images = jax.random.normal(jax.random.key(1), (4, 16, 16, 1))
    backbone = backbones.make("conv4_64", image_size=16, channels=1, dtype=jnp.bfloat16)
    variables = backbone.init(jax.random.key(0))
    features, stats = jax.jit(backbone.apply_train)(variables, images)
    assert {a.dtype for a in jax.tree.leaves((variables, features, stats))} == {
        jnp.dtype(jnp.float32)
    }
    plain = backbones.make("conv4_64", image_size=16, channels=1)
    exact, _ = jax.jit(plain.apply_train)(variables, images)
    np.testing.assert_allclose(features, exact, atol=0.05 * np.abs(exact).max())


def test_is_hashable_and_equal_by_settings():
    one = backbones.make("wrn_16_2", image_size=32)
    assert one == backbones.make("wrn_16_2", image_size=32)
    assert hash(one) == hash(backbones.make("wrn_16_2", image_size=32))
    assert one != backbones.make("wrn_16_2", image_size=80)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("resnet", {}, "unknown backbone 'resnet'; known are conv4_64, conv4_128, wrn_"),
        ("wrn_27_10", {}, "depth must be 6 n"),
        ("wrn_28_1", {}, "width must be 2 or more"),
        ("wrn_28_10", {"first_stride": 3}, "first_stride must be 1 or 2, got 3"),
        ("conv4_64", {"first_stride": 1}, "first_stride is for wide"),
        ("conv4_64", {"image_size": 12}, "16 pixels or more, got 12"),
    ],
)
def test_bad_settings(name, settings, message):
    with pytest.raises(ValueError, match=message):
        backbones.make(name, **{"image_size": 80, **settings})


def test_images_of_another_shape():
    backbone = backbones.make("conv4_64", image_size=32)
    variables = jax.eval_shape(backbone.init, jax.random.key(0))
    with pytest.raises(ValueError, match=r"wants images \[b, 32, 32, 3\], got \[2, 3, 32, 32\]"):
        backbone.apply(variables, jnp.zeros((2, 3, 32, 32)))


class Averages(nn.Module):
    """A network of somebody else: no field of ours, no feature map."""

    @nn.compact
    def __call__(self, x, train=False):
        return nn.Dense(4)(BatchNorm()(x, train).mean((1, 2)))


def test_a_backbone_of_ones_own_has_a_file_and_any_image_size(tmp_path):
    own = Backbone("averages", 8, 3, 4, Averages())
    variables = own.init(jax.random.key(0))
    preprocessing = Preprocessing(8, (0.5,) * 3, (0.25,) * 3)
    saved = pretrained.Pretrained(own, variables, preprocessing, jnp.ones((2, 4)))
    pretrained.save(tmp_path / "own.npz", saved)
    found = pretrained.load(tmp_path / "own.npz", own)
    images = jax.random.uniform(jax.random.key(1), (2, 8, 8, 3))
    np.testing.assert_array_equal(own.apply(found.variables, images), own.apply(variables, images))
    assert own.at(16).apply(variables, jnp.ones((2, 16, 16, 3))).shape == (2, own.at(16).features)
    np.testing.assert_array_equal(own.resize(saved.weights, 16), saved.weights)
    with pytest.raises(ValueError, match="official"):
        pytorch.save_backbone(tmp_path / "own.pth", own, variables)


class TestOfficialNames:
    def test_data_parallel_prefix(self):
        _, _, state = load("conv4_80")
        backbone = backbones.make("conv4_64", image_size=80)
        state = {f"module.{name}": value for name, value in state.items()}
        assert official_names.infer_backbone(state) == "conv4_64"
        official_names.variables_from_official(backbone, state)

    def test_problems_are_listed(self):
        _, _, state = load("conv4_80")
        backbone = backbones.make("conv4_64", image_size=80)
        del state["conv_blocks.2.layers.BatchNorm.bias"]
        state["head.weight"] = np.zeros(3)
        state["conv_blocks.0.layers.Conv.weight"] = np.zeros((64, 1, 3, 3))
        with pytest.raises(ValueError, match="does not fit conv4_64") as error:
            official_names.variables_from_official(backbone, state)
        assert "missing conv_blocks.2.layers.BatchNorm.bias" in str(error.value)
        assert "unexpected head.weight" in str(error.value)
        assert "has shape (64, 1, 3, 3), wanted (64, 3, 3, 3)" in str(error.value)

    def test_no_backbone(self):
        with pytest.raises(ValueError, match=r"not a backbone of the official code.* fc\.weight"):
            official_names.infer_backbone({"fc.weight": np.zeros((3, 3))})

    @pytest.mark.parametrize("name", ["wrn_10_2", "conv4_128"])
    def test_names_and_inference_agree(self, name):
        """Every variable gets a distinct official name, from which the backbone is recognised."""
        backbone = backbones.make(name, image_size=32)
        leaves = jax.tree_util.tree_leaves_with_path(
            jax.eval_shape(backbone.init, jax.random.key(0))
        )
        state = {}
        for path, leaf in leaves:
            key = official_names._official_name([part.key for part in path])
            state[key] = np.zeros(official_names._channels_first(leaf.shape))
        assert len(state) == len(leaves)
        assert official_names.infer_backbone(state) == name
        official_names.variables_from_official(backbone, state)
