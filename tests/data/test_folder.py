import logging

import numpy as np
import pytest
from PIL import Image

from sib_jax.data import folder, prepare
from sib_jax.data.errors import DataError
from sib_jax.data.load import load
from sib_jax.runtime.cache_dir import cache_dir

pytestmark = pytest.mark.usefixtures("own_cache")


def _save(path, color=(200, 10, 10), size=(10, 10), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path, **options)


def _tree(root, classes=10, images=3):
    for c in range(classes):
        for i in range(images):
            _save(root / f"class{c:02}" / f"{i}.png", (20 * c, i, 0))
    return root


def _split_tree(root, names=("train", "val", "test")):
    for split in names:
        _tree(root / split, classes=2)
        for c in range(2):
            (root / split / f"class{c:02}").rename(root / split / f"{split}{c}")
    return root


def test_splits_below_the_directory_are_kept(tmp_path):
    for val in ("val", "validation", "valid"):
        names = ("train", val, "test")
        data = folder.load(_split_tree(tmp_path / names[1], names), image_size=8)
        assert data.train.class_names == ("train0", "train1")
        assert data.val.class_names == (f"{names[1]}0", f"{names[1]}1")
        assert data.train.images.shape == (6, 8, 8, 3)
        assert tuple(data.train.images[3, 4, 4]) == (20, 0, 0)


def test_class_folders_are_split_by_class(tmp_path):
    data = folder.load(_tree(tmp_path / "d"), image_size=8, ratios=(0.6, 0.2, 0.2))
    sizes = [len(s.class_names) for s in (data.train, data.val, data.test)]
    assert sizes == [6, 2, 2]
    names = {*data.train.class_names, *data.val.class_names, *data.test.class_names}
    assert len(names) == 10
    for split in (data.train, data.val, data.test):
        for label, name in enumerate(split.class_names):
            reds = split.images[split.labels == label, 0, 0, 0]
            np.testing.assert_array_equal(reds, 20 * int(name[-2:]))
    same = folder.load(tmp_path / "d", image_size=8, ratios=(0.6, 0.2, 0.2))
    assert same.test.class_names == data.test.class_names
    other = folder.load(tmp_path / "d", image_size=8, ratios=(0.6, 0.2, 0.2), seed=1)
    assert other.test.class_names != data.test.class_names


def test_every_split_gets_a_class(tmp_path):
    data = folder.load(_tree(tmp_path / "d", classes=3), image_size=8, ratios=(0.98, 0.01, 0.01))
    assert [len(s.class_names) for s in (data.train, data.val, data.test)] == [1, 1, 1]


def test_formats_modes_and_shapes(tmp_path):
    root = _split_tree(tmp_path / "d")
    spot = root / "train" / "train0"
    for suffix in ("jpg", "webp", "gif", "bmp", "tiff", "ppm"):
        _save(spot / f"{suffix}.{suffix}", (200, 200, 200), (30, 11))
    Image.new("L", (9, 40), 200).save(spot / "gray.png")
    Image.new("RGBA", (12, 12), (0, 0, 0, 0)).save(spot / "transparent.png")
    Image.new("P", (12, 12), 3).save(spot / "palette.png")
    Image.fromarray(np.full((12, 12), 51400, np.uint16)).save(spot / "deep.png")
    Image.new("CMYK", (12, 12), (0, 0, 0, 0)).save(spot / "print.tif")
    data = folder.load(root, image_size=8)
    names = sorted(p.name for p in spot.iterdir())
    found = dict(zip(names, data.train.images[data.train.labels == 0], strict=True))
    for name in ("jpg.jpg", "webp.webp", "gif.gif", "bmp.bmp", "tiff.tiff", "ppm.ppm", "gray.png"):
        np.testing.assert_allclose(found[name].astype(int), 200, atol=2, err_msg=name)
    np.testing.assert_array_equal(found["transparent.png"], 255)
    np.testing.assert_array_equal(found["print.tif"], 255)
    np.testing.assert_allclose(found["deep.png"].astype(int), 200, atol=1)


def test_the_centre_is_kept_and_the_camera_was_held_upright(tmp_path):
    root = _split_tree(tmp_path / "d")
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 255  # the middle third
    Image.fromarray(pixels).save(root / "train" / "train0" / "a.png")
    half = np.zeros((10, 10, 3), np.uint8)
    half[:, 5:] = 255  # right half white
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to view
    Image.fromarray(half).save(root / "train" / "train0" / "b.png", exif=exif)
    data = folder.load(root, image_size=10)
    images = data.train.images[data.train.labels == 0]
    np.testing.assert_array_equal(images[3][:, 1:9], 255)
    turned = images[4][:, :, 0]
    np.testing.assert_array_equal(turned[:4], 0)
    np.testing.assert_array_equal(turned[6:], 255)


def test_gray(tmp_path):
    data = folder.load(_split_tree(tmp_path / "d"), image_size=8, channels=1)
    assert data.train.images.shape == (6, 8, 8, 1)


def test_nested_folders_and_other_files(tmp_path, caplog):
    root = _split_tree(tmp_path / "d")
    _save(root / "train" / "train0" / "deep" / "er" / "x.PNG", (1, 2, 3))
    (root / "train" / "train0" / "Thumbs.db").write_bytes(b"x")
    (root / "train" / "train1" / ".hidden.png").write_bytes(b"x")
    (root / "README.txt").write_text("about")
    with caplog.at_level(logging.INFO, "sib_jax"):
        data = folder.load(root, image_size=8)
    assert data.train.class_counts.tolist() == [4, 3]
    assert "skipped 2 other files" in caplog.text


def test_links_within_the_directory_are_followed_but_not_in_circles(tmp_path):
    root = _split_tree(tmp_path / "d")
    (root / "train" / "train1").rename(root / ".store")
    (root / "train" / "train1").symlink_to("../.store")
    (root / "train" / "train0" / "up").symlink_to(root / "train" / "train0")
    (root / "train" / "train0" / "3.png").symlink_to("../../.one.png")
    _save(root / ".one.png", (7, 7, 7))
    assert folder.load(root, image_size=8).train.class_counts.tolist() == [4, 3]


@pytest.mark.parametrize("target", [".", "..", "../..", "../../class03", "../../class03/0.png"])
def test_a_link_never_takes_the_images_of_another_class(target, tmp_path, caplog):
    root = _tree(tmp_path / "d")
    link = root / "class00" / "deep" / "link.png"
    link.parent.mkdir()
    link.symlink_to(target)
    with caplog.at_level(logging.INFO, "sib_jax"):
        data = folder.load(root, image_size=8)
    for split in (data.train, data.val, data.test):
        assert set(split.class_counts.tolist()) == {3}
    assert "to what is counted in its own place, such as class00/deep/link.png" in caplog.text


def test_many_links_take_little_time(tmp_path):
    root = _tree(tmp_path / "d", classes=3)
    for level in range(30):  # 2**30 paths
        (root / "class00" / f"l{level}").mkdir()
        for name in "ab":
            (root / "class00" / f"l{level}" / name).symlink_to(f"../l{level + 1}")
    found = folder.find(root, (0.6, 0.2, 0.2), 0)
    assert {len(images) for classes in found.values() for images in classes.values()} == {3}


def test_links_do_not_lead_out_of_the_directory(tmp_path, caplog):
    root = _split_tree(tmp_path / "d")
    _save(tmp_path / "outside" / "x.png")
    (root / "val" / "val0" / "x.png").symlink_to(tmp_path / "outside" / "x.png")
    (root / "val" / "val0" / "more").symlink_to(tmp_path / "outside")
    (root / "val" / "val0" / "gone.png").symlink_to("nowhere")
    with caplog.at_level(logging.INFO, "sib_jax"):
        assert folder.load(root, image_size=8).val.class_counts.tolist() == [3, 3]
    assert "skipped 2 links that lead out of the directory, such as val/val0/" in caplog.text
    assert "skipped 1 links that lead nowhere, such as val/val0/gone.png" in caplog.text
    (root / "val" / "val1").rename(tmp_path / "outside" / "val1")
    (root / "val" / "val1").symlink_to(tmp_path / "outside" / "val1")
    _error("'val1' of val has 0 images.*out of the directory are not followed .3 here", root)


def test_the_directory_itself_may_be_a_link(tmp_path):
    _split_tree(tmp_path / "d")
    (tmp_path / "link").symlink_to("d")
    assert folder.load(tmp_path / "link", image_size=8).train.class_counts.tolist() == [3, 3]


def test_identical_images_are_told(tmp_path, caplog):
    root = _split_tree(tmp_path / "d")
    for split in ("train", "val", "test"):  # else those of `_tree` are alike
        for number, path in enumerate(sorted((root / split).rglob("*.png"))):
            _save(path, (10 * number, 80 * "train val test".index(split) // 6, 0))
    with caplog.at_level(logging.WARNING, "sib_jax"):
        folder.load(root, image_size=8)
    assert "the same" not in caplog.text
    content = (root / "train" / "train0" / "1.png").read_bytes()
    (root / "val" / "val1" / "again.png").write_bytes(content)
    with caplog.at_level(logging.WARNING, "sib_jax"):
        folder.load(root, image_size=8)
    assert (
        "folder: 1 image is the same as one of another class or split (1 of another split), "
        "such as train/train0/1.png and val/val1/again.png"
    ) in caplog.text


def test_decoded_once_and_again_when_a_file_changes(tmp_path, monkeypatch):
    root = _split_tree(tmp_path / "d")
    first = folder.load(root, image_size=8)
    with monkeypatch.context() as patch:
        patch.setattr(prepare, "decode", lambda *_: pytest.fail("decoded again"))
        assert folder.load(root, image_size=8).train.fingerprint == first.train.fingerprint
    _save(root / "train" / "train0" / "0.png", (9, 9, 9), (11, 11))
    assert folder.load(root, image_size=8).train.fingerprint != first.train.fingerprint


def test_copies_have_equal_fingerprints(tmp_path):
    one = folder.load(_split_tree(tmp_path / "one"), image_size=8)
    two = folder.load(_split_tree(tmp_path / "two"), image_size=8)
    assert one.train.fingerprint == two.train.fingerprint
    assert one.train.images.filename != two.train.images.filename


def _error(match, *args, **kwargs):
    with pytest.raises(DataError, match=match):
        folder.load(*args, **{"image_size": 8, **kwargs})


def test_errors_say_what_is_wrong(tmp_path):
    _error("nowhere does not exist", tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    _error("is a file", tmp_path / "file")
    _error("image_size must be 1 or more, got 0", tmp_path, image_size=0)
    (tmp_path / "empty").mkdir()
    _error("0 class folders.*DIR/CLASS/IMAGE", tmp_path / "empty")

    root = _split_tree(tmp_path / "noval", ("train", "test"))
    _error("test, train, but no val", root)
    _save(root / "Val" / "class00" / "0.png")
    _error("Val, test, train, but no val: give it folders of all three splits", root)

    root = _split_tree(tmp_path / "twice")
    _save(root / "validation" / "class00" / "0.png")
    _error("holds val and validation, which are names of one split", root)

    root = _split_tree(tmp_path / "noimages")
    for path in (root / "test").rglob("*.png"):
        path.rename(path.with_suffix(".txt"))
    _error("no images found for test", root)

    root = _split_tree(tmp_path / "single")
    for name in ("1.png", "2.png"):
        (root / "val" / "val1" / name).unlink()
    _error("class 'val1' of val has 1 image.*at least 2", root)

    root = _split_tree(tmp_path / "shared")
    (root / "test" / "test0").rename(root / "test" / "train0")
    _error("class 'train0' is in both train and test", root)

    root = _split_tree(tmp_path / "ratios")
    _error("three numbers above 0", _tree(tmp_path / "flat"), ratios=(1, 0, 0))

    root = _split_tree(tmp_path / "damaged")
    (root / "val" / "val0" / "1.png").write_bytes(b"not a png")
    _error(r"val0/1\.png cannot be read as an image.*repair or remove", root)

    root = _split_tree(tmp_path / "floats")
    Image.fromarray(np.full((20, 20), 0.5, np.float32)).save(root / "val" / "val0" / "1.tif")
    _error(r"val0/1\.tif cannot be read .*not whole numbers: save it with 8 or 16 bits", root)
    assert not list((cache_dir() / "datasets").glob("folder-*/*damaged*"))

    with pytest.raises(DataError, match=r"--data_dir=DIR.*experiments/5w1s\.py"):
        load("folder", image_size=8)
    with pytest.raises(DataError, match="unknown data set 'imagenet'"):
        load("imagenet", str(tmp_path), image_size=8)


def test_what_is_there_is_shown_before_any_image_is_decoded(tmp_path, monkeypatch):
    """So that too few classes or images are told at once, and not after minutes of decoding."""
    shown = []

    def refuse(sizes):
        shown.append(sizes)
        raise DataError("too few")

    root = _split_tree(tmp_path / "d")
    (root / "val" / "val1" / "2.png").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(prepare, "decode", lambda *_: pytest.fail("decoded"))
        with pytest.raises(DataError, match="too few"):
            load("folder", str(root), image_size=8, check=refuse)
    assert shown == [folder.load(root, image_size=8).sizes]
    assert shown[0].classes["val"] == {"val0": 3, "val1": 2}


def test_what_systems_leave_beside_the_classes_is_no_class(tmp_path, caplog):
    _tree(tmp_path / "d", classes=4)
    (tmp_path / "d" / "__MACOSX" / "class00").mkdir(parents=True)
    (tmp_path / "d" / "__MACOSX" / "class00" / "._0.png").write_bytes(b"")
    (tmp_path / "d" / ".class04").mkdir()
    with caplog.at_level(logging.INFO, "sib_jax"):
        data = folder.load(tmp_path / "d", image_size=8)
    assert f"{tmp_path}/d: skipped 1 hidden folders, such as .class04" in caplog.text
    names = {*data.train.class_names, *data.val.class_names, *data.test.class_names}
    assert names == {f"class{c:02}" for c in range(4)}
