"""A data set of the user's own: an experiment takes it; a wrong one is told in one line."""

import dataclasses
import logging

import numpy as np
import pytest

from sib_jax.config import ConfigError, check, default
from sib_jax.data import DataSet, register
from sib_jax.data.errors import DataError
from sib_jax.data.load import load
from sib_jax.data.split import FeatureSplit
from sib_jax.errors import UserError

pytestmark = pytest.mark.usefixtures("registries")


def images(size=8, channels=3, classes=2, count=3):
    """Split -> class -> images, all different."""
    rng = np.random.default_rng(0)
    return {
        split: {
            f"{split}{c}": rng.integers(0, 256, (count + c, size, size, channels), np.uint8)
            for c in range(classes)
        }
        for split in ("train", "val", "test")
    }


def test_it_is_a_data_set_like_any_other():
    given, asked = images(), []

    def read(data_dir, image_size):
        asked.append((data_dir, image_size))
        return given

    register("mine", read, {"image_size": 8, "crop": 6, "pretrain.padding": 1})
    config = default("mine")
    check(config)
    assert (config.dataset, config.crop, config.pretrain.padding) == ("mine", 6, 1)
    data = load("mine", "/somewhere", image_size=8)
    assert asked == [("/somewhere", 8)]
    assert data.sizes.classes["val"] == {"val0": 3, "val1": 4}
    for split, classes in given.items():
        part = data.split(split)
        for label, (name, of) in enumerate(classes.items()):
            assert part.class_names[label] == name
            np.testing.assert_array_equal(part.images[part.labels == label], of)
    before = data.train.fingerprint
    given["train"]["train0"][0, 0, 0, 0] ^= 1
    assert load("mine", "", image_size=8).train.fingerprint != before
    given["train"] = {"other": given["train"]["train0"], "train1": given["train"]["train1"]}
    assert load("mine", "", image_size=8).train.fingerprint != before


def test_images_in_two_classes_are_told(caplog):
    given = images()
    given["test"]["test1"][2] = given["train"]["train0"][1]
    register("mine", lambda *_: given)
    with caplog.at_level(logging.WARNING):
        load("mine", image_size=8)
    assert "mine: 1 image is the same as one of another class or split (1 of another split)" in (
        caplog.text
    )


def test_its_function_gets_a_home_folder_by_its_path(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    seen = []
    register("mine", lambda data_dir, size: seen.append(data_dir) or images())
    load("mine", "~/data", image_size=8)
    assert seen == ["/home/someone/data"]


def test_a_data_set_may_be_given_as_one():
    register("mine", lambda *_: images())
    data = load("mine", image_size=8)
    register("mine", lambda *_: data)
    assert load("mine", image_size=8) is data
    with pytest.raises(
        DataError, match=r"images of train are of 8 x 8 pixels, but image_size asks for 16 x 16"
    ):
        load("mine", image_size=16)
    register("other", lambda *_: data)
    with pytest.raises(DataError, match="data set other gives one that is named mine"):
        load("other", image_size=8)
    rows = FeatureSplit(np.zeros((4, 2)), np.array([0, 0, 1, 1]), ("a", "b"), "0")
    register("mine", lambda *_: DataSet("mine", rows, rows, rows))
    with pytest.raises(DataError, match=r"train must be a Split of images, got FeatureSplit\(2"):
        load("mine", image_size=8)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labels": np.arange(7)[::-1] // 4}, "labels of val must ascend, sort its images"),
        (
            {"labels": np.zeros(7, int)},
            "labels of val must be those of 7 images, each a whole number of 0",
        ),
        ({"labels": np.zeros(3, int)}, "labels of val must be those of 7 images, each a whole"),
        ({"labels": np.arange(7.0) // 4}, "labels of val must be those of 7 images, each a whole"),
        ({"labels": np.arange(7, dtype="u1")[::-1] // 4}, "labels of val must ascend, sort"),
        ({"class_names": ("train0", "b")}, "class 'train0' is in both train and val"),
        ({"fingerprint": None}, "two splits have the same fingerprint"),
        ({"images": np.zeros((7, 8, 8, 1), np.uint8)}, "images of val have 1 channels, others 3"),
    ],
)
def test_a_wrong_data_set_is_told(changed, message):
    register("mine", lambda *_: images())
    data = load("mine", image_size=8)
    if "fingerprint" in changed:
        changed = {"fingerprint": data.train.fingerprint}
    wrong = dataclasses.replace(data, val=dataclasses.replace(data.val, **changed))
    register("mine", lambda *_: wrong)
    with pytest.raises(DataError, match=message):
        load("mine", image_size=8)


@pytest.mark.parametrize(
    ("parts", "changed", "message"),
    [
        (("val",), {}, "base is of val, but must be of val and test"),
        (("val", "test"), {"class_names": ("a", "b")}, "classes of base of val must be those of"),
        (("val", "test"), {"labels": np.zeros(3, int)}, "labels of base of val must be those of"),
        (("val", "test"), {"images": np.zeros((1, 9, 9, 3), "u1")}, "of base of val are of 9 x 9"),
    ],
)
def test_wrong_images_of_the_base_classes_are_told(parts, changed, message):
    register("mine", lambda *_: images())
    data = load("mine", image_size=8)
    base = dataclasses.replace(data.train, **changed)
    wrong = dataclasses.replace(data, base=dict.fromkeys(parts, base))
    register("mine", lambda *_: wrong)
    with pytest.raises(DataError, match=message):
        load("mine", image_size=8)


def test_arrays_in_any_order():
    given = images()
    turned = {
        split: {name: np.asarray(of, order="F") for name, of in classes.items()}
        for split, classes in given.items()
    }
    found = []
    for way in (given, turned):
        register("mine", lambda *_, way=way: way)
        found.append(load("mine", image_size=8))
    for split in ("train", "val", "test"):
        one, other = (data.split(split) for data in found)
        np.testing.assert_array_equal(one.images, other.images)
        assert one.fingerprint == other.fingerprint


def fails(data_dir, image_size):
    raise KeyError("nothing here")


def changed(**splits):
    return lambda *_: {**images(), **splits}


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda *_: None, "mine gives a NoneType, but must give"),
        (lambda *_: {"train": {}}, "mine gives a dict of train, but must give"),
        (changed(val=[1]), r"val is a list, but must be {class: images}"),
        (changed(val={}), "data set mine: no images found for val; add images"),
        (
            changed(val={"a": [[1]]}),
            r"images of val/a are list \[1, 1\], but must be a uint8 array",
        ),
        (
            changed(val=images(size=9)["val"]),
            "val/val0 are of 9 x 9 pixels, but image_size asks for 8",
        ),
        (changed(val=images(channels=1)["val"]), "val/val0 have 1 channels, others 3"),
        (
            changed(val=images(channels=4)["val"]),
            r"\[3, 8, 8, 4\], but must be a uint8 array .* with 1 or 3 channels",
        ),
        (changed(val={"a": np.zeros((3, 8, 8, 3))}), r"val/a are float64 \[3, 8, 8, 3\], but"),
        (changed(val=images()["train"]), "class 'train0' is in both train and val"),
        (changed(val=images(count=1)["val"]), "class 'val0' of val has 1 image, but an episode"),
        (fails, r"mine fails: KeyError: 'nothing here' \(.*test_own_data.py, line \d+\)"),
        (lambda: {}, "mine fails: TypeError: .* takes 0 positional arguments"),
    ],
)
def test_a_wrong_one_is_told(read, message):
    register("mine", read)
    with pytest.raises(DataError, match=message) as raised:
        load("mine", image_size=8)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "read", "defaults", "message"),
    [
        ("my data", fails, {}, "must be a word such as my_data, got 'my data'"),
        ("cifar_fs", fails, {}, "cifar_fs is a data set of sib_jax itself"),
        ("mine", "dots.npz", {}, r"must be a function \(data_dir, image_size\), got a str"),
        ("mine", fails, {"sizes": 3}, "defaults of mine: unknown field config.sizes"),
        ("mine", fails, {"dataset": "glyphs"}, "defaults of mine have dataset, which its name is"),
        ("mine", fails, {"crop": "a"}, "defaults of mine: config.crop is 'a', but must be a whole"),
    ],
)
def test_what_cannot_be_registered(name, read, defaults, message):
    with pytest.raises(UserError, match=message):
        register(name, read, defaults)


def test_one_that_is_not_registered():
    with pytest.raises(ConfigError, match=r"unknown data set 'mine'.*--import=FILE"):
        default("mine")
