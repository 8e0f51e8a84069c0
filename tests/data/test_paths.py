"""Whatever is wrong with the user's path is one line, and nothing is waited for."""

import builtins
import io
import os
import tarfile
import tracemalloc
import zipfile

import numpy as np
import pytest
from PIL import Image
from toy_copies import TOY, as_directory, as_tar, as_zip

from sib_jax.data import cifar_fs, features, folder, mini_imagenet
from sib_jax.data.errors import DataError
from sib_jax.data.reading import files
from sib_jax.data.reading.decode import decode_one

pytestmark = pytest.mark.usefixtures("own_cache")

LOADERS = {
    "folder": lambda path: folder.load(path, image_size=8),
    "mini_imagenet": lambda path: mini_imagenet.load(path, image_size=12, standard_split=TOY),
    "features": features.load,
}


def _one_line(match, function, *args):
    with pytest.raises(DataError, match=match) as raised:
        function(*args)
    assert "\n" not in str(raised.value)
    assert "\0" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("name", LOADERS)
def test_paths_that_are_none(name, tmp_path):
    load = LOADERS[name]
    os.mkfifo(tmp_path / "pipe")
    _one_line("pipe is a pipe or device; --data_dir must be", load, tmp_path / "pipe")
    _one_line("/dev/zero is a pipe or device", load, "/dev/zero")
    _one_line("File name too long", load, tmp_path / ("x" * 300))
    _one_line(r"a\\x00b is not a path \(.*embedded null", load, f"{tmp_path}/a\0b")
    _one_line("is not a path.*home", load, "~nobody_of_that_name/x")
    _one_line(r"a\\nb does not exist", load, tmp_path / "a\nb")
    (tmp_path / "circle").symlink_to("circle")
    _one_line("circle cannot be read: .*symbolic links", load, tmp_path / "circle")


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize(
    "functions",
    [("scandir",), ("stat",), ("listdir", "scandir"), ("open",)],  # pathlib lists by either
    ids="-".join,
)
def test_an_unreadable_folder(name, functions, toy, tmp_path, monkeypatch):
    as_directory(tmp_path / "d", toy.pngs("{split}/{c}/{file}"))
    for split in ("train", "val", "test"):
        np.save(tmp_path / "d" / f"{split}_features.npy", np.ones((4, 2)))
        np.save(tmp_path / "d" / f"{split}_labels.npy", np.array([split] * 4))

    def refused(real):
        def refuse(path, *args, **kwargs):
            if str(path).startswith(str(tmp_path / "d")):
                raise PermissionError(13, "Permission denied", path)
            return real(path, *args, **kwargs)

        return refuse

    for function in functions:
        for module in (io, builtins) if function == "open" else (os,):  # pathlib and numpy
            monkeypatch.setattr(module, function, refused(getattr(module, function)))
    if name == "features" and "scandir" in functions:
        features.load(tmp_path / "d")  # which lists nothing
    else:
        _one_line(r"cannot be read.*Permission denied", LOADERS[name], tmp_path / "d")


def test_a_file_that_vanishes(toy, tmp_path):
    root = as_directory(tmp_path / "d", toy.pngs("{split}/{c}/{file}"))
    found = files.directory(root)
    name = found.names[0]
    (root / name).unlink()
    _one_line("png cannot be read.*No such file", found.content, name)
    _one_line("png cannot be read.*No such file", found.stamp, lambda: [name])


def test_an_image_s_message_names_the_file_and_the_reason():
    for content, reason in (
        (b"", "it is empty"),
        (b"hello", "it is not in a known image format"),
        (_png()[:-30], "truncated|broken"),
    ):
        said = _one_line(
            rf"^a/b\.png cannot be read as an image \(.*({reason})",
            decode_one,
            io.BytesIO(content),
            8,
            3,
            "a/b.png",
        )
        assert "BytesIO" not in said


def _png():
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (30, 30, 3), np.uint8)
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


# Archives that unpack to far more than they are


ZEROS = 100_000_000
PICKLES = [f"miniImageNet_category_split_{part}.pickle" for part in ("val", "test")]


def _peak(function, *args):
    tracemalloc.start()
    function(*args)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("kind", ["zip", "tgz"])
def test_zeros_are_refused_before_they_are_unpacked(kind, tmp_path):
    names = [*PICKLES, "miniImageNet_category_split_train_phase_train.pickle"]
    members = [(name, bytes(ZEROS)) for name in names]
    path = tmp_path / f"x.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, content in members:
                archive.writestr(name, content)
    else:
        as_tar(path, members, "w:gz")
    load = LOADERS["mini_imagenet"]
    match = rf"x\.{kind} claims to hold more than 100 times its size"
    assert _peak(_one_line, match, load, path) < 20_000_000


def test_a_tar_of_one_file_with_holes(tmp_path):
    info = tarfile.TarInfo("val.pickle")
    info.size = 1 << 40
    info.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "val.pickle",
        "GNU.sparse.realsize": str(1 << 40),
    }
    content = info.tobuf(tarfile.PAX_FORMAT) + b"0\n".ljust(512, b"\0") + bytes(1024)
    (tmp_path / "x.tar").write_bytes(content)
    _one_line(r"x\.tar", LOADERS["mini_imagenet"], tmp_path / "x.tar")


def test_a_long_name_is_bounded_too(tmp_path):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, ZEROS
    with tarfile.open(tmp_path / "x.tgz", "w:gz") as tar:
        tar.addfile(info, io.BytesIO(bytes(ZEROS)))
    load = LOADERS["mini_imagenet"]
    assert _peak(_one_line, r"x\.tgz", load, tmp_path / "x.tgz") < 20_000_000


def test_labels_that_name_no_class(tmp_path):
    import pickle

    from test_cifar_fs import python_pickles
    from toy_copies import Toy

    members = dict(python_pickles(Toy(size=32)))
    content = pickle.loads(members["cifar-100-python/test"])
    for labels in ([-1] * 8, [99] * 8, [[]] * 8, "x" * 8):
        members["cifar-100-python/test"] = pickle.dumps(content | {"fine_labels": labels})
        path = as_zip(tmp_path / "x.zip", members.items())
        _one_line(
            "names no class for the label (-1|99)|must hold images",
            lambda path: cifar_fs.load(path, standard_split=TOY),
            path,
        )


@pytest.mark.parametrize(
    ("name", "is_image", "made"),
    [
        ("./images/a.JPG", True, False),
        ("images/a.b/c.png", True, False),
        ("images/.a.png", False, True),
        (".images/a.png", False, True),
        ("__MACOSX/a.png", False, False),
        ("images/._a.png", False, False),
        ("images/a.txt", False, False),
        ("images/png", False, False),
    ],
)
def test_which_names_are_images_and_which_hidden(name, is_image, made):
    assert files.is_image(name) == is_image
    assert files.is_made_hidden(name) == made
