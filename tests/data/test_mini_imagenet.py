import csv
import dataclasses
import io
import os
import pickle
import re
import tarfile

import numpy as np
import pytest
from PIL import Image
from toy_copies import CLASSES, IMAGES, SIZE, TOY, Toy, as_directory, as_tar, as_zip

from sib_jax.data import cache, mini_imagenet, prepare
from sib_jax.data.class_lists import MINI_IMAGENET
from sib_jax.data.errors import DataError
from sib_jax.data.load import load as load_by_name
from sib_jax.data.published import arrange
from sib_jax.data.reading import archives, class_folders, files

pytestmark = pytest.mark.usefixtures("own_cache")

FOLDERS = "{split}/{c}/{file}"


def load(path, split=TOY):
    return mini_imagenet.load(path, image_size=SIZE, standard_split=split)


def _lists(toy, name="{split}.csv"):
    for split, classes in toy.images.items():
        lines = "".join(f"{file},{c}\n" for c, images in classes.items() for file in images)
        yield name.format(split=split), f"filename,label\n{lines}".encode()


def _one_archive_a_split(root, toy):
    for split in CLASSES:
        only = Toy()
        only.images = {split: toy.images[split]}
        as_tar(root / f"mini_imagenet_{split}.tar", only.pngs(FOLDERS))
    as_zip(root / "omniglot_images_background.zip", [("a/b.png", b"not an image")])
    return root


def _archives_of_class_folders(root, toy):
    for split in CLASSES:
        only = Toy()
        only.images = {split: toy.images[split]}
        as_zip(root / f"{split}.zip", only.pngs("{c}/{file}"))
    return root


def _images_in_a_zip_beside_lists(root, toy):
    as_zip(root / "images.zip", toy.pngs("images/{file}"))
    return as_directory(root, _lists(toy))


FORMS = {
    "folders": lambda root, toy: as_directory(root, toy.pngs(FOLDERS)),
    "folders without splits": lambda root, toy: as_directory(root, toy.pngs("all/{c}/{file}")),
    "lists": lambda root, toy: as_directory(root, [*toy.pngs("images/{file}"), *_lists(toy)]),
    "lists of Ravi": lambda root, toy: as_directory(
        root, [*toy.pngs("images/{file}"), *_lists(toy, "ravi_{split}.csv")]
    ),
    "tar": lambda root, toy: as_tar(root / "x.tar", toy.pngs("./" + FOLDERS)),
    "compressed tar": lambda root, toy: as_tar(
        root / "x.tgz", reversed([*toy.pngs("Mini/" + FOLDERS)]), "w:gz"
    ),
    "zip": lambda root, toy: as_zip(root / "mini.zip", toy.pngs("Mini/{split}/{c}/{file}")),
    "zip of lists": lambda root, toy: as_zip(
        root / "x", [*_lists(toy, "m/{split}.csv"), *toy.pngs("m/images/{file}")]
    ),
    "directory of an archive": lambda root, toy: (
        as_zip(root / "Mini-ImageNet.zip", toy.pngs(FOLDERS)).parent
    ),
    "directory of an archive for each split": _one_archive_a_split,
    "archives named after the splits": _archives_of_class_folders,
    "lists beside an archive": _images_in_a_zip_beside_lists,
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_gives_the_same(form, toy, tmp_path):
    (tmp_path / "data").mkdir()
    data = load(FORMS[form](tmp_path / "data", toy))
    assert data.name == "mini_imagenet"
    assert not data.base
    toy.check(data)


def test_the_official_copy_brings_base_images(toy, tmp_path):
    root = as_directory(tmp_path / "d", toy.pngs(FOLDERS))
    (root / "train").rename(root / "train_train")
    extra = {"train": CLASSES["train"]}
    for number, part in enumerate(("val", "test"), 1):
        as_directory(root / f"train_{part}", Toy(extra, number).pngs("{c}/{file}"))
    data = load(root)
    toy.check(data)
    assert set(data.base) == {"val", "test"}
    for number, part in enumerate(("val", "test"), 1):
        _same_classes_and_images(data.base[part], Toy(extra, number).images["train"])


def _same_classes_and_images(split, images):
    assert split.class_names == tuple(sorted(images))
    stored = [images[c][file] for c in sorted(images) for file in sorted(images[c])]
    np.testing.assert_array_equal(split.images, np.stack(stored))


# Gidaris's pickles


def _python_2(images, labels, names):
    """What Python 2's cPickle wrote for a dict of an array, a list and a dict, opcode by opcode."""

    def text(value):
        return b"U" + bytes([len(value)]) + value.encode()

    def integer(value):
        return b"J" + value.to_bytes(4, "little", signed=True)

    raw = images.tobytes()
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
        + b"(K\x01("
        + b"".join(map(integer, images.shape))
        + b"tcnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff"
        + b"K\x00tb\x89T"
        + len(raw).to_bytes(4, "little")
        + raw
        + b"tb"
    )
    listed = b"](" + b"".join(map(integer, labels)) + b"e"
    mapped = b"}(" + b"".join(text(n) + integer(i) for n, i in names.items()) + b"u"
    pairs = text("data") + array + text("labels") + listed + text("catname2label") + mapped
    return b"\x80\x02}(" + pairs + b"u."


def _pickles(toy, write=_python_2, parts=None):
    """The five files; labels run over all classes as in the real ones, images are shuffled."""
    base = {"train": CLASSES["train"]}
    parts = parts or {
        "train_phase_train": toy.images["train"],
        "train_phase_val": Toy(base, 1).images["train"],
        "train_phase_test": Toy(base, 2).images["train"],
        "val": toy.images["val"],
        "test": toy.images["test"],
    }
    label = {c: i for i, c in enumerate([c for names in CLASSES.values() for c in names])}
    for part, classes in parts.items():
        # Classes interleaved; those of a class in the order of their file names.
        rows = [(c, classes[c][sorted(classes[c])[i]]) for i in range(IMAGES) for c in classes]
        images = np.stack([pixels for _, pixels in rows])
        content = write(images, [label[c] for c, _ in rows], {c: label[c] for c in classes})
        yield f"miniImageNet_category_split_{part}.pickle", content


def _python_3(images, labels, names):
    return pickle.dumps({"data": images, "labels": np.array(labels), "catname2label": names})


@pytest.mark.parametrize("write", [_python_2, _python_3])
def test_pickles(write, toy, tmp_path):
    data = load(as_directory(tmp_path / "d", _pickles(toy, write)))
    for split, classes in toy.images.items():
        _same_classes_and_images(data.split(split), classes)
        assert data.split(split).file_names == ()
    for number, part in enumerate(("val", "test"), 1):
        extra = Toy({"train": CLASSES["train"]}, number).images["train"]
        _same_classes_and_images(data.base[part], extra)


def test_pickles_in_an_archive_and_of_another_size(toy, tmp_path):
    path = as_tar(tmp_path / "x.tar", _pickles(toy))
    data = mini_imagenet.load(path, image_size=6, standard_split=TOY)
    folders = as_directory(tmp_path / "d", toy.pngs(FOLDERS))
    scaled = mini_imagenet.load(folders, image_size=6, standard_split=TOY)
    for split in CLASSES:
        assert data.split(split).fingerprint == scaled.split(split).fingerprint


class _Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_names_something_to_run_is_refused(toy, tmp_path):
    parts = dict(_pickles(toy))
    made = tmp_path / "made"
    parts["miniImageNet_category_split_val.pickle"] = pickle.dumps({"data": _Touch(made)})
    root = as_directory(tmp_path / "d", parts.items())
    with pytest.raises(DataError, match=r"split_val\.pickle wants to use (posix|nt)\.mkdir.*refus"):
        load(root)
    assert not made.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"not a pickle",
        pickle.dumps({"data": np.zeros((2, 4, 4, 3), np.uint8), "labels": [0]})[:-20],
        pickle.dumps([1, 2]),
        pickle.dumps({"data": np.zeros((2, 4, 4)), "labels": [0, 1], "catname2label": {}}),
    ],
)
def test_a_pickle_of_something_else_is_named(content, toy, tmp_path):
    parts = dict(_pickles(toy))
    parts["miniImageNet_category_split_val.pickle"] = content
    with pytest.raises(DataError, match=r"miniImageNet_category_split_val\.pickle"):
        load(as_directory(tmp_path / "d", parts.items()))


# Incomplete and mixed-up copies


def _broken(root, toy, change):
    change(as_directory(root, toy.pngs(FOLDERS)))
    return root


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda root: (root / "val/n00000005/n0000000500002.png").unlink(),
            "every class of toy-ImageNet has 4 images, but in val 'n00000005' has 3. Complete it",
        ),
        (
            lambda root: (root / "val/n00000005/more.png").write_bytes(b""),
            "in val 'n00000005' has 5",
        ),
        (
            lambda root: (root / "val/n00000005").rename(root / "test/n00000005"),
            "the class 'n00000005' is in test, but belongs to val of toy-ImageNet",
        ),
        (
            lambda root: (root / "train/n00000004").rename(root / "train/fish"),
            "train holds the class 'fish', which is not one of toy-ImageNet's 7",
        ),
        (
            lambda root: (root / "train/n00000004").rename(root / "n-other"),
            "train lacks 1 of toy-ImageNet's 3 classes: n00000004. Complete it: draw it",
        ),
    ],
)
def test_a_copy_that_is_not_the_data_set(change, message, toy, tmp_path):
    with pytest.raises(DataError, match=re.escape(message)) as raised:
        load(_broken(tmp_path / "d", toy, change))
    assert str(raised.value).startswith(str(tmp_path / "d"))
    assert not (tmp_path / "cache").exists()


def test_pickles_that_are_not_the_data_set(toy, tmp_path):
    parts = dict(_pickles(toy))
    del parts["miniImageNet_category_split_test.pickle"]
    with pytest.raises(DataError, match=r"no miniImageNet_category_split_test\.pickle"):
        load(as_directory(tmp_path / "d", parts.items()))
    mixed = _pickles(toy, parts={"val": {"n00000007": toy.images["train"]["n00000007"]}})
    with pytest.raises(DataError, match="'n00000007' is in val, but belongs to train"):
        load(as_directory(tmp_path / "e", (dict(_pickles(toy)) | dict(mixed)).items()))


def test_lists_without_their_images(toy, tmp_path):
    members = [*toy.pngs("images/{file}"), *_lists(toy)]
    root = as_directory(tmp_path / "d", [m for m in members if "n0000000500002" not in m[0]])
    with pytest.raises(DataError, match=r"val\.csv lists 8.*1 of them.*n0000000500002\.png"):
        load(root)
    (root / "test.csv").unlink()
    with pytest.raises(DataError, match=r"no test\.csv"):
        load(root)
    (root / "test.csv").write_text("n1.png n1\n")
    with pytest.raises(DataError, match=r"test\.csv has no columns filename and label"):
        load(root)


def test_nothing_there_says_how_to_get_it_and_what_runs_without(tmp_path):
    (tmp_path / "d").mkdir()
    for path in ("", str(tmp_path / "d")):
        with pytest.raises(DataError) as raised:
            load_by_name("mini_imagenet", path, image_size=84)
        message = str(raised.value)
        assert path in message
        assert "train/n01532829" in message
        assert "image-net.org" in message
        assert "python -m sib_jax.main --config=experiments/5w1s.py" in message
        assert "\n" not in message
    with pytest.raises(DataError, match="nowhere does not exist"):
        load(tmp_path / "nowhere")
    (tmp_path / "x.txt").write_text("text")
    with pytest.raises(DataError, match=r"x\.txt is neither a directory nor a tar or zip"):
        load(tmp_path / "x.txt")


# Archives


def test_names_that_lead_elsewhere_and_links_are_left_alone(toy, tmp_path):
    members = [*toy.pngs(FOLDERS), ("../../train/n00000002/evil.png", b"x")]
    (tmp_path / "in").mkdir()
    tar = as_tar(tmp_path / "in/x.tar", members)
    with tarfile.open(tar, "a") as archive:
        link = tarfile.TarInfo("train/n00000002/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "n000000020000.png"
        archive.addfile(link)
    for path in (tar, as_zip(tmp_path / "in/x.zip", members)):
        toy.check(load(path))
    assert {p.name for p in tmp_path.iterdir()} == {"in", "cache"}
    assert {p.name for p in (tmp_path / "in").iterdir()} == {"x.tar", "x.zip"}


@pytest.mark.parametrize("kind", ["tar", "tgz", "zip"])
def test_a_damaged_archive_is_named(kind, toy, tmp_path):
    path = tmp_path / f"x.{kind}"
    if kind == "zip":
        as_zip(path, toy.pngs(FOLDERS))
        content = bytearray(path.read_bytes())
        content[60:200] = bytes(140)  # of the first image
        path.write_bytes(content)
    else:
        as_tar(path, toy.pngs(FOLDERS), "w:gz" if kind == "tgz" else "w")
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=rf"x\.{kind}"):
        load(path)
    assert not list((tmp_path / "cache" / "datasets").iterdir())


def test_a_damaged_image_in_an_archive_is_named(toy, tmp_path):
    members = [(name, b"x" if name.endswith("600001.png") else c) for name, c in toy.pngs(FOLDERS)]
    path = as_zip(tmp_path / "x.zip", members)
    with pytest.raises(
        DataError, match=r"x\.zip/test/n00000006/n0000000600001\.png cannot be read"
    ):
        load(path)


def test_an_archive_is_read_once_and_again_when_it_changes(toy, tmp_path, monkeypatch):
    path = as_tar(tmp_path / "x.tar", toy.pngs(FOLDERS))
    load(path)
    with monkeypatch.context() as patch:
        patch.setattr(archives._Tar, "_open", lambda _: pytest.fail("listed or read again"))
        toy.check(load(path))
    other = Toy(seed=9)
    as_tar(path, other.pngs(FOLDERS))
    os.utime(path, ns=(1, 1))
    other.check(load(path))


def test_archives_named_after_a_part_of_the_training_classes(toy, tmp_path):
    root = _archives_of_class_folders(as_directory(tmp_path / "d", [("note.txt", b"")]), toy)
    extra = Toy({"train": CLASSES["train"]}, 1)
    as_zip(root / "train_val.zip", extra.pngs("{c}/{file}"))
    data = load(root)
    toy.check(data)
    _same_classes_and_images(data.base["val"], extra.images["train"])


def test_a_class_in_an_archive_named_after_another_split(toy, tmp_path):
    root = _archives_of_class_folders(as_directory(tmp_path / "d", [("note.txt", b"")]), toy)
    (root / "val.zip").rename(root / "x.zip")
    (root / "test.zip").rename(root / "val.zip")
    with pytest.raises(DataError, match="the class 'n00000003' is in val, but belongs to test"):
        load(root)


def test_another_standard_split_is_another_data_set(toy, tmp_path):
    path = as_tar(tmp_path / "x.tar", toy.pngs(FOLDERS))
    load(path)
    with pytest.raises(DataError, match="has 5 images"):
        load(path, dataclasses.replace(TOY, images=5))


# The real one


def test_the_embedded_lists_are_those_of_ravi_and_larochelle(real_data):
    for split, names in MINI_IMAGENET.classes.items():
        with (real_data / f"ravi_{split}.csv").open() as file:
            assert set(names) == {row["label"] for row in csv.DictReader(file)}


def test_the_real_archives_hold_the_files_of_the_lists(real_data):
    parts = {s: archives.open_archive(real_data / f"mini_imagenet_{s}.tar") for s in CLASSES}
    found = class_folders.find(files.together("x", parts), MINI_IMAGENET)
    layout = arrange(found, MINI_IMAGENET, "x")
    for split in CLASSES:
        with (real_data / f"ravi_{split}.csv").open() as file:
            rows = sorted((row["label"], row["filename"]) for row in csv.DictReader(file))
        held = [(c, name.split("/")[-1]) for c, names in layout[split].items() for name in names]
        assert held == rows


def test_real_images_are_those_that_pillow_reads(real_data, tmp_path):
    archive = archives.open_archive(real_data / "mini_imagenet_val.tar")
    copy = prepare.ImageFiles(archive, {"val": {"n01855672": archive.names[:3]}})
    writer = cache.Writer(tmp_path)
    copy.write(writer, 84, 3)
    stored = np.load(tmp_path / "val_images.npy")
    for row, name in enumerate(archive.names[:3]):
        image = Image.open(io.BytesIO(archive.content(name)))
        np.testing.assert_array_equal(stored[row], np.asarray(image))


def test_a_list_that_was_corrected_is_read_anew(toy, tmp_path):
    """Its images are the same files, of the same names."""
    root = as_directory(tmp_path, [*toy.pngs("images/{file}"), *_lists(toy)])
    right = root / "train.csv"
    before = right.read_text()
    header, *lines = before.splitlines()
    first, last = (line.split(",")[0] for line in (lines[0], lines[-1]))
    swapped = [line.replace(first, "?").replace(last, first).replace("?", last) for line in lines]
    right.write_text("\n".join([header, *swapped]) + "\n")
    wrong = load(root).train.images
    right.write_text(before)
    found = load(root)
    assert not np.array_equal(found.train.images, wrong)
    toy.check(found)
