"""Any function from images to features in place of a backbone."""

import contextlib
import sys
import types

import numpy as np
import pytest
from PIL import Image
from tensors import OfTorch

from sib_jax.backbones.encoder import EncoderError, open_encoder

COLOURS = ((200, 30, 30), (20, 20, 120))


def images():
    return [Image.new("RGB", (9, 5 + i), colour) for i, colour in enumerate(COLOURS)]


def mean_colour(of):
    return [np.asarray(image).mean((0, 1)) for image in of]


def test_a_function_gets_images_of_pillow_s_in_their_own_size():
    seen = []

    def encode(of):
        seen.extend(of)
        return mean_colour(of)

    encoder = open_encoder(encode)
    found = encoder.features(images())
    assert encoder.name == "encode"
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, COLOURS)
    assert [image.size for image in seen] == [(9, 5), (9, 6)]


def test_a_file_is_meant_by_its_function(tmp_path, monkeypatch):
    (tmp_path / "beside_mine.py").write_text("SCALE = 2")
    (tmp_path / "mine.py").write_text(
        "import numpy as np\nfrom beside_mine import SCALE\n"
        "def encode(images):\n    return np.stack([SCALE * np.asarray(i)[0, 0] for i in images])\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in (tmp_path / "mine.py", "~/mine.py"):
        dark = [Image.new("RGB", (4, 4), (1, 2, 3))]
        np.testing.assert_array_equal(open_encoder(name).features(dark), [[2, 4, 6]])


def test_what_torch_gives_is_read_from_any_device():
    encoder = open_encoder(lambda of: OfTorch(mean_colour(of)))
    np.testing.assert_array_equal(encoder.features(images()), COLOURS)
    encoder = open_encoder(lambda of: [OfTorch(colour) for colour in mean_colour(of)])
    np.testing.assert_array_equal(encoder.features(images()), COLOURS)


@pytest.mark.parametrize(
    ("gives", "message"),
    [
        (lambda of: np.zeros(3), r"must give features \[2, d\] of 2 images, got an array of sh"),
        (lambda of: np.zeros((1, 3)), r"of 2 images, got an array of shape \[1, 3\]"),
        (lambda of: np.zeros((2, 0)), r"got an array of shape \[2, 0\]"),
        (lambda of: np.zeros((2, 3, 7, 7)), r"got an array of shape \[2, 3, 7, 7\]"),
        (lambda of: [[1.0], [1.0, 2.0]], r"must give an array of features \[n, d\], got list"),
        (lambda of: None, r"of 2 images, got an array of shape \[\]"),
        (lambda of: {"x": 1}, r"must give an array of features \[n, d\], got dict"),
        (lambda of: np.full((2, 3), np.nan), "gives features that are not finite"),
    ],
)
def test_what_is_no_feature_is_told(gives, message):
    with pytest.raises(EncoderError, match=message):
        open_encoder(gives).features(images())


def test_an_encoder_that_is_not_there_is_told(tmp_path):
    (tmp_path / "none.py").write_text("def embed(images):\n    return images\n")
    (tmp_path / "lacks.py").write_text("import a_package_that_is_not_there\n")
    for name, message in {
        "none.py": r"none\.py defines no function encode\(images\)",
        "lacks.py": r"lacks\.py needs a_package_that_is_not_there, which is not installed",
        "gone.py": r"gone\.py does not exist: give a Python file with a function encode",
        "resnet50": r"resnet50 is not an encoder: give a Python file .* or timm:MODEL",
    }.items():
        with pytest.raises(EncoderError, match=message):
            open_encoder(str(tmp_path / name))
    with pytest.raises(EncoderError, match="must be a function or a name, got int"):
        open_encoder(3)


@pytest.fixture
def timm(monkeypatch):
    """Stands for timm and torch: its one model gives the mean colour of what it is shown."""

    class Tensor(np.ndarray):
        def to(self, device):
            assert device == "cpu"
            return self

    class Model:
        def eval(self):
            return self

        def to(self, device):
            return self

        def __call__(self, batch):
            return batch.mean((1, 2))

    def create_model(name, *, pretrained, num_classes):
        assert pretrained
        assert num_classes == 0
        if name.endswith(".offline"):
            raise OSError("no network\nand more")
        return Model()

    def create_transform(*, size, is_training):
        assert not is_training
        return lambda image: np.asarray(image.resize((size, size)), np.float32)

    timm = types.SimpleNamespace(
        list_models=lambda: ["vit_small_patch14_dinov2", "resnet18"],
        create_model=create_model,
        data=types.SimpleNamespace(
            resolve_model_data_config=lambda model: {"size": 4}, create_transform=create_transform
        ),
    )
    torch = types.SimpleNamespace(
        cuda=types.SimpleNamespace(is_available=lambda: False),
        inference_mode=contextlib.nullcontext,
        stack=lambda arrays: np.stack(arrays).view(Tensor),
    )
    monkeypatch.setitem(sys.modules, "timm", timm)
    monkeypatch.setitem(sys.modules, "torch", torch)


@pytest.mark.usefixtures("timm")
def test_a_model_of_timm_s_brings_its_own_preprocessing():
    encoder = open_encoder("timm:vit_small_patch14_dinov2.lvd142m")
    np.testing.assert_allclose(encoder.features(images()), COLOURS)
    with pytest.raises(EncoderError, match="no model 'vit_tiny'; there are vit_small_patch14_din"):
        open_encoder("timm:vit_tiny")
    with pytest.raises(EncoderError, match=r"resnet18\.offline cannot be fetched \(no network"):
        open_encoder("timm:resnet18.offline")


def test_without_timm_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(EncoderError, match="timm:resnet18 needs timm: pip install timm"):
        open_encoder("timm:resnet18")
