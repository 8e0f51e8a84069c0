"""Features of any model: a file or a directory, checked, sorted by class and split."""

import re

import numpy as np
import pytest

from sib_jax.data import features, folder
from sib_jax.data.errors import DataError
from sib_jax.data.load import load as load_by_name
from sib_jax.data.split import SPLITS, FeatureSplit

CLASSES = 10
ROWS = 4  # of each class


def _arrays(seed=0, dtype=np.float32):
    """Rows of 10 classes, shuffled; the first feature of a row is its class."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(CLASSES), ROWS))
    rows = rng.normal(size=(len(labels), 6)).astype(dtype)
    rows[:, 0] = labels
    return {"features": rows, "labels": labels}


def _split_of(labels):
    return np.array(["train"] * 6 + ["val"] * 2 + ["test"] * 2)[labels]


def _file(tmp_path, **arrays):
    np.savez(tmp_path / "x.npz", **(_arrays() | arrays))
    return tmp_path / "x.npz"


def _directory(root, change=lambda arrays: None, dtype=np.float32):
    arrays = _arrays(dtype=dtype)
    order = np.argsort(arrays["labels"], kind="stable")
    files = {}
    for split in SPLITS:
        rows = order[_split_of(arrays["labels"])[order] == split]
        files[f"{split}_features"] = arrays["features"][rows]
        files[f"{split}_labels"] = arrays["labels"][rows]
    change(files)
    root.mkdir()
    for name, array in files.items():
        np.save(root / f"{name}.npy", array)
    return root


def _check(data):
    for split, names in zip(SPLITS, ("012345", "67", "89"), strict=True):
        got = data.split(split)
        assert isinstance(got, FeatureSplit)
        assert got.class_names == tuple(names)
        assert got.labels.dtype == np.int32
        np.testing.assert_array_equal(got.labels, np.repeat(range(len(names)), ROWS))
        np.testing.assert_array_equal(got.features[:, 0], np.repeat([*map(int, names)], ROWS))
        np.testing.assert_array_equal(got.class_counts, [ROWS] * len(names))


def test_a_file_with_splits(tmp_path):
    arrays = _arrays()
    data = load_by_name(
        "features", str(_file(tmp_path, split=_split_of(arrays["labels"]))), image_size=1
    )
    assert data.name == "features"
    assert not data.base
    _check(data)
    # Of a class, rows keep their order.
    np.testing.assert_array_equal(
        data.test.features[:ROWS], arrays["features"][arrays["labels"] == 8]
    )


def test_a_directory_is_memory_mapped(tmp_path):
    data = features.load(_directory(tmp_path / "d"))
    _check(data)
    assert isinstance(data.train.features, np.memmap)
    assert not data.train.features.flags.writeable


def test_both_forms_have_the_same_fingerprints(tmp_path):
    one = features.load(_file(tmp_path, split=_split_of(_arrays()["labels"])))
    other = features.load(_directory(tmp_path / "d"))
    for split in SPLITS:
        assert one.split(split).fingerprint == other.split(split).fingerprint
    changed = _arrays()
    changed["features"][0, 1] += 1
    third = features.load(_file(tmp_path, **changed, split=_split_of(changed["labels"])))
    prints = [data.split(s).fingerprint for data in (one, third) for s in SPLITS]
    assert len(set(prints)) == 4


def test_without_splits_classes_are_chosen_as_in_a_folder(tmp_path):
    path = _file(tmp_path)
    for seed in range(3):
        data = features.load(path, ratios=(0.6, 0.2, 0.2), seed=seed)
        root = tmp_path / "images"
        for name in map(str, range(CLASSES)):
            (root / name).mkdir(parents=True, exist_ok=True)
            for image in "ab":
                (root / name / f"{image}.png").touch()
        found = folder.find(root, (0.6, 0.2, 0.2), seed)
        for split in SPLITS:
            assert data.split(split).class_names == tuple(found[split])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_types_are_kept(dtype, tmp_path):
    arrays = _arrays(dtype=dtype)
    data = features.load(_file(tmp_path, **arrays, split=_split_of(arrays["labels"])))
    assert data.train.features.dtype == np.dtype(dtype).newbyteorder("=")
    _check(data)


def test_strings_and_named_numbers(tmp_path):
    arrays = _arrays()
    names = np.array([f"class-{9 - i}" for i in range(CLASSES)])
    split = _split_of(arrays["labels"])
    by_number = features.load(_file(tmp_path, split=split, class_names=names))
    # Numbers stand in their order, whatever they are called; strings in the alphabet's.
    assert by_number.val.class_names == ("class-3", "class-2")
    for labels in (names[arrays["labels"]], names[arrays["labels"]].astype("S")):
        by_name = features.load(_file(tmp_path, split=split.astype("S"), labels=labels))
        assert by_name.val.class_names == ("class-2", "class-3")
        np.testing.assert_array_equal(by_name.val.features[:, 0], np.repeat([7, 6], ROWS))


def _error(match, path, **kwargs):
    with pytest.raises(DataError, match=match) as raised:
        features.load(path, **kwargs)
    assert "\n" not in str(raised.value)


LABELS = _arrays()["labels"]


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"features": np.zeros(40, np.float32)}, r"features must have shape \[n, d\], not \(40,\)"),
        ({"features": np.zeros((40, 0), np.float32)}, r"shape \[n, d\], not \(40, 0\)"),
        ({"features": np.zeros((40, 6), np.uint8)}, "float16, float32 or float64, not uint8"),
        ({"features": np.zeros((39, 6))}, r"features has 39 rows, but labels has shape \(40,\)"),
        ({"features": np.zeros((0, 6)), "labels": LABELS[:0]}, r"holds 0 classes \(none\)"),
        ({"labels": LABELS[:, None]}, r"labels has shape \(40, 1\)"),
        ({"labels": LABELS.astype(float)}, "whole numbers or strings, not float64"),
        ({"labels": LABELS > 3}, "whole numbers or strings, not bool"),
        ({"labels": LABELS.astype(object)}, r"labels: Object arrays .*; store numbers, or strings"),
        ({"labels": np.array([b"\xff"] * 40)}, "labels holds text that is not UTF-8"),
        ({"labels": np.arange(40)}, "class '.*' of train has 1 row, .*at least 2"),
        ({"labels": LABELS % 2}, r"holds 2 classes \(0, 1\), but needs at least 3"),
        ({"split": np.array(["train"] * 39)}, r"split has shape \(39,\), but there are 40 labels"),
        (
            {"split": np.array(["train", "dev"] * 20)},
            "split holds 'dev', but must be one of train, val",
        ),
        ({"split": np.where(LABELS < 5, "train", "val")}, "no rows found for test"),
        ({"split": np.zeros(40)}, "split must be strings of shape"),
        ({"split": np.array(["train", "val", "val", "test"] * 10)}, "is in both train and val"),
        ({"class_names": np.array(["a"] * 10)}, "class_names holds 'a' twice"),
        ({"class_names": np.array(["a", "b"])}, "class_names has 2 names, but there is a label"),
        ({"class_names": np.arange(10)}, "class_names must be strings"),
        (
            {"labels": LABELS.astype(str), "class_names": np.array(["a"])},
            "labels are strings, so class_names must be left out",
        ),
    ],
)
def test_arrays_that_do_not_fit(arrays, match, tmp_path):
    _error(rf"x\.npz.*{match}", _file(tmp_path, **arrays))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite_are_named(value, tmp_path):
    arrays = _arrays()
    arrays["features"][17, 3] = value
    label = arrays["labels"][17]
    split = _split_of(arrays["labels"])
    found = re.escape(f"row 17 holds {value} (class '{label}' of {split[17]})")
    _error(found, _file(tmp_path, **arrays, split=split))

    def change(files):
        files["val_features"][5, 0] = value

    found = re.escape(f"val_features.npy: row 5 holds {value} (class '7' of val)")
    _error(found, _directory(tmp_path / "d", change))


def test_features_beyond_single_precision_are_named(tmp_path):
    arrays = _arrays()
    arrays["features"] = arrays["features"].astype(np.float64)
    arrays["features"][17, 3] = 1e200
    _error(r"row 17 holds 1e\+200 .*must be finite in float32", _file(tmp_path, **arrays))


@pytest.mark.parametrize("scale", [1e20, 1e-20, 0])
def test_features_whose_lengths_are_no_numbers_are_refused(scale, tmp_path):
    """All methods gave the accuracy of chance, without a word."""
    arrays = _arrays()
    arrays["features"] = arrays["features"].astype(np.float32) * np.float32(scale)
    _error(r"features of train have values up to .*; scale them so that", _file(tmp_path, **arrays))


def test_files_that_are_none(tmp_path):
    _error(r"where are your features\?.*FILE\.npz.*experiments/5w1s\.py", "")
    _error("none.npz does not exist; --data_dir must be a FILE.npz", tmp_path / "none.npz")
    (tmp_path / "empty.npz").touch()
    _error(r"empty\.npz is damaged or not a plain \.npz", tmp_path / "empty.npz")
    (tmp_path / "text.npz").write_text("hello")
    _error(r"text\.npz is damaged or not a plain \.npz", tmp_path / "text.npz")
    np.save(tmp_path / "one.npy", np.zeros(3))
    _error(r"one\.npy is damaged or not a plain \.npz", tmp_path / "one.npy")
    np.savez(tmp_path / "x.npz", features=np.zeros((4, 2)))
    _error("x.npz holds no array labels; expected", tmp_path / "x.npz")
    np.savez(tmp_path / "x.npz", a=np.zeros((4, 2)))
    _error("holds no array features and no array labels", tmp_path / "x.npz")
    whole = _file(tmp_path).read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    _error(r"cut\.npz is damaged", tmp_path / "cut.npz")
    flipped = bytearray(whole)
    flipped[200] ^= 1
    (tmp_path / "flipped.npz").write_bytes(flipped)
    _error(r"flipped\.npz is damaged .*features", tmp_path / "flipped.npz")


def test_directories_that_do_not_fit(tmp_path):
    (tmp_path / "empty").mkdir()
    _error(r"holds no train_features\.npy and no train_labels\.npy", tmp_path / "empty")
    _error("holds no val_labels.npy; expected", _directory(tmp_path / "a", _without("val_labels")))

    def narrow(files):
        files["test_features"] = files["test_features"][:, :5]

    _error(
        "all have the same length d, but it is 6 in train, 6 in val, 5 in test",
        _directory(tmp_path / "b", narrow),
    )

    def renumber(files):
        files["val_labels"] = files["val_labels"] - 6

    _error("class '0' is in both train and val", _directory(tmp_path / "c", renumber))

    path = _directory(tmp_path / "e") / "train_features.npy"
    path.write_bytes(path.read_bytes()[:-1])
    _error(r"train_features\.npy is damaged .*greater than file size", path.parent)
    path.write_bytes(path.read_bytes() + b"\0" * 9)
    _error(r"train_features\.npy is damaged .*array \[24, 6\] needs 576 bytes", path.parent)
    path.write_bytes(b"")
    _error(r"train_features\.npy is damaged or not a plain \.npy", path.parent)
    np.save(path, np.array([{}, {}]), allow_pickle=True)
    _error(r"train_features\.npy .*Python objects.*; store numbers, or strings", path.parent)


def _without(name):
    return lambda files: files.pop(name)


def test_sparse_features_may_be_packed_well(tmp_path):
    """Counts of words, of which a compressed file has a hundredth of the bytes and less."""
    rng = np.random.default_rng(0)
    words = np.zeros((20_000, 1_000), np.float32)
    words[np.arange(20_000), rng.integers(0, 1_000, 20_000)] = 1
    labels = np.arange(20_000) % 20
    path = tmp_path / "words.npz"
    np.savez_compressed(path, features=words, labels=labels)
    assert path.stat().st_size < words.nbytes / 100
    data = features.load(path)
    assert sum(len(data.split(split).labels) for split in ("train", "val", "test")) == 20_000
