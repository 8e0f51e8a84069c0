"""`python -m sib_jax.features`: its file is what the data set `features` reads."""

import numpy as np
import pytest
from PIL import Image

from sib_jax import features
from sib_jax.backbones import make, preprocess, pretrained
from sib_jax.config import default
from sib_jax.data import folder
from sib_jax.data.load import load
from sib_jax.experiment.features import compute
from sib_jax.runtime import kept_rows
from sib_jax.runtime.seeds import Stream, key


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder of train, val and test classes."""
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for split, classes in {"train": 3, "val": 2, "test": 2}.items():
        for c in range(classes):
            folder = root / split / f"{split}{c}"
            folder.mkdir(parents=True)
            for i in range(4):
                pixels = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return root


@pytest.fixture(name="backbone")
def _backbone(tmp_path, images):
    made = make("conv4_64", image_size=16)
    data = load("folder", str(images), image_size=16)
    found = pretrained.Pretrained(
        made, made.init(key(0, Stream.INIT)), preprocess.fit(data.train.images, 16), None
    )
    pretrained.save(tmp_path / "backbone.npz", found)
    return found


def test_the_file_is_the_features_data_set(tmp_path, backbone, images):
    words = [f"--backbone={tmp_path}/backbone.npz", f"--data_dir={images}"]
    features.main([*words, f"--out={tmp_path}/half.npz", "--dtype=float16"])
    data, found = (
        load("folder", str(images), image_size=16),
        load("features", str(tmp_path / "half.npz"), image_size=16),
    )
    for split in ("train", "val", "test"):
        of, given = data.split(split), found.split(split)
        assert of.class_names == given.class_names
        np.testing.assert_array_equal(of.labels, given.labels)
        assert given.features.dtype == np.float16
        expected = compute(backbone, of.images)
        np.testing.assert_allclose(given.features, expected, rtol=1e-3, atol=1e-4)


def test_a_tilde_is_the_home_folder(tmp_path, backbone, images, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "images").symlink_to(images)
    features.main(["--backbone=~/backbone.npz", "--data_dir=~/images", "--out=~/x.npz"])
    assert (tmp_path / "x.npz").exists()


def test_mistakes_are_one_line(tmp_path, backbone):
    out = f"--out={tmp_path}/x.npz"
    with pytest.raises(SystemExit, match=r"must end in \.npz"):
        features.main(["--backbone=a", "--dataset=glyphs", "--out=x"])
    with pytest.raises(SystemExit, match="neither a file nor a shipped backbone"):
        features.main(["--backbone=a", "--dataset=glyphs", out])
    with pytest.raises(SystemExit, match="is for 3-channel images"):
        features.main(
            ["--backbone=mini_imagenet-conv4_64", "--dataset=glyphs", "--image_size=84", out]
        )
    with pytest.raises(SystemExit, match=r"takes images of 80 pixels, but image_size is 32"):
        features.main(
            ["--backbone=mini_imagenet-conv4_64", "--dataset=glyphs", "--image_size=32", out]
        )
    with pytest.raises(SystemExit, match=r"must be a whole number from 0.*got 4294967296"):
        features.main(["--backbone=a", "--dataset=glyphs", f"--split_seed={2**32}", out])
    for option in ("--mirror", "--image_size=0", "--split_seed=0", "--dataset=folder"):
        with pytest.raises(SystemExit, match="is for --backbone; a run has its own"):
            features.main([f"--run={tmp_path}", out, option])
    with pytest.raises(SystemExit, match="is a file; give the --workdir"):
        features.main([f"--run={tmp_path}/backbone.npz", out])
    with pytest.raises(SystemExit, match="holds no run"):
        features.main([f"--run={tmp_path}", out])
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(SystemExit, match=r"folder\.npz cannot be written: Is a directory"):
        features.main(["--backbone=nowhere", "--dataset=glyphs", f"--out={tmp_path}/folder.npz"])
    assert not (tmp_path / "x.npz").exists()


def test_an_encoder_s_features_of_a_folder_are_the_features_data_set(tmp_path):
    rng = np.random.default_rng(0)
    for c in range(8):
        (tmp_path / "images" / f"class{c}").mkdir(parents=True)
        for i in range(18):  # more in all than an encoder sees at once
            pixels = rng.integers(0, 256, (6 + i % 3, 9, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / f"class{c}" / f"{i}.png")
    (tmp_path / "size_and_red.py").write_text(
        "import numpy as np\n"
        "def encode(images):\n"
        "    return [[image.height, np.asarray(image)[..., 0].mean()] for image in images]\n"
    )
    words = [f"--encoder={tmp_path}/size_and_red.py", f"--data_dir={tmp_path}/images"]
    features.main([*words, f"--out={tmp_path}/x.npz", "--split_seed=3"])
    found = load("features", str(tmp_path / "x.npz"), image_size=1)
    images = load("folder", str(tmp_path / "images"), image_size=6, seed=3)
    for split in ("train", "val", "test"):
        part, of = found.split(split), images.split(split)
        assert part.class_names == of.class_names
        np.testing.assert_array_equal(part.labels, of.labels)
        for row, name in enumerate(of.file_names):
            pixels = np.asarray(Image.open(tmp_path / "images" / name))
            np.testing.assert_allclose(
                part.features[row], [len(pixels), pixels[..., 0].mean()], rtol=1e-6
            )
    for more, message in {
        "--dataset=folder": "--dataset is for --backbone; an encoder reads a folder of images",
        "--mirror": "--mirror is for --backbone",
        "--data_dir=": "where are your images",
    }.items():
        with pytest.raises(SystemExit, match=message):
            features.main([*words, more, f"--out={tmp_path}/y.npz"])


def test_what_an_encoder_cannot_read_is_left_out_and_told(tmp_path, capsys):
    _write_noise(tmp_path / "images", 3)
    broken = [tmp_path / "images" / "class5" / "1.png"]
    broken += (tmp_path / "images" / "class2").iterdir()
    for path in broken:
        path.write_bytes(path.read_bytes()[:40])
    (tmp_path / "mean.py").write_text(
        "import numpy as np\n"
        "def encode(images):\n"
        "    return [np.asarray(image).mean((0, 1)) for image in images]\n"
    )
    words = [f"--encoder={tmp_path}/mean.py", f"--data_dir={tmp_path}/images"]
    features.main([*words, f"--out={tmp_path}/x.npz"])
    said = capsys.readouterr().out
    assert all(f"left out: {path}" in said for path in broken)
    assert "left out: class class2, as none of its images can be read" in said
    with np.load(tmp_path / "x.npz") as file:
        found = dict(file)
    assert len(found["class_names"]) == 7
    for label, name in enumerate(found["class_names"]):
        good = [p for p in sorted((tmp_path / "images" / name).iterdir()) if p not in broken]
        wanted = [np.asarray(Image.open(path)).mean((0, 1)) for path in good]
        np.testing.assert_allclose(found["features"][found["labels"] == label], wanted, rtol=1e-6)


@pytest.mark.parametrize("meanwhile", ["nothing", "an image", "the encoder"])
def test_an_encoder_that_is_interrupted_goes_on(tmp_path, capsys, monkeypatch, meanwhile):
    monkeypatch.setattr(kept_rows, "SECONDS", 0.0)
    _write_noise(tmp_path / "images", 9)
    log, encoder = tmp_path / "log", tmp_path / "mean.py"
    log.write_text("first: ")
    encoder.write_text(
        "import numpy as np\n"
        "def encode(images):\n"
        f"    with open({str(log)!r}, 'a+') as log:\n"
        "        log.seek(0)\n"
        "        if log.read() == 'first: 16 16 ':\n"
        "            raise KeyboardInterrupt\n"
        "        log.write(f'{len(images)} ')\n"
        "    return [np.asarray(image).mean((0, 1)) for image in images]\n"
    )

    def run(name):
        features.main(
            [
                f"--encoder={encoder}",
                f"--data_dir={tmp_path}/images",
                f"--out={tmp_path}/{name}.npz",
            ]
        )
        with np.load(tmp_path / f"{name}.npz") as file:
            return dict(file)

    with pytest.raises(KeyboardInterrupt):
        run("x")
    assert not (tmp_path / "x.npz").exists()
    if meanwhile == "an image":
        first = tmp_path / "images" / _first_class(tmp_path / "images") / "0.png"
        Image.fromarray(np.full((4, 5, 3), 200, np.uint8)).save(first)
    elif meanwhile == "the encoder":
        encoder.write_text(encoder.read_text().replace("mean", "max"))
    log.write_text("")
    capsys.readouterr()
    found = run("x")
    assert (
        sum(map(int, log.read_text().split()))
        == {
            "nothing": 72 - 32,
            "an image": 72 - 31,
            "the encoder": 72,
        }[meanwhile]
    )
    told = "x.npz.part" in capsys.readouterr().out
    assert told == (meanwhile != "the encoder")
    assert not (tmp_path / "x.npz.part").exists()
    wanted = run("y")
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name])


def _write_noise(images, of_each):
    """Eight classes of so many images."""
    rng = np.random.default_rng(0)
    for c in range(8):
        (images / f"class{c}").mkdir(parents=True)
        for i in range(of_each):
            pixels = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(images / f"class{c}" / f"{i}.png")


def _first_class(images):
    """A class of which the encoder gets all images first."""
    splits = folder.find(images, tuple(default("folder").split_ratios), 0)
    return next(iter(splits["train"]))
