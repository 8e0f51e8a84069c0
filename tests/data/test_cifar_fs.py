import json
import pickle

import numpy as np
import pytest
from toy_copies import CLASSES, IMAGES, TOY, Toy, as_directory, as_tar

from sib_jax.data import cifar_fs
from sib_jax.data.class_lists import CIFAR_FS
from sib_jax.data.errors import DataError
from sib_jax.data.load import load as load_by_name

pytestmark = pytest.mark.usefixtures("own_cache")

BERTINETTO = "cifar100/data/{c}/{file}"


@pytest.fixture(scope="module")
def toy():
    return Toy(size=32)


def load(path):
    return cifar_fs.load(path, standard_split=TOY)


def lists():
    for split, names in CLASSES.items():
        yield f"cifar100/splits/bertinetto/{split}.txt", "\n".join(reversed(names)).encode()
        yield f"cifar100/splits/fc100/{split}.txt", b"another"


def python_pickles(toy, below="cifar-100-python/"):
    """As CIFAR-100's authors lay it out: its train and test parts, all classes in both."""
    names = [c for classes in CLASSES.values() for c in classes]
    rows = [
        (names.index(c), file, pixels)
        for classes in toy.images.values()
        for c, images in classes.items()
        for file, pixels in images.items()
    ]
    order = np.random.default_rng(0).permutation(len(rows))
    for part, of_part in (("train", order[:20]), ("test", order[20:])):
        labels, files, images = zip(*(rows[i] for i in of_part), strict=True)
        content = {
            "data": np.stack([x.transpose(2, 0, 1).ravel() for x in images]),
            "fine_labels": list(labels),
            "filenames": list(files),
        }
        yield f"{below}{part}", pickle.dumps(content, protocol=2)
    yield f"{below}meta", pickle.dumps({"fine_label_names": names}, protocol=2)


def own_parts(toy):
    """Class folders in CIFAR-100's train and test parts, all classes in both."""
    for name, content in toy.pngs("{c}/{file}"):
        part = "train" if name.endswith(("0.png", "3.png")) else "test"
        yield f"CIFAR-100-dataset/{part}/{name}", content


FORMS = {
    "own parts": lambda root, toy: as_directory(root, own_parts(toy)),
    "folders": lambda root, toy: as_directory(root, toy.pngs("{split}/{c}/{file}")),
    "Bertinetto's": lambda root, toy: as_directory(root, [*toy.pngs(BERTINETTO), *lists()]),
    "python": lambda root, toy: as_directory(root, python_pickles(toy)),
    "python archive": lambda root, toy: as_tar(root / "c.tar.gz", python_pickles(toy), "w:gz"),
    "directory of it": lambda root, toy: (
        as_tar(root / "cifar-100-python.tar.gz", python_pickles(toy), "w:gz").parent
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_gives_the_same(form, toy, tmp_path):
    (tmp_path / "data").mkdir()
    data = load(FORMS[form](tmp_path / "data", toy))
    assert data.name == "cifar_fs"
    toy.check(data)


def test_lists_of_another_split_are_refused(toy, tmp_path):
    root = as_directory(tmp_path / "d", [*toy.pngs(BERTINETTO), *lists()])
    (root / "cifar100/splits/bertinetto/val.txt").write_text("n00000001\nn00000002\n")
    with pytest.raises(DataError, match=r"val\.txt is not the list.*n00000002, n00000005"):
        load(root)


def test_a_class_in_one_of_the_two_parts_alone_is_a_mixed_up_split(toy, tmp_path):
    members = [m for m in own_parts(toy) if not m[0].startswith("CIFAR-100-dataset/test/n00000007")]
    with pytest.raises(DataError, match="belongs to val"):
        load(as_directory(tmp_path / "d", members))


def test_a_short_archive_is_refused(toy, tmp_path):
    members = dict(python_pickles(toy))
    content = pickle.loads(members["cifar-100-python/test"])
    short = {key: values[1:] for key, values in content.items()}
    members["cifar-100-python/test"] = pickle.dumps(short)
    with pytest.raises(DataError, match=f"has {IMAGES} images, but in .* has {IMAGES - 1}"):
        load(as_tar(tmp_path / "x.tar", members.items()))
    members["cifar-100-python/test"] = pickle.dumps(content | {"fine_labels": [1]})
    with pytest.raises(DataError, match=r"python/test must hold images \[n, 3072\], n labels"):
        load(as_tar(tmp_path / "z.tar", members.items()))
    members["cifar-100-python/test"] = pickle.dumps({"data": 1})
    with pytest.raises(
        DataError, match=r"python/test is not a dict of data, fine_labels, filenames"
    ):
        load(as_tar(tmp_path / "y.tar", members.items()))


def _tfds_cifar100(toy, data_dir):
    import tensorflow_datasets as tfds
    from tfds_toy import prepare

    names = [c for classes in CLASSES.values() for c in classes]
    rows = [
        {"image": pixels, "label": c}
        for classes in toy.images.values()
        for c, images in classes.items()
        for pixels in images.values()
    ]
    features = {
        "image": tfds.features.Image(shape=(32, 32, 3)),
        "label": tfds.features.ClassLabel(names=names),
    }
    prepare("cifar100", features, {"train": rows[:20], "test": rows[20:]}, data_dir)
    return data_dir


def test_what_tensorflow_datasets_prepared(toy, tmp_path):
    data = load(_tfds_cifar100(toy, tmp_path / "tfds"))
    for split, classes in toy.images.items():
        got = data.split(split)
        assert got.class_names == tuple(sorted(classes))
        assert got.file_names == ()
        for label, name in enumerate(got.class_names):
            # Their order is tensorflow-datasets' own.
            images = {x.tobytes() for x in got.images[got.labels == label]}
            assert images == {x.tobytes() for x in classes[name].values()}


def test_what_only_tensorflow_reads_is_named(toy, tmp_path):
    root = _tfds_cifar100(toy, tmp_path / "tfds")
    path = root / "cifar100/3.0.0/dataset_info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"fileFormat": "tfrecord"}))
    with pytest.raises(DataError, match=r"prepared as tfrecord.*file_format='array_record'"):
        load(root)


def test_nothing_there_says_how_to_get_it(tmp_path):
    for path in ("", str(tmp_path)):
        with pytest.raises(DataError, match=r"cifar-100-python.tar.gz.*experiments/5w1s.py"):
            load_by_name("cifar_fs", path, image_size=32)


def test_the_embedded_lists_are_100_classes():
    names = [name for names in CIFAR_FS.classes.values() for name in names]
    assert len(set(names)) == len(names) == 100
    assert [len(CIFAR_FS.classes[split]) for split in CLASSES] == [64, 16, 20]


def test_a_data_set_prints_as_its_sizes(toy, tmp_path):
    data = load(FORMS["folders"](tmp_path / "data", toy))
    assert repr(data.val) == f"Split(2 classes, {2 * IMAGES} examples)"
    assert len(repr(data)) < 300
