import re
import zipfile

import numpy as np
import pytest
from toy_copies import CLASSES, IMAGES, SIZE, Toy, as_directory, as_zip

from sib_jax.data import omniglot
from sib_jax.data.class_lists import OMNIGLOT
from sib_jax.data.errors import DataError
from sib_jax.data.load import load as load_by_name
from sib_jax.data.published import StandardSplit

pytestmark = pytest.mark.usefixtures("own_cache")

SPLIT = {
    "train": ("Greek/character01", "Greek/character02", "N_Ko/character01"),
    "val": ("Hebrew/character01", "Hebrew/character02"),
    "test": ("N_Ko/character02", "ULOG/character01"),
}
TOY = StandardSplit("toy Omniglot", SPLIT, IMAGES, "draw it")
EVALUATION = ("N_Ko", "ULOG")


@pytest.fixture(scope="module")
def toy():
    return Toy(SPLIT, channels=1)


def load(path):
    return omniglot.load(path, image_size=SIZE, standard_split=TOY)


def _folders(toy):
    for name, content in toy.pngs("{c}/{file}"):
        part = "evaluation" if name.startswith(EVALUATION) else "background"
        yield f"images_{part}/{name}", content


def _zips(root, toy, begin=""):
    root.mkdir()
    for part in ("background", "evaluation"):
        members = [m for m in _folders(toy) if part in m[0]]
        as_zip(root / f"{begin}images_{part}.zip", members)
    smaller = [(f"images_background_small1/{n.split('/', 1)[1]}", c) for n, c in members]
    as_zip(root / f"{begin}images_background_small1.zip", smaller)
    as_zip(root / "mini_imagenet_train.zip", [("Greek/character01/x.png", b"x")])
    return root


@pytest.mark.parametrize(
    "form",
    [
        lambda root, toy: as_directory(root, _folders(toy)),
        lambda root, toy: as_zip(root.parent / "all.zip", _folders(toy)),
        _zips,
        lambda root, toy: _zips(root, toy, "omniglot_"),
    ],
)
def test_each_form_gives_the_same(form, toy, tmp_path):
    data = load(form(tmp_path / "data", toy))
    assert data.name == "omniglot"
    toy.check(data)


def test_a_missing_part_is_named(toy, tmp_path):
    root = _zips(tmp_path / "d", toy)
    (root / "images_evaluation.zip").unlink()
    with pytest.raises(DataError, match="train lacks 1 of toy Omniglot's 3 classes: N_Ko/charac"):
        load(root)


def test_what_tensorflow_datasets_prepared(toy, tmp_path):
    import tensorflow_datasets as tfds
    from tfds_toy import prepare

    examples = {"train": [], "test": [], "small1": []}
    for classes in toy.images.values():
        for name, images in classes.items():
            alphabet, number = re.fullmatch(r"(.*)/character(\d+)", name).groups()
            for pixels in images.values():
                example = {
                    "image": np.repeat(pixels, 3, axis=2),
                    "alphabet": alphabet,
                    "alphabet_char_id": int(number) - 1,
                }
                examples["test" if alphabet in EVALUATION else "train"].append(example)
    examples["small1"] = examples["train"][:5]
    features = {
        "image": tfds.features.Image(shape=(SIZE, SIZE, 3)),
        "alphabet": tfds.features.ClassLabel(names=["Greek", "Hebrew", "N_Ko", "ULOG"]),
        "alphabet_char_id": np.int64,
    }
    prepare("omniglot", features, examples, tmp_path / "tfds")
    data = load(tmp_path / "tfds")
    for split, classes in toy.images.items():
        got = data.split(split)
        assert got.class_names == tuple(sorted(classes))
        for label, name in enumerate(got.class_names):
            images = {x.tobytes() for x in got.images[got.labels == label]}
            assert images == {x.tobytes() for x in classes[name].values()}


def test_nothing_there_says_how_to_get_it(tmp_path):
    for path in ("", str(tmp_path)):
        with pytest.raises(DataError, match=r"brendenlake/omniglot.*experiments/5w1s.py"):
            load_by_name("omniglot", path, image_size=32)


def test_the_split_is_that_of_snell_et_al():
    # Numbers of the paper, and classes of the lists in its code.
    assert [len(OMNIGLOT.classes[split]) for split in CLASSES] == [1028, 172, 423]
    val = {name.split("/")[0] for name in OMNIGLOT.classes["val"]}
    assert val == {"Armenian", "Bengali", "Early_Aramaic", "Hebrew", "Mkhedruli_(Georgian)"}
    test = OMNIGLOT.classes["test"]
    assert [n for n in test if n.startswith("Gurmukhi")] == [
        f"Gurmukhi/character{i}" for i in (42, 43, 44, 45)
    ]
    assert "Kannada/character01" in test
    assert "Gurmukhi/character41" in OMNIGLOT.classes["train"]


def test_the_embedded_lists_are_those_of_the_real_archives(real_data):
    found = set()
    for part, count in (("background", 964), ("evaluation", 659)):
        with zipfile.ZipFile(real_data / f"omniglot_images_{part}.zip") as archive:
            names = {
                n.split("/", 1)[1].rsplit("/", 1)[0] for n in archive.namelist() if ".png" in n
            }
        assert len(names) == count
        found |= names
    assert found == set(OMNIGLOT.home())
