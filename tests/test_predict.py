"""`python -m sib_jax.predict`, from folders of images to a CSV and a sheet."""

import csv
import errno
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sib_jax
from sib_jax import predict
from sib_jax.data import given_images
from sib_jax.experiment.predictor import Prediction
from sib_jax.methods import METHODS
from sib_jax.report import contact_sheet

BACKBONE = "--backbone=mini_imagenet-conv4_64"


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Two classes of one colour each: 2 and 3 examples, and 3 queries of each, of several sizes."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for name, colour, examples in (("red", (200, 30, 30), 2), ("blue, dark", (20, 20, 120), 3)):
        for part, count in (("support", examples), ("query", 3)):
            folder = root / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                noisy = np.array(colour) + rng.normal(0, 10, (60 + 9 * i, 90, 3))
                Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(folder / f"{i}.png")
    (root / "query" / "red" / "notes.txt").write_text("no image")
    (root / ".hidden").mkdir()
    Image.new("RGB", (9, 9)).save(root / ".hidden" / ".a.png")
    return root


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_folders_to_csv_summary_and_sheet(images, tmp_path, capsys):
    out, sheet = tmp_path / "out.csv", tmp_path / "sheet.png"
    predict.main(
        [
            BACKBONE,
            f"--support={images}/support",
            f"--query={images}/query",
            f"--out={out}",
            f"--sheet={sheet}",
        ]
    )
    told = capsys.readouterr().out
    assert "6 images sorted into 2 classes from 5 examples, by soft_kmeans" in told
    assert "accuracy 100.0%: 6 of 6 images" in told
    table = rows(out)
    assert list(table[0]) == ["image", "label", "probability", "blue, dark", "red"]
    assert len(table) == 6
    for row in table:
        assert row["label"] in row["image"]
        assert float(row["probability"]) == max(float(row["red"]), float(row["blue, dark"]))
    with Image.open(sheet) as image:
        assert image.width > 1000


@pytest.mark.parametrize("most", [2, 1])
def test_a_sheet_has_each_class_with_its_surest_images_first(images, tmp_path, monkeypatch, most):
    monkeypatch.setattr(predict, "_CLASSES", most)
    support = given_images.find_support(f"{images}/support")
    query = given_images.find_query(f"{images}/query")
    blue = [name for name in query.names if "blue" in name]
    sure = {name: 0.95 - 0.1 * i for i, name in enumerate(blue)}
    columns = [[sure[n], 1 - sure[n]] if n in sure else [0.3, 0.7] for n in query.names]
    columns[query.names.index(blue[0])] = [0.1, 0.9]  # a wrong one: red has four images
    found = Prediction(("blue, dark", "red"), np.array(columns), None)
    truth = predict.true_classes(query.folders, found.classes)
    drawn = []
    monkeypatch.setattr(contact_sheet, "write", lambda _, sections: drawn.extend(sections))
    predict.write_sheet(tmp_path / "sheet.png", support, query, found, truth)
    titles = ["blue, dark: 2 images", "red: 4 images"]
    if most == 1:
        titles = ["the 1 classes with the most images; 1 more not shown", "red: 4 images"]
    assert [section.title for section in drawn] == titles
    red = drawn[-1]
    assert [tile.caption for tile in red.queries] == ["90%", "70%", "70%", "70%"]
    assert [tile.wrong for tile in red.queries] == [True, False, False, False]
    assert len(red.examples) == 2
    if most == 2:
        assert [tile.caption for tile in drawn[0].queries] == ["85%", "75%"]
    assert contact_sheet.draw(drawn).height > 100


def test_the_table_goes_to_the_standard_output_and_links_and_hidden_are_told(
    images, tmp_path, capsysbinary
):
    query = tmp_path / "query"
    shutil.copytree(images / "query", query)
    (query / "red" / "twice.png").symlink_to("0.png")
    (query / "red" / "gone.png").symlink_to("nowhere.png")
    (query / ".green").mkdir()
    shutil.copy(query / "red" / "0.png", query / ".green" / "0.png")
    (query / "__MACOSX").mkdir()
    shutil.copy(query / "red" / "0.png", query / "__MACOSX" / "._0.png")
    words = [BACKBONE, f"--support={images}/support", f"--query={query}"]
    predict.main([*words, f"--out={tmp_path}/out.csv"])
    told = capsysbinary.readouterr().out.decode()
    assert f"left out of --query: {query}/red/twice.png, {query}/red/gone.png, linked to" in told
    assert f"left out of --query: {query}/.green/0.png, hidden by a name that begins with" in told
    predict.main([*words, "--out=-"])
    written = capsysbinary.readouterr()
    assert written.out == (tmp_path / "out.csv").read_bytes()
    assert "accuracy 100.0%" in written.err.decode()


def test_a_glob_has_no_accuracy_where_its_folders_are_no_classes(images, tmp_path, capsys):
    loose = tmp_path / "loose"
    loose.mkdir()
    for i, file in enumerate(sorted(images.glob("query/*/*.png"))):
        (loose / f"{i}.png").write_bytes(file.read_bytes())
    predict.main(
        [
            BACKBONE,
            "--method=simple_shot",
            f"--support={images}/support",
            f"--query={loose}/[0-3].png",
            f"--out={tmp_path}/out.csv",
        ]
    )
    told = capsys.readouterr().out
    assert "4 images" in told
    assert "accuracy " not in told
    assert "rarely chooses a class with fewer examples" in told  # there are 2 and 3
    assert [row["label"] for row in rows(tmp_path / "out.csv")] == ["blue, dark"] * 3 + ["red"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"support": None}, "arguments are required: --support"),
        ({"support": "nowhere"}, "--support=nowhere is not a folder"),
        (
            {"support": "{images}/support/red"},
            "images outside of them: is this what --query is for?",
        ),
        ({"query": "nowhere/*.png"}, "is not a folder, and matches no image files"),
        ({"query": "{images}/.hidden/"}, "holds no images ({images}/.hidden/.a.png: hidden by a n"),
        ({"query": "{images}/.hidden/.*.png"}, "image files ({images}/.hidden/.a.png: hidden by"),
        ({"run": "nowhere"}, "backbone, method and image_size are for use without a run"),
        ({"backbone": None}, "give --run=WORKDIR of a finished run, or --backbone"),
        ({"run": "nowhere", "backbone": None}, "nowhere does not exist"),
        ({"backbone": "resnet"}, "neither a file nor a shipped backbone"),
        ({"method": "sib"}, "'sib' is trained: it needs a run, or an official netSIB"),
        ({"seed": "-1"}, "must be a whole number from 0 to 4294967295, got -1"),
        ({"steps": "three"}, "invalid int value: 'three'"),
        ({"out": "/dev/null"}, "it is a device or pipe, not a file"),
        ({"out": "{images}/support/red/0.png"}, "is one of the images: name another file"),
        ({"sheet": "{images}/query/red/1.png"}, "is one of the images: name another file"),
        ({"support": ""}, "is empty"),
        ({"sheet": "sheet.jpg"}, "its name must end in .png"),
        ({"sheet": "a.png", "out": "a.png"}, "--sheet and --out are the same file"),
        ({"copy_to": "{images}"}, "{images} already holds files: name a new folder for copies"),
        ({"copy_to": "{images}/query/x"}, "is in {images}/query, where the copies would be sor"),
        ({"copy_to": "{images}/support/red/0.png"}, "0.png is a file, not a folder"),
        ({"sure": "0.5"}, "give --copy_to too"),
        ({"sure": "60%", "copy_to": "x"}, "must be a number from 0 to 1, got 60%"),
    ],
)
def test_a_mistake_is_one_line(images, tmp_path, options, message):
    given = {
        "backbone": "mini_imagenet-conv4_64",
        "support": "{images}/support",
        "query": "{images}/query",
        "out": f"{tmp_path}/out.csv",
        **options,
    }
    words = [f"--{k}={v.format(images=images)}" for k, v in given.items() if v is not None]
    with pytest.raises(SystemExit) as ended:
        predict.main(words)
    said = str(ended.value)
    assert said.startswith("sib_jax: ")
    assert message.format(images=images) in said
    assert "\n" not in said


def test_a_pattern_that_the_shell_has_spread_out_is_told(images):
    names = sorted(str(path) for path in images.glob("query/*/*.png"))
    with pytest.raises(SystemExit, match=r"and 1 more; a pattern goes in quotes: --query='DIR"):
        predict.main([BACKBONE, f"--support={images}/support", "--query", *names, names[0]])


def test_damaged_images_are_named(images, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    words = [BACKBONE, f"--support={images}/support", f"--query={tmp_path}"]
    with pytest.raises(SystemExit, match=r"broken\.png cannot be read as an image"):
        predict.main(words)
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(SystemExit, match=r"2 images cannot be used: .*broken\.png.*; .*empty\.png"):
        predict.main(words)


def test_a_damaged_query_is_left_out_and_named(images, tmp_path, capsys):
    shutil.copytree(images / "query", tmp_path / "query")
    (tmp_path / "query" / "red" / "broken.png").write_bytes(b"no image")
    (tmp_path / "query" / "heic.jpg").write_bytes(b"\0\0\0\x18ftypheic")
    words = [BACKBONE, f"--support={images}/support", f"--query={tmp_path}/query"]
    predict.main([*words, f"--out={tmp_path}/out.csv"])
    told = capsys.readouterr().out
    assert re.search(r"left out: \S*broken\.png cannot be read as an image", told)
    assert re.search(r"heic\.jpg cannot be read as an image \(it is HEIC: pip install", told)
    assert "accuracy 100.0%: 6 of 6 images" in told
    assert len(rows(tmp_path / "out.csv")) == 6


def test_a_folder_is_named_like_its_class_in_both_forms_of_unicode():
    folders = ["Gro\u0308\u00dfe", "Gr\u00f6\u00dfe", "other", ""]
    classes = ["Gr\u00f6\u00dfe", "lion"]
    assert predict.true_classes(folders, classes) == [classes[0], classes[0], None, None]


def test_files_that_are_no_images_are_named(images, tmp_path, capsys):
    (tmp_path / "query").mkdir()
    for name in ("IMG_1.xyz", "Thumbs.db", ".hidden"):
        (tmp_path / "query" / name).write_bytes(b"")
    words = [BACKBONE, f"--support={images}/support", f"--query={tmp_path}/query"]
    with pytest.raises(
        SystemExit, match=r"holds no images \(.*IMG_1\.xyz: not named like an image"
    ):
        predict.main(words)
    shutil.copy(images / "query" / "red" / "0.png", tmp_path / "query")
    predict.main([*words, f"--out={tmp_path}/out.csv"])
    told = capsys.readouterr().out
    assert f"left out of --query: {tmp_path}/query/IMG_1.xyz, not named like an image" in told
    assert "Thumbs" not in told


@pytest.mark.parametrize("pattern", ["*", "**", "**/*", "*/*"])
def test_a_folder_that_a_pattern_matches_is_named_unless_what_is_in_it_is_read(images, pattern):
    shutil.copy(images / "query" / "red" / "0.png", images / "query")
    try:
        found = given_images.find_query(f"{images}/query/{pattern}")
    finally:
        (images / "query" / "0.png").unlink()
    unread = [n for why, names in found.left_out.items() if "a folder" in why for n in names]
    everywhere = sorted(p.name for p in (images / "query").iterdir())
    assert [Path(n).name for n in unread] == (everywhere if pattern == "*" else [])


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ("owls/", "class folders without images, owls: put examples there"),
        ("owls/0.png", "are the same image, given as examples of two classes"),
        ("loose.png", "has images outside its class folders, .*loose.png: put them into"),
        ("label/own.png", "has a class named label, which is already a column"),
    ],
)
def test_class_folders_that_cannot_be_meant(images, tmp_path, made, message):
    shutil.copytree(images / "support", tmp_path / "support")
    path = tmp_path / "support" / made
    path.parent.mkdir(exist_ok=True)
    if made.endswith("/"):
        path.mkdir()
    elif path.name == "0.png":
        shutil.copy(images / "support" / "red" / "0.png", path)
    else:
        Image.new("RGB", (30, 30), "green").save(path)
    words = [BACKBONE, f"--support={tmp_path}/support", f"--query={images}/query"]
    with pytest.raises(SystemExit, match=message):
        predict.main(words)


def test_names_that_are_no_text_come_back_as_they_are(images, tmp_path):
    name = os.fsencode(tmp_path) + b"/caf\xe9.png"
    try:
        with open(name, "wb") as file:
            file.write((images / "query" / "red" / "0.png").read_bytes())
    except OSError:
        pytest.skip("this file system takes text alone")
    words = [BACKBONE, f"--support={images}/support", f"--query={tmp_path}"]
    predict.main([*words, f"--out={tmp_path}/out.csv", f"--sheet={tmp_path}/sheet.png"])
    assert b"caf\xe9.png,red" in (tmp_path / "out.csv").read_bytes()


def test_photographs_in_heic_are_read_where_the_package_is(images, tmp_path, capsys):
    pytest.importorskip("pillow_heif")
    with Image.open(images / "query" / "red" / "0.png") as image:
        image.save(tmp_path / "IMG_1.HEIC", format="HEIF")
    words = [BACKBONE, f"--support={images}/support", f"--query={tmp_path}"]
    predict.main([*words, f"--out={tmp_path}/out.csv"])
    assert rows(tmp_path / "out.csv")[0]["label"] == "red"


def test_what_a_mac_packs_beside_the_classes_is_no_class(images, tmp_path):
    shutil.copytree(images / "support", tmp_path / "support")
    (tmp_path / "support" / "__MACOSX" / "red").mkdir(parents=True)
    (tmp_path / "support" / "__MACOSX" / "red" / "._0.png").write_bytes(b"")
    found = given_images.find_support(str(tmp_path / "support"))
    assert set(found.folders) == {"red", "blue, dark"}


@pytest.mark.parametrize("option", ["out", "sheet"])
def test_a_folder_is_no_place_for_a_file(images, tmp_path, option):
    (tmp_path / "there.png").mkdir()
    words = [BACKBONE, f"--support={images}/support", f"--query={images}/query"]
    with pytest.raises(SystemExit, match=r"there\.png is a folder: name a file"):
        predict.main([*words, f"--out={tmp_path}/a.csv", f"--{option}={tmp_path}/there.png"])


def test_copies_go_to_the_folders_of_their_classes(images, tmp_path, capsys):
    place = tmp_path / "sorted"
    place.mkdir()
    words = [BACKBONE, f"--support={images}/support", f"--query={images}/query"]
    # What is told of them may lie beside them.
    predict.main([*words, f"--copy_to={place}", f"--out={place}/predictions.csv"])
    assert f"copied 6 images to {place}\n" in capsys.readouterr().out
    for row in rows(place / "predictions.csv"):
        original = Path(row["image"])
        copy = place / row["label"] / original.name
        assert copy.read_bytes() == original.read_bytes()
        assert copy.stat().st_mtime_ns == original.stat().st_mtime_ns
    assert sorted(os.listdir(tmp_path)) == ["sorted"]  # nothing is left beside it


def test_copies_that_no_class_is_sure_of_and_names_that_meet(images, tmp_path, capsys):
    grey = tmp_path / "grey"
    grey.mkdir()
    Image.new("RGB", (60, 60), (110, 25, 75)).save(grey / "0.png")
    shutil.copytree(images / "query", tmp_path / "query")
    shutil.copytree(grey, tmp_path / "query" / "grey")
    words = [BACKBONE, f"--support={images}/support", f"--query={tmp_path}/query"]
    words += [f"--copy_to={tmp_path}/sorted", f"--out={tmp_path}/out.csv"]
    predict.main([*words, "--sure=1"])  # nothing is quite certain
    assert "copied 7 images" in capsys.readouterr().out
    wanted = {f"{i}.png" for i in range(3)} | {f"{i} (2).png" for i in range(3)} | {"0 (3).png"}
    assert set(os.listdir(tmp_path / "sorted" / "unsure")) == wanted
    assert len({(tmp_path / "sorted" / "unsure" / name).read_bytes() for name in wanted}) == 7


def test_copies_without_room_leave_nothing(images, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "copy2", full_after(2, shutil.copy2))
    words = [BACKBONE, f"--support={images}/support", f"--query={images}/query"]
    with pytest.raises(SystemExit, match=r"sorted cannot be written: No space left on device"):
        predict.main([*words, f"--copy_to={tmp_path}/sorted", f"--out={tmp_path}/out.csv"])
    assert not os.listdir(tmp_path)


def full_after(count, copy):
    left = iter(range(count))

    def limited(*paths):
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return copy(*paths)

    return limited


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A file with an encoder: mean colours, of images in their own size."""
    file = tmp_path_factory.mktemp("encoder") / "mean_colour.py"
    file.write_text(
        "import numpy as np\n"
        "def encode(images):\n"
        "    assert all(image.width == 90 and len(images) <= 16 for image in images)\n"
        "    return np.stack([np.asarray(image).mean((0, 1)) for image in images])\n"
    )
    return file


def mean_colours(files):
    return np.stack([np.asarray(Image.open(file)).mean((0, 1)) for file in files])


def test_an_encoder_of_the_user_s_takes_the_place_of_a_backbone(images, encoder, tmp_path, capsys):
    out = tmp_path / "out.csv"
    words = [f"--encoder={encoder}", f"--support={images}/support", f"--query={images}/query"]
    predict.main([*words, f"--out={out}", f"--sheet={tmp_path}/sheet.png"])
    assert "accuracy 100.0%: 6 of 6 images" in capsys.readouterr().out
    support, query = (sorted(images.glob(f"{part}/*/*.png")) for part in ("support", "query"))
    predictor = sib_jax.load(method="soft_kmeans")
    names = [file.parent.name for file in support]
    wanted = predictor(mean_colours(support), names, mean_colours(query))
    found = [[float(row[name]) for name in ("blue, dark", "red")] for row in rows(out)]
    assert [row["image"] for row in rows(out)] == [str(file) for file in query]
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_an_encoder_sees_what_can_be_read_and_is_told_of_the_rest(
    images, encoder, tmp_path, capsys
):
    broken = shutil.copytree(images, tmp_path / "broken")
    (broken / "query" / "red" / "1.png").write_bytes(b"no image")
    words = [f"--encoder={encoder}", f"--support={broken}/support", f"--query={broken}/query"]
    predict.main([*words, f"--out={tmp_path}/out.csv"])
    assert "red/1.png cannot be read as an image" in capsys.readouterr().out
    assert len(rows(tmp_path / "out.csv")) == 5
    shutil.copy(broken / "support" / "red" / "0.png", broken / "support" / "blue, dark" / "9.png")
    with pytest.raises(SystemExit, match="are the same image, given as examples of two classes"):
        predict.main(words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--encoder=x.py", BACKBONE], "encoder takes the place of backbone: give only one"),
        (["--encoder=x.py"], "x.py does not exist: give a Python file"),
        (["--encoder=x.py", "--run=nowhere"], "nowhere does not exist"),
        (["--encoder={encoder}", "--method=sib_plus"], "'sib_plus' is trained, so it needs a run"),
        (["--encoder={encoder}", "--steps=2"], "steps chooses T of SIB, but the method is"),
    ],
)
def test_mistakes_with_an_encoder(images, encoder, words, message):
    given = [f"--support={images}/support", f"--query={images}/query"]
    with pytest.raises(SystemExit, match=re.escape(message)):
        predict.main([*(word.format(encoder=encoder) for word in words), *given])


def test_a_method_of_one_s_own_file(images, tmp_path, capsys):
    (tmp_path / "beside.py").write_text("SHIFT = 0.0\n")
    own = tmp_path / "own_nearest.py"
    own.write_text(
        "from typing import NamedTuple\n"
        "from beside import SHIFT\n"
        "from sib_jax.methods import METHODS, register\n"
        "class Settings(NamedTuple):\n    scale: float = 3.0\n"
        "def make(settings, ways):\n"
        "    other = METHODS['simple_shot']\n"
        "    return other.make(other.settings(), ways)._replace(name='own_nearest')\n"
        "register('own_nearest', Settings, make)\n"
    )
    words = [BACKBONE, f"--support={images}/support", f"--query={images}/query"]
    words += [f"--out={tmp_path}/out.csv", "--method=own_nearest"]
    with pytest.raises(SystemExit, match=r"'own_nearest' is unknown.*once its file is imported"):
        predict.main(words)
    before, path = dict(METHODS), [*sys.path]
    try:
        predict.main([*words, f"--import={own}"])
        assert (
            "6 images sorted into 2 classes from 5 examples, by own_nearest"
            in capsys.readouterr().out
        )
    finally:
        METHODS.clear()
        METHODS.update(before)
        sys.path[:] = path
    for content, message in {
        "x = 1 / 0": r"own_nearest.py fails: ZeroDivisionError: division by zero \(.*line 1\)",
        "from sib_jax.methods import register\nregister('tim', dict, None)": "NamedTuple",
    }.items():
        own.write_text(content)
        with pytest.raises(SystemExit, match=message):
            predict.main([*words, f"--import={own}"])
    with pytest.raises(SystemExit, match="is not an existing Python file"):
        predict.main([*words, f"--import={tmp_path}/nowhere.py"])
    sys.path[:] = path


def test_an_image_that_is_found_twice_is_one_image(images, encoder, tmp_path, capsys):
    """Queries that are examples too, or that a pattern matches in several ways."""
    out, sheet = tmp_path / "out.csv", tmp_path / "sheet.png"
    words = [f"--encoder={encoder}", f"--support={images}/support", f"--out={out}"]
    predict.main([*words, f"--query={images}/support/**/**/*.png", f"--sheet={sheet}"])
    assert len({row["image"] for row in rows(out)}) == len(rows(out)) == 5
    assert "images that are also among the examples: 5" in capsys.readouterr().out
    with Image.open(sheet) as drawn:
        assert drawn.height > 100
    name = str(next(images.glob("support/red/*.png")))
    found, digests = given_images.read([name, name], given_images.stored(8, 3))
    np.testing.assert_array_equal(found[0], found[1])
    assert digests[0] == digests[1]
