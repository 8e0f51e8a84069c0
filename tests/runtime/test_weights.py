"""Files of weights: ours and official ones, and what is said of a wrong one."""

import hashlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sib_jax import backbones, pytorch
from sib_jax.backbones import pretrained
from sib_jax.backbones.preprocess import Preprocessing
from sib_jax.backbones.pretrained import Pretrained
from sib_jax.config import default
from sib_jax.errors import UserError
from sib_jax.experiment import settings
from sib_jax.runtime import weights as weights_file

WEIGHTS = Path(__file__).resolve().parents[2] / "weights"
PARITY = Path(__file__).resolve().parents[1] / "parity"


@pytest.fixture
def backbone():
    return backbones.make("conv4_64", image_size=16)


@pytest.fixture
def saved(backbone, tmp_path):
    variables = backbone.init(jax.random.key(5))
    preprocessing = Preprocessing(16, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    pretrained.save(tmp_path / "b.npz", Pretrained(backbone, variables, preprocessing), seed=5)
    return tmp_path / "b.npz", variables, preprocessing


def test_a_backbone_comes_back_as_it_was_saved(backbone, saved):
    path, variables, preprocessing = saved
    found = pretrained.load(path, backbone)
    assert found.preprocessing == preprocessing
    jax.tree.map(np.testing.assert_array_equal, found.variables, variables)
    assert weights_file.about(path)["seed"] == 5


def test_the_classifier_of_the_base_classes_comes_back_too(backbone, saved, tmp_path):
    _, variables, preprocessing = saved
    weights = jax.random.normal(jax.random.key(0), (7, backbone.features))
    given = Pretrained(backbone, variables, preprocessing, weights)
    pretrained.save(tmp_path / "c.npz", given)
    found = pretrained.load(tmp_path / "c.npz", backbone)
    np.testing.assert_array_equal(found.weights, weights)
    # The features do not depend on it, so neither does their cache key.
    assert found.fingerprint() == given._replace(weights=None).fingerprint()


def test_the_classifier_is_not_taken_for_that_of_other_classes(backbone, saved, tmp_path):
    _, variables, preprocessing = saved
    weights = jnp.ones((3, backbone.features))
    plain = Pretrained(backbone, variables, preprocessing, weights)
    for found in (plain, plain._replace(dataset="folder", class_names=("a", "b", "c"))):
        pretrained.save(tmp_path / "c.npz", found)
        found = pretrained.load(tmp_path / "c.npz", backbone)
        np.testing.assert_array_equal(found.weights_of("folder", ["a", "b", "c"]), weights)
        assert found.weights_of("folder", ["a", "b"]) is None
    assert found.weights_of("folder", ["a", "b", "d"]) is None
    assert found.weights_of("cifar_fs", ["a", "b", "c"]) is None
    assert plain._replace(weights=None).weights_of("folder", ["a", "b", "c"]) is None


def test_settings_that_weights_alone_do_not_show(saved):
    other = backbones.make("conv4_64", image_size=16, final_relu=False)
    with pytest.raises(UserError, match=r"final_relu = True, not False; add --config.final_relu="):
        pretrained.load(saved[0], other)
    with pytest.raises(UserError, match=r"config.crop = 16, not 20; add --config.crop=16"):
        pretrained.load(saved[0], backbones.make("conv4_64", image_size=20))
    with pytest.raises(UserError, match=r"crop=16, and --config.image_size=16 if it saw whole"):
        pretrained.load(saved[0], backbones.make("conv4_64", image_size=64))  # longer features
    official = backbones.make("conv4_64", image_size=80, final_relu=False)
    with pytest.raises(UserError, match=r"final_relu = True, not False"):
        pretrained.load(PARITY / "netFeatBest64.653.pth", official)


def test_the_shipped_backbone_is_whole_and_fits_the_config_of_its_data_set():
    for line in (WEIGHTS / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split()
        assert hashlib.sha256((WEIGHTS / name).read_bytes()).hexdigest() == digest
    of_config = settings.read(default("mini_imagenet")).backbone
    backbone = settings.make_backbone(of_config, channels=3)
    found = pretrained.load(WEIGHTS / "mini_imagenet-conv4_128.npz", backbone)
    assert found.weights.shape == (64, 3200)
    with pytest.raises(UserError, match=r"= conv4_64, not conv4_128; add --config.backbone=conv4"):
        pretrained.load(WEIGHTS / "mini_imagenet-conv4_64.npz", backbone)


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"backbone": "conv9"}, r"b\.npz: not a backbone of ours: unknown backbone 'conv9'"),
        ({"preprocessing": None}, r"b\.npz: not a backbone of ours"),
    ],
)
def test_a_file_of_what_is_no_backbone(saved, tmp_path, about, message):
    told = {**weights_file.about(saved[0]), **about}
    weights_file.save(tmp_path / "b.npz", {"a": np.ones(2, np.float32)}, told)
    with pytest.raises(UserError, match=message):
        pretrained.open_file(tmp_path / "b.npz")


def test_weights_of_another_backbone(saved):
    with pytest.raises(UserError, match=r"conv4_64, not conv4_128; add --config.backbone=conv4_64"):
        pretrained.load(saved[0], backbones.make("conv4_128", image_size=16))


def test_weights_of_another_kind(saved):
    with pytest.raises(UserError, match=r"does not hold what this config needs"):
        weights_file.load(saved[0], {"other": np.zeros(3)})


def test_weights_that_are_not_finite(tmp_path):
    weights_file.save(tmp_path / "w.npz", {"a": np.array([1.0, np.nan])})
    with pytest.raises(UserError, match=r"w\.npz: a has values that are not finite"):
        weights_file.load(tmp_path / "w.npz", {"a": np.zeros(2)})


def test_a_file_that_is_not_there(backbone, tmp_path):
    with pytest.raises(UserError, match=r"none\.npz does not exist"):
        pretrained.load(tmp_path / "none.npz", backbone)


def test_a_pickle_is_not_opened(backbone, tmp_path):
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], object), allow_pickle=True)
    (tmp_path / "x.npy").rename(tmp_path / "x.npz")
    with pytest.raises(UserError, match="not a file of weights"):
        pretrained.load(tmp_path / "x.npz", backbone)


def test_an_official_backbone_has_the_official_normalisation():
    path = PARITY / "netFeatBest64.653.pth"
    backbone = backbones.make("conv4_64", image_size=80)
    found = pretrained.load(path, backbone)
    images = np.random.default_rng(0).standard_normal((2, 80, 80, 3)).astype(np.float32)
    apply, variables = pytorch.load_backbone(path)
    np.testing.assert_allclose(
        backbone.apply(found.variables, images), apply(variables, images), rtol=1e-5, atol=1e-5
    )
    mean = 255 * np.array(found.preprocessing.mean)
    np.testing.assert_allclose(mean, [120.396, 115.594, 104.540], atol=1e-3)


def test_an_official_backbone_for_cifar_has_its_own_normalisation(tmp_path):
    backbone = backbones.make("wrn_10_2", image_size=32)
    variables = backbone.init(jax.random.key(0))
    pytorch.save_backbone(tmp_path / "netFeat.pth", backbone, variables)
    found = pretrained.open_file(tmp_path / "netFeat.pth", image_size=32).preprocessing
    np.testing.assert_allclose(255 * np.array(found.mean), [129.377, 124.106, 112.478], atol=1e-3)
    np.testing.assert_allclose(255 * np.array(found.std), [68.209, 65.431, 70.459], atol=1e-3)


def test_an_official_backbone_of_another_architecture():
    with pytest.raises(UserError, match="does not hold a conv4_128"):
        pretrained.load(
            PARITY / "netFeatBest64.653.pth", backbones.make("conv4_128", image_size=80)
        )


def test_any_name_of_a_leaf(tmp_path):
    tree = {"file": np.arange(3.0), "allow_pickle": {"self": np.ones((2, 0), np.float32)}}
    tree["args"] = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    weights_file.save(tmp_path / "w.npz", tree, {"file": 1})
    jax.tree.map(np.testing.assert_array_equal, weights_file.load(tmp_path / "w.npz", tree), tree)
    with np.load(tmp_path / "w.npz") as file:  # numpy's own format
        assert {"file", "allow_pickle/self", "args"} < {*file}
