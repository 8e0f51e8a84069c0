"""Damaged and hostile files of every kind: an error of ours in bounded time, or what was stored."""

import io
import pickle
import resource
import tarfile
import time
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image
from toy_copies import TOY, Toy

from sib_jax.data import features, mini_imagenet
from sib_jax.data.errors import DataError
from sib_jax.data.reading import files, numpy_pickle
from sib_jax.data.reading.decode import decode_one
from sib_jax.errors import UserError
from sib_jax.official import torch_file

hypothesis = pytest.importorskip("hypothesis")

from hypothesis import strategies as st  # noqa: E402

SECONDS = 2  # of one file of some kilobytes, on a busy machine

examples = hypothesis.settings(
    max_examples=150,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(hypothesis.HealthCheck),
)

# What replaces some bytes: random ones, lengths and indices that are enormous, opcodes.
_PATCHES = st.one_of(
    st.binary(min_size=1, max_size=6),
    st.sampled_from([b"\xff" * 4, b"\x00\x00\x00\x0a", b"\xff" * 8, b"r\xff\xff\xff\x7f", b""]),
    st.sampled_from([bytes([code]) for code in b"(.012BCFGIJKLMNQRSTUVX]abcdeghijlopqrstu}\x80"]),
)
_CHANGES = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 8), _PATCHES), max_size=4)


def _changed(content, changes):
    changed = bytearray(content)
    for place, length, patch in changes:
        place %= len(changed) + 1
        changed[place : place + length] = patch
    return bytes(changed)


def _bounded(read, *arguments):
    """Calls; only errors of ours come out, in one line and in time."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    try:
        read(*arguments)
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017
        assert len(str(error)) < 1000  # noqa: PT017
    assert time.process_time() - start < SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kilobytes


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        path = tmp_path_factory.mktemp("mutations")
        patch.setenv("SIB_JAX_CACHE", str(path / "cache"))
        yield path


def _tensor(key, count):
    kind = b"ctorch\nFloatStorage\nq\x03"
    storage = b"(X\x07\x00\x00\x00storageq\x02" + kind + b"X\x01\x00\x00\x00" + key
    storage += b"q\x04X\x03\x00\x00\x00cpuq\x05K" + bytes([count]) + b"tq\x06Q"
    ordered = b"ccollections\nOrderedDict\nq\x08)Rq\x09"
    shape = b"K\x00K\x02K\x03\x86q\x0aK\x03K\x01\x86q\x0b\x89"
    return b"ctorch._utils\n_rebuild_tensor_v2\nq\x01(" + storage + shape + ordered + b"tq\x0cR"


DATA_PKL = (
    b"\x80\x02ccollections\nOrderedDict\nq\x00)Rq\x0d(X\x01\x00\x00\x00a"
    + _tensor(b"0", 6)
    + b"X\x01\x00\x00\x00b"
    + _tensor(b"1", 6)
    + b"u}X\x09\x00\x00\x00_metadata]sb."
)


def _torch_zip(data_pkl):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", data_pkl)
        archive.writestr("archive/byteorder", b"little")
        for key in "01":
            archive.writestr(f"archive/data/{key}", np.arange(6, dtype="f4").tobytes())
    return file.getvalue()


def _torch_legacy():
    heads = [pickle.dumps(head, 2) for head in (0x1950A86A20F9469CFC6C, 1001, {"a": True})]
    body = DATA_PKL.replace(b"tq\x06Q", b"Ntq\x06Q")
    data = (6).to_bytes(8, "little") + np.arange(6, dtype="f4").tobytes()
    return b"".join([*heads, body, pickle.dumps(["0", "1"], 2), data, data])


def _write(folder, name, content):
    (folder / name).write_bytes(content)
    return folder / name


def test_the_files_that_are_changed_are_right(folder):
    for content in (_torch_zip(DATA_PKL), _torch_legacy()):
        state = torch_file.read(_write(folder, "a.pth", content))
        np.testing.assert_array_equal(state["b"], [[0, 1, 2], [3, 4, 5]])
    assert features.load(_write(folder, "a.npz", _npz())).train.features.shape[1] == 2


@examples
@hypothesis.given(_CHANGES)
def test_a_state_dict_in_a_sound_archive(folder, changes):
    path = _write(folder, "a.pth", _torch_zip(_changed(DATA_PKL, changes)))
    _bounded(torch_file.read, path)


@examples
@hypothesis.given(_CHANGES, st.booleans())
def test_a_pth_file(folder, changes, legacy):
    content = _torch_legacy() if legacy else _torch_zip(DATA_PKL)
    _bounded(torch_file.read, _write(folder, "a.pth", _changed(content, changes)))


@examples
@hypothesis.given(_CHANGES, st.integers(0, 4))
def test_a_pickle_of_arrays(changes, protocol):
    images = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
    value = {"data": images, "labels": [0, 1], "n": {"a": 0}, "x": np.float32(1)}
    content = pickle.dumps(value, protocol)
    _bounded(numpy_pickle.loads, _changed(content, changes), "x")


@examples
@hypothesis.given(st.binary(max_size=300))
def test_any_bytes_as_a_pickle(content):
    _bounded(numpy_pickle.loads, content, "x")


def _npz(compressed=False):
    file = io.BytesIO()
    labels = np.repeat(np.arange(4), 2)
    save = np.savez_compressed if compressed else np.savez
    save(file, features=np.ones((8, 2), np.float32), labels=labels, class_names=np.array([*"abcd"]))
    return file.getvalue()


@examples
@hypothesis.given(_CHANGES, st.booleans())
def test_a_file_of_features(folder, changes, compressed):
    _bounded(features.load, _write(folder, "a.npz", _changed(_npz(compressed), changes)))


@examples
@hypothesis.given(_CHANGES)
def test_an_array_in_a_sound_archive(folder, changes):
    with zipfile.ZipFile(io.BytesIO(_npz())) as archive:
        arrays = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(folder / "a.npz", "w") as archive:
        for name, content in arrays.items():
            archive.writestr(name, _changed(content, changes if name < "l" else []))
    _bounded(features.load, folder / "a.npz")


def _archive(kind):
    file = io.BytesIO()
    members = list(Toy(size=4).pngs("{split}/{c}/{file}"))[:6]
    if kind == "zip":
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members:
                archive.writestr(name, content)
    else:
        with tarfile.open(fileobj=file, mode="w:gz" if kind == "tgz" else "w") as archive:
            for name, content in members:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


ARCHIVES = {kind: _archive(kind) for kind in ("zip", "tar", "tgz")}


@examples
@hypothesis.given(_CHANGES, st.sampled_from(sorted(ARCHIVES)))
def test_an_archive(folder, changes, kind):
    path = _write(folder, f"a.{kind}", _changed(ARCHIVES[kind], changes))

    def load():
        mini_imagenet.load(path, image_size=4, standard_split=TOY)

    def read():
        found = files.open_archive(path)
        for name in found.names:
            found.content(name)

    _bounded(load)
    _bounded(read)


@examples
@hypothesis.given(st.integers(0, 20), st.integers(0, 511), st.binary(min_size=1, max_size=12))
def test_a_header_of_a_tar_whose_sum_is_right(folder, member, place, patch):
    content = bytearray(ARCHIVES["tar"])
    start = 1024 * member % (len(content) - 1024)  # a header and a block of content each
    header = content[start : start + 512]
    header[place : place + len(patch)] = patch
    header = header[:512].ljust(512, b"\0")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    content[start : start + 512] = header
    path = _write(folder, "a.tar", bytes(content))

    def read():
        found = files.open_archive(path)
        for name in found.names:
            found.content(name)

    _bounded(read)


def _image(form):
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (12, 12, 3), np.uint8)
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


IMAGES = {form: _image(form) for form in ("png", "jpeg", "gif", "bmp", "tiff", "ppm", "webp")}


@examples
@hypothesis.given(_CHANGES, st.sampled_from(sorted(IMAGES)))
@pytest.mark.filterwarnings("ignore")  # Pillow has some for damaged images
def test_an_image(changes, form):
    content = _changed(IMAGES[form], changes)
    _bounded(lambda: decode_one(io.BytesIO(content), 8, 3, "x.png"))


def test_a_png_that_says_it_is_enormous():
    content = bytearray(IMAGES["png"])
    content[16:24] = (50_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    with pytest.raises(DataError, match=r"x\.png is too large an image"):
        decode_one(io.BytesIO(bytes(content)), 8, 3, "x.png")
