import dataclasses

import jax
import numpy as np
import pytest

from sib_jax import backbones
from sib_jax.backbones import pretrained as files
from sib_jax.backbones.preprocess import Preprocessing
from sib_jax.backbones.pretrained import Pretrained
from sib_jax.data.split import DataSet, Split
from sib_jax.errors import UserError
from sib_jax.experiment import features, inputs
from sib_jax.runtime import kept_rows
from sib_jax.runtime.cache_dir import cache_dir


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SIB_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(features, "BATCH", 6)


@pytest.fixture(scope="module")
def split():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 20, 20, 3), np.uint8)
    return Split(images, np.repeat(np.arange(3), 2).astype(np.int32), ("a", "b", "c"), "print")


@pytest.fixture(scope="module")
def pretrained():
    backbone = backbones.make("conv4_64", image_size=16)
    variables = backbone.init(jax.random.key(0))
    return Pretrained(backbone, variables, Preprocessing(16, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2)))


def test_features_are_the_backbone_of_the_central_crop(pretrained, split):
    crop = split.images[:, 2:18, 2:18] / 255.0
    inputs = ((crop - np.array([0.5, 0.4, 0.3])) / 0.2).astype(np.float32)
    wanted = pretrained.backbone.apply(pretrained.variables, inputs)
    np.testing.assert_allclose(features.cached(pretrained, split), wanted, rtol=1e-4, atol=1e-4)


def test_mirrored_features_are_those_of_both_images(pretrained, split):
    of_both = features.compute(pretrained._replace(mirror=True), split.images)
    once = [features.compute(pretrained, images) for images in (split.images, _mirrored(split))]
    np.testing.assert_allclose(of_both, np.mean(once, axis=0), rtol=1e-4, atol=1e-5)
    assert np.abs(once[0] - once[1]).max() > 0.01


def test_a_backbone_file_says_whether_images_are_mirrored(pretrained, tmp_path):
    for mirror in (False, True):
        files.save(tmp_path / "backbone.npz", pretrained._replace(mirror=mirror))
        assert files.open_file(tmp_path / "backbone.npz").mirror is mirror


def test_an_interrupted_computation_goes_on(pretrained, split, monkeypatch):
    monkeypatch.setattr(features, "BATCH", 2)
    monkeypatch.setattr(kept_rows, "SECONDS", 0.0)
    wanted = features.compute(pretrained, split.images)
    seen, original = [], features._features
    monkeypatch.setattr(features, "_features", _counted(original, seen, last=2))
    with pytest.raises(KeyboardInterrupt):
        features.cached(pretrained, split)
    monkeypatch.setattr(features, "_features", _counted(original, seen, last=3))
    advanced = []
    np.testing.assert_array_equal(features.cached(pretrained, split, advanced.append), wanted)
    assert [len(images) for images in seen] == [2, 2, 2]
    assert advanced == [4, 2]
    np.testing.assert_array_equal(np.concatenate(seen), split.images)
    assert not list((cache_dir() / "features").glob("*.part"))


def _counted(original, seen, last):
    """Raises after the `last` batch."""

    def compute(extractor, variables, images):
        if len(seen) == last:
            raise KeyboardInterrupt
        seen.append(images)
        return original(extractor, variables, images)

    return compute


def _mirrored(split):
    return np.ascontiguousarray(split.images[:, :, ::-1])


def test_more_images_than_a_batch(pretrained, split, monkeypatch):
    whole = features.compute(pretrained, split.images)
    monkeypatch.setattr(features, "BATCH", 4)
    counts = []
    parts = features.compute(pretrained, split.images, counts.append)
    np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-5)
    assert counts == [4, 2]


def test_base_classes_have_the_backbone_s_weights_or_else_class_means(pretrained, split):
    data = DataSet("folder", split, split, split)
    weights = np.eye(3, pretrained.backbone.features, dtype=np.float32)
    means = np.stack([unit(of).mean(0) for of in np.split(features.cached(pretrained, split), 3)])
    for dataset, wanted in (("folder", weights), ("cifar_fs", means)):
        found = pretrained._replace(weights=weights, dataset=dataset)
        made = inputs.of_features(data, found, 0.0, lambda: None)
        np.testing.assert_allclose(made.classes.base_weights, unit(wanted), atol=1e-6)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_features_are_computed_once(pretrained, split, monkeypatch):
    first = np.array(features.cached(pretrained, split))
    monkeypatch.setattr(features, "compute", None)
    np.testing.assert_array_equal(features.cached(pretrained, split), first)


@pytest.mark.parametrize(
    "changed", ["weights", "statistics", "images", "crop", "mean", "relu", "mirror"]
)
def test_the_cache_is_never_stale(pretrained, split, changed, monkeypatch):
    computed = []

    def compute(*_):
        computed.append(True)
        return np.zeros((6, 64), np.float32)

    monkeypatch.setattr(features, "compute", compute)
    features.cached(pretrained, split)
    if changed in ("weights", "statistics"):
        part = {"weights": "params", "statistics": "batch_stats"}[changed]
        leaves, structure = jax.tree.flatten(pretrained.variables[part])
        leaves[0] = leaves[0] + 1e-3
        variables = {**pretrained.variables, part: jax.tree.unflatten(structure, leaves)}
        pretrained = pretrained._replace(variables=variables)
    elif changed == "images":
        split = dataclasses.replace(split, fingerprint="another")
    elif changed == "crop":
        bigger = pretrained.preprocessing._replace(crop=17)
        pretrained = pretrained._replace(preprocessing=bigger)
    elif changed == "mirror":
        pretrained = pretrained._replace(mirror=True)
    elif changed == "mean":
        other = pretrained.preprocessing._replace(mean=(0.5, 0.4, 0.31))
        pretrained = pretrained._replace(preprocessing=other)
    elif changed == "relu":
        backbone = backbones.make("conv4_64", image_size=16, final_relu=False)
        pretrained = pretrained._replace(backbone=backbone)
    features.cached(pretrained, split)
    assert len(computed) == 2


@pytest.mark.parametrize("damage", ["zeros", "short", "empty", "no_checksum"])
def test_a_damaged_file_of_the_cache_is_made_anew(pretrained, split, damage, monkeypatch):
    made = np.random.default_rng(1).random((6, 64), np.float32)
    computed = []

    def compute(*_):
        computed.append(True)
        return made

    monkeypatch.setattr(features, "compute", compute)
    wanted = np.array(features.cached(pretrained, split))
    (path,) = (cache_dir() / "features").glob("conv4_64-*.npy")
    content = path.read_bytes()
    if damage == "no_checksum":
        path.with_suffix(".crc32").unlink()
    else:
        kept = {"zeros": len(content) // 2, "short": len(content) // 2, "empty": 0}[damage]
        path.write_bytes(content[:kept].ljust(len(content) if damage == "zeros" else kept, b"\0"))
    np.testing.assert_array_equal(features.cached(pretrained, split), wanted)
    assert path.read_bytes() == content
    assert len(computed) == 2


def test_features_that_are_not_finite_are_refused_by_name(pretrained, split):
    backbone = backbones.make("conv4_64", image_size=16, final_relu=False)
    broken = jax.tree.map(lambda x: x * np.nan, pretrained.variables)
    with pytest.raises(UserError, match=r"not finite for 6 of 6 images.* number 0 of class 'a'"):
        features.cached(pretrained._replace(backbone=backbone, variables=broken), split)
