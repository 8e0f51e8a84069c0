import numpy as np
import pytest

from sib_jax.data import cache
from sib_jax.data.split import SPLITS

pytestmark = pytest.mark.usefixtures("own_cache")


def _build(value=0, fail_at=None):
    def build(writer):
        for split in SPLITS:
            if split == fail_at:
                raise KeyboardInterrupt
            images = writer.allocate(split, (4, 2, 2, 3))
            images[:] = value
            writer.describe(split, np.array([0, 0, 1, 1]), [f"{split}-a", f"{split}-b"])

    return build


def test_what_was_written_is_read_and_memory_mapped():
    data = cache.load_or_build("toy", "k", _build(7))
    assert np.all(data.train.images == 7)
    assert isinstance(data.train.images, np.memmap)
    assert not data.train.images.flags.writeable
    assert data.val.class_names == ("val-a", "val-b")
    np.testing.assert_array_equal(data.test.class_counts, [2, 2])


def test_a_key_is_built_once():
    cache.load_or_build("toy", "k", _build(7))
    again = cache.load_or_build("toy", "k", lambda _: pytest.fail("built again"))
    assert np.all(again.train.images == 7)
    assert np.all(cache.load_or_build("toy", "other", _build(8)).train.images == 8)


def test_fingerprints_are_of_the_content():
    one = cache.load_or_build("toy", "one", _build(1))
    same = cache.load_or_build("toy", "same", _build(1))
    other = cache.load_or_build("toy", "other", _build(2))
    assert one.train.fingerprint == same.train.fingerprint
    assert one.train.fingerprint != other.train.fingerprint
    assert one.train.fingerprint != one.val.fingerprint  # other names


def test_an_interrupted_build_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        cache.load_or_build("toy", "k", _build(1, fail_at="test"))
    assert not list((tmp_path / "cache" / "datasets").iterdir())
    assert np.all(cache.load_or_build("toy", "k", _build(2)).train.images == 2)


def test_a_second_process_that_is_later_uses_what_the_first_made():
    def build(writer):
        cache.load_or_build("toy", "k", _build(1))  # the other one finishes meanwhile
        _build(1)(writer)

    assert np.all(cache.load_or_build("toy", "k", build).train.images == 1)


def test_incomplete_and_unordered_builds_are_errors():
    def no_test(writer):
        for split in ("train", "val"):
            writer.allocate(split, (1, 1, 1, 1))
            writer.describe(split, np.array([0]), ["a"])

    with pytest.raises(ValueError, match="not described: test"):
        cache.load_or_build("toy", "a", no_test)

    def unordered(writer):
        writer.allocate("train", (2, 1, 1, 1))
        writer.describe("train", np.array([1, 0]), ["a", "b"])

    with pytest.raises(ValueError, match="must ascend"):
        cache.load_or_build("toy", "b", unordered)


def _with_base(split, names, files=()):
    def build(writer):
        _build(1)(writer)
        writer.allocate(split, (2, 2, 2, 3))[:] = 5
        writer.describe(split, np.array([0, 1]), names, files)

    return build


def test_base_images_and_file_names_are_kept():
    data = cache.load_or_build(
        "toy", "k", _with_base("base_val", ["train-a", "train-b"], ["train-a/x", "train-b/y"])
    )
    assert list(data.base) == ["val"]
    assert np.all(data.base["val"].images == 5)
    assert data.base["val"].file_names == ("train-a/x", "train-b/y")
    assert data.train.file_names == ()
    assert not cache.load_or_build("toy", "other", _build(1)).base


def test_base_images_must_be_of_the_training_classes():
    with pytest.raises(ValueError, match="base_val: the classes must be those of train"):
        cache.load_or_build("toy", "a", _with_base("base_val", ["train-b", "train-a"]))
    with pytest.raises(ValueError, match="unknown split 'base_train'"):
        cache.load_or_build("toy", "b", _with_base("base_train", ["train-a", "train-b"]))
    with pytest.raises(ValueError, match="1 file names but 2 labels"):
        cache.load_or_build("toy", "c", _with_base("base_val", ["train-a", "train-b"], ["x"]))
