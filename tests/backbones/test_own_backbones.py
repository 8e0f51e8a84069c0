"""A backbone of the user's own: pretrained, kept, found again; a wrong one is told in one line."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from sib_jax import backbones
from sib_jax.backbones import BackboneError, own, pretrained, register
from sib_jax.backbones.layers import BatchNorm
from sib_jax.backbones.preprocess import Preprocessing
from sib_jax.config import ConfigError, check, default
from sib_jax.data import Split
from sib_jax.experiment import features, settings

pytestmark = pytest.mark.usefixtures("registries")


class Net(nn.Module):
    """A map of `filters` channels at half the size, without statistics."""

    filters: int = 3
    dtype: jnp.dtype = jnp.float32
    act: Any = "relu"

    @nn.compact
    def __call__(self, x, train=False):
        act = self.act if callable(self.act) else getattr(nn, self.act)
        x = act(nn.Conv(self.filters, (2, 2), (2, 2), dtype=self.dtype)(x))
        return x.transpose(0, 3, 1, 2).reshape(len(x), -1)


class Mean(nn.Module):
    """An average over the map, and the choice that some of ours have."""

    final_relu: bool = True

    @nn.compact
    def __call__(self, x, train=False):
        x = BatchNorm()(nn.Dense(4)(x), train).mean((1, 2))
        return nn.relu(x) if self.final_relu else x


def test_it_is_what_its_module_computes(tmp_path):
    register("net", Net, stride=2)
    register("wide", functools.partial(Net, filters=5), stride=2)
    register("mean", Mean)
    net = backbones.make("net", image_size=8, channels=1, dtype=jnp.bfloat16)
    assert (net.features, net.at(12).features) == (3 * 16, 3 * 36)
    assert backbones.make("wide", image_size=8, channels=1).features == 5 * 16
    assert [backbones.make("mean", image_size=s).features for s in (8, 16)] == [4, 4]
    assert backbones.make("mean", image_size=8, final_relu=False).final_relu is False
    assert net.final_relu is None
    variables = net.init(jax.random.key(0))
    images = jax.random.uniform(jax.random.key(1), (2, 8, 8, 1))
    found, statistics = net.apply_train(variables, images)
    assert found.dtype == jnp.float32
    assert statistics == {}
    plain = Net(dtype=jnp.bfloat16).apply(variables, images)
    np.testing.assert_array_equal(net.apply(variables, images), plain.astype(jnp.float32))
    # A file of weights names it.
    saved = pretrained.Pretrained(net, variables, Preprocessing(8, (0.5,), (0.25,)))
    pretrained.save(tmp_path / "net.npz", saved)
    again = pretrained.open_file(tmp_path / "net.npz")
    assert again.backbone.name == "net"
    jax.tree.map(np.testing.assert_array_equal, again.variables, variables)
    own.OWN.clear()
    with pytest.raises(ValueError, match=r"unknown backbone 'net'.*--import=FILE"):
        pretrained.open_file(tmp_path / "net.npz")


def test_features_of_changed_code_are_computed_anew(monkeypatch):
    monkeypatch.setattr(features, "BATCH", 2)
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    split = Split(images, np.array([0, 1]), ("a", "b"), "of this test")
    found, computed = [], []
    compute = features.compute
    monkeypatch.setattr(features, "compute", lambda *a: computed.append(1) or compute(*a))
    for act in (nn.relu, jnp.abs, nn.relu):  # the same name, settings and weights: none
        register("net", net_of(lambda self, x, train=False, act=act: flat(act(x))))
        net = backbones.make("net", image_size=8)
        weights = net.init(jax.random.key(0))
        of = pretrained.Pretrained(net, weights, Preprocessing(8, (0.5,) * 3, (0.25,) * 3))
        found.append(features.cached(of, split))
        wanted = flat(np.asarray(act((images / 255 - 0.5) / 0.25)))
        np.testing.assert_allclose(found[-1], wanted, atol=1e-5)
    assert len(computed) == 2  # the third was kept


def test_a_config_may_name_it():
    config = default()
    config.backbone = "net"
    with pytest.raises(ConfigError, match=r"config.backbone is 'net'.*--import=FILE"):
        check(config)
    register("net", Net, stride=2)
    assert settings.read(config).backbone.name == "net"
    register("net", Net, stride=64)
    with pytest.raises(ConfigError, match=r"config.backbone: net gives 768 features for images of"):
        settings.read(config)


def net_of(call):
    """A module whose __call__ is `call(self, x, train)`."""
    return type("Wrong", (nn.Module,), {"__call__": nn.compact(call)})


def flat(x):
    return x.reshape(len(x), -1)


def untrainable(self, x, train=False):
    self.variable("memory", "seen", jnp.zeros, (3,))
    return flat(x)


def without_train(self, x):
    return flat(x)


def dropped(self, x, train=False):
    return nn.Dropout(0.5, deterministic=not train)(flat(x))


def half(self, x, train=False):
    return nn.Dense(2, param_dtype=jnp.bfloat16)(flat(x))


def fails(self, x, train=False):
    raise KeyError("nothing here")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda self, x, train=False: x, r"gives \[2, 8, 8, 3\] for 2 images of 8 pixels, but"),
        (lambda self, x, train=False: (flat(x), x), "gives a tuple for 2 images"),
        (lambda self, x, train=False: flat(x) > 0, "gives features of type bool, but must"),
        (lambda self, x, train=False: flat(x)[:, :0], "gives no features for images of 8"),
        (untrainable, "has variables 'memory', but only params and batch_stats are trained"),
        (without_train, r"unexpected keyword argument 'train'.*; its __call__ must take train$"),
        (dropped, r'net cannot work: .*needs PRNG for "dropout".*: leave dropout out$'),
        (
            lambda self, x, train: flat(x)[:, : 3 if train else 4],
            r"gives 4 features in evaluation, but \[2, 3\] for 2 images in training",
        ),
        (half, r"net: \['params'\]\['Dense_0'\]\['bias'\] is bfloat16, but parameters and stat"),
        (fails, r"net cannot work: 'nothing here' \(.*test_own_backbones.py, line \d+\)"),
    ],
)
def test_a_wrong_module_is_told(call, message):
    register("net", net_of(call))
    with pytest.raises(BackboneError, match=message) as raised:
        backbones.make("net", image_size=8)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "module", "stride", "message"),
    [
        ("my net", Net, None, "must be a word such as my_net, got 'my net'"),
        ("conv4_64", Net, None, "conv4_64 is a name that sib_jax uses itself"),
        ("wrn_28_10", Net, None, "wrn_28_10 is a name that sib_jax uses itself"),
        ("net", Net(), None, "must be a class of flax.linen.Module, or a function .* got Net"),
        ("net", Net, 0, "stride of net must be a whole number above 0, got 0"),
        ("net", Net, True, "stride of net must be a whole number above 0, got True"),
    ],
)
def test_what_cannot_be_registered(name, module, stride, message):
    with pytest.raises(BackboneError, match=message):
        register(name, module, stride=stride)


@pytest.mark.parametrize("default", [{}, {"train": True}])
def test_evaluation_is_told_that_it_is_no_training(default):
    def call(self, x, train):
        return flat(nn.BatchNorm(use_running_average=not train, momentum=0.5)(x))

    call.__kwdefaults__ = None
    call.__defaults__ = tuple(default.values()) or None
    register("net", net_of(call))
    net = backbones.make("net", image_size=8)
    images = jax.random.normal(jax.random.key(0), (3, 8, 8, 3))
    variables = net.init(jax.random.key(0))
    found, statistics = net.apply_train(variables, images)
    np.testing.assert_allclose(found.reshape(-1, 3).mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(net.apply(variables, images), flat(images), rtol=1e-4)
    moved = net.apply({**variables, "batch_stats": statistics}, images)
    assert np.abs(moved - flat(images)).max() > 0.01


def test_a_function_that_makes_no_module():
    register("net", lambda: 3)
    with pytest.raises(BackboneError, match=r"must give a flax.linen.Module, got a int"):
        backbones.make("net", image_size=8)


def test_what_a_partial_sets_the_config_does_not():
    register("net", functools.partial(Net, dtype=jnp.bfloat16), stride=2)
    register("mean", functools.partial(Mean, final_relu=False))
    assert backbones.make("net", image_size=8).module.dtype == jnp.bfloat16
    assert backbones.make("mean", image_size=8, final_relu=True).final_relu is False
    with pytest.raises(BackboneError, match=r"mean takes no dtype: leave config.dtype at"):
        backbones.make("mean", image_size=8, dtype=jnp.bfloat16)


def test_fields_that_cannot_be_hashed():
    class Listed(nn.Module):
        widths: jax.Array = dataclasses.field(default_factory=lambda: np.ones(2))

        @nn.compact
        def __call__(self, x, train=False):
            return flat(x)

    register("net", Listed)
    with pytest.raises(BackboneError, match="the fields of net must be hashable, such as tuples"):
        backbones.make("net", image_size=8)


def test_what_is_registered_anew_is_made_anew():
    width = 2

    def call(self, x, train=False):
        return nn.Dense(width)(flat(x))

    module = net_of(call)
    found = []
    for width in (2, 3):  # noqa: B007  a global of a notebook
        register("net", module)
        found.append(backbones.make("net", image_size=8).features)
    assert found == [2, 3]


def test_a_network_for_one_channel():
    def grey(self, x, train=False):
        if x.shape[-1] != 1:
            raise ValueError("grey only")
        return flat(x)

    register("net", net_of(grey))
    config = default()
    config.backbone = "net"
    assert settings.read(config).backbone.name == "net"
    with pytest.raises(BackboneError, match="net cannot work: grey only"):
        backbones.make("net", image_size=8, channels=3)


def test_weights_of_other_code_are_told(tmp_path, caplog):
    for act, told in ((nn.relu, False), (nn.gelu, True), (nn.relu, False)):
        register("net", net_of(lambda self, x, train=False, act=act: nn.Dense(2)(flat(act(x)))))
        net = backbones.make("net", image_size=8)
        if not (tmp_path / "net.npz").exists():
            of = Preprocessing(8, (0.5,) * 3, (0.25,) * 3)
            saved = pretrained.Pretrained(net, net.init(jax.random.key(0)), of)
            pretrained.save(tmp_path / "net.npz", saved)
        caplog.clear()
        pretrained.load(tmp_path / "net.npz", net)
        assert ("was trained with other code of net" in caplog.text) == told


def test_a_field_without_a_name_has_the_same_fingerprint_in_every_process():
    def net():
        register("net", functools.partial(Net, act=functools.partial(lambda x: nn.relu(x))))
        made = backbones.make("net", image_size=8)
        weights = made.init(jax.random.key(0))
        return pretrained.Pretrained(made, weights, Preprocessing(8, (0.5,) * 3, (0.25,) * 3))

    one, other = net(), net()
    assert repr(one.backbone) != repr(other.backbone)  # addresses
    assert one.fingerprint() == other.fingerprint()
    changed = jax.tree.map(lambda leaf: leaf + 1, one.variables)
    assert one._replace(variables=changed).fingerprint() != one.fingerprint()
