"""Damaged and hostile files of every kind: an error of ours in bounded time, or what was stored."""

import collections
import functools
import io
import pickle
import posixpath
import tarfile
import zipfile
import zlib
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from toy_copies import TOY, Toy

from sib_jax import pytorch
from sib_jax.data import features, mini_imagenet
from sib_jax.data.errors import DataError
from sib_jax.data.reading import archives, npy, numpy_pickle
from sib_jax.data.reading.decode import decode_one
from sib_jax.official import torch_file
from sib_jax.runtime import weights

hypothesis = pytest.importorskip("hypothesis")

from fuzzing import REFUSED, bounded, cases, same, write_report  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

PARITY = Path(__file__).parents[1] / "parity"

some = cases(share=0.1)

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


@pytest.fixture(autouse=True)
def _report():
    yield
    write_report()


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


class _Python(pickle._Unpickler):
    """Python's own reader, for what ours has accepted: then it is known to ask for little."""

    def __init__(self, content, known, storages=None):
        super().__init__(io.BytesIO(content), encoding="utf-8" if storages else "latin1")
        self._known, self._storages = known, storages

    def find_class(self, module, name):
        return self._known[module, name]

    def persistent_load(self, pid):
        return self._storages[str(pid[2])].view(pid[1])


def _rebuilt(storage, offset, size, stride, *_):
    steps = [n * storage.itemsize for n in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, steps).copy()


_SCALAR = np.float32(1).__reduce__()[0]
OF_NUMPY = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): lambda text, encoding: text.encode(encoding),
    ("builtins", "bytes"): bytes,
    ("__builtin__", "bytes"): bytes,
    **{
        (f"numpy.{core}.multiarray", name): made
        for core in ("core", "_core")
        for name, made in (("_reconstruct", np.zeros(1).__reduce__()[0]), ("scalar", _SCALAR))
    },
}
OF_TORCH = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuilt,
    ("torch._utils", "_rebuild_parameter"): lambda data=None, *_: data,
    ("torch", "Size"): tuple,
    **{("torch", f"{k}Storage"): v for k, v in {"Float": "f4", "Int": "i4", "Byte": "u1"}.items()},
}


def _as_python(content, known, storages=None):
    """What Python's own reader gives, or `REFUSED`."""
    try:
        return _Python(content, known, storages).load()
    except Exception:  # it fails in any way there is
        return REFUSED


@cases()
@hypothesis.given(_CHANGES)
def test_a_state_dict_in_a_sound_archive(folder, changes):
    content = _changed(DATA_PKL, changes)
    path = _write(folder, "a.pth", _torch_zip(content))
    found = bounded(".pth, checksums right", torch_file.read, path, size=path.stat().st_size)
    if found is not REFUSED:
        storages = dict.fromkeys("01", np.arange(6, dtype="f4"))
        assert same(found, _as_python(content, OF_TORCH, storages))


@some
@hypothesis.given(_CHANGES)
def test_a_pth_file(folder, changes):
    content = _torch_zip(DATA_PKL)
    whole = torch_file.read(_write(folder, "a.pth", content))
    path = _write(folder, "a.pth", _changed(content, changes))
    found = bounded(".pth, a zip", torch_file.read, path, size=path.stat().st_size)
    assert found is REFUSED or same(found, whole)


@cases()
@hypothesis.given(_CHANGES)
def test_an_old_pth_file(folder, changes):
    path = _write(folder, "a.pth", _changed(_torch_legacy(), changes))  # which has no checksums
    bounded(".pth, before torch 1.6", torch_file.read, path, size=path.stat().st_size)


HEAD = (PARITY / "netSIBBest70.000.pth").read_bytes()


@cases(10, share=0.01)
@hypothesis.given(_CHANGES)
def test_an_official_head_in_a_sound_archive(folder, changes):
    path, file = folder / "head.pth", io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(HEAD)) as source, zipfile.ZipFile(file, "w") as archive:
        for name in source.namelist():
            content = source.read(name)
            archive.writestr(
                name, _changed(content, changes) if name.endswith("data.pkl") else content
            )
    path.write_bytes(file.getvalue())

    def read():
        jax.block_until_ready(pytorch.load_head(path))
        pytorch.load_backbone(path)

    bounded("official head and backbone, checksums right", read, size=len(HEAD))


@cases()
@hypothesis.given(_CHANGES, st.integers(0, 4))
def test_a_pickle_of_arrays(changes, protocol):
    images = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
    value = {"data": images, "labels": [0, 1], "n": {"a": 0}, "x": np.float32(1)}
    content = _changed(pickle.dumps(value, protocol), changes)
    found = bounded("pickle", numpy_pickle.loads, content, "x", size=len(content))
    if found is not REFUSED and not same(found, value):
        assert same(found, _as_python(content, OF_NUMPY))


@some
@hypothesis.given(st.binary(max_size=300))
def test_any_bytes_as_a_pickle(content):
    found = bounded("any bytes as a pickle", numpy_pickle.loads, content, "x", size=len(content))
    if found is not REFUSED:
        assert same(found, _as_python(content, OF_NUMPY))


def _npz(compressed=False):
    file = io.BytesIO()
    labels = np.repeat(np.arange(6), 2)
    save = np.savez_compressed if compressed else np.savez
    split = np.repeat(["train", "val", "test"], 4)
    features = np.arange(24, dtype=np.float32).reshape(12, 2)
    save(file, features=features, labels=labels, split=split, class_names=np.array([*"abcdef"]))
    return file.getvalue()


def _told(data):
    return [
        (s.features.tolist(), s.labels.tolist(), s.class_names)
        for s in (data.train, data.val, data.test)
    ]


@some
@hypothesis.given(_CHANGES, st.booleans())
def test_a_file_of_features(folder, changes, compressed):
    content = _npz(compressed)
    whole = _told(features.load(_write(folder, "a.npz", content)))
    path = _write(folder, "a.npz", _changed(content, changes))
    found = bounded(".npz of features", features.load, path, size=path.stat().st_size)
    assert found is REFUSED or _told(found) == whole


def _with_sound_sums(content, path, changes, which):
    """A zip of arrays, in which one of them is changed and the checksums are right."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        arrays = {name: archive.read(name) for name in archive.namelist()}
    changed = sorted(arrays)[which % len(arrays)]
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            archive.writestr(name, _changed(array, changes) if name == changed else array)


@cases()
@hypothesis.given(_CHANGES, st.integers(0, 3))
def test_an_array_in_a_sound_archive(folder, changes, which):
    path = folder / "a.npz"
    _with_sound_sums(_npz(), path, changes, which)
    size = path.stat().st_size
    bounded(".npz of features, checksums right", features.load, path, size=size)
    names = ("features", "labels", "split", "class_names")
    found = bounded(".npz, checksums right", npy.read_npz, path, names, size=size)
    if found is not REFUSED:
        with np.load(path) as arrays:
            assert all(same(found[name], arrays[name]) for name in names)


WEIGHTS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(3, np.float32)}


@pytest.fixture(scope="module")
def weights_npz(folder):
    weights.save(folder / "weights.npz", WEIGHTS, {"epochs": 3})
    return (folder / "weights.npz").read_bytes()


@some
@hypothesis.given(_CHANGES)
def test_a_file_of_weights(folder, weights_npz, changes):
    path = _write(folder, "a.npz", _changed(weights_npz, changes))

    def read():
        return weights.about(path), jax.tree.map(np.asarray, weights.load(path, WEIGHTS))

    found = bounded(".npz of weights", read, size=path.stat().st_size)
    assert found is REFUSED or same(found, ({"epochs": 3}, WEIGHTS))


@cases()
@hypothesis.given(_CHANGES, st.integers(0, 2))
def test_weights_in_a_sound_archive(folder, weights_npz, changes, which):
    path = folder / "a.npz"
    _with_sound_sums(weights_npz, path, changes, which)

    def read():
        return weights.about(path), weights.load(path, WEIGHTS)

    found = bounded(".npz of weights, checksums right", read, size=path.stat().st_size)
    if found is not REFUSED:
        with np.load(path) as arrays:
            for name, leaf in found[1].items():
                np.testing.assert_array_equal(leaf, arrays[name].astype(leaf.dtype))


@functools.cache
def _members():
    return dict(list(Toy(size=4).pngs("{split}/{c}/{file}"))[:6])


def _archive(kind):
    file = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in _members().items():
                archive.writestr(name, content)
    else:
        with tarfile.open(fileobj=file, mode="w:gz" if kind == "tgz" else "w") as archive:
            for name, content in _members().items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


ARCHIVES = {kind: _archive(kind) for kind in ("zip", "tar", "tgz")}


def _contents(path):
    found = archives.open_archive(path)
    return {name: found.content(name) for name in found.names}


@pytest.mark.parametrize("kind", sorted(ARCHIVES))
@cases(50)
@hypothesis.given(changes=_CHANGES)
def test_an_archive(folder, kind, changes):
    path = _write(folder, f"a.{kind}", _changed(ARCHIVES[kind], changes))
    size = path.stat().st_size

    def load():
        mini_imagenet.load(path, image_size=4, standard_split=TOY)

    bounded(f".{kind} as a data set", load, size=size)
    found = bounded(f".{kind}", _contents, path, size=size)
    if found is not REFUSED and kind == "tar":
        # Its headers alone have a checksum, a sum of bytes, which two changes may leave as it was.
        with tarfile.open(path) as archive:
            assert sorted(found) == sorted(archive.getnames())
        assert len(found) == len(_members())
    elif found is not REFUSED:
        assert found == _members()


@cases()
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
    found = bounded(".tar, checksums right", _contents, path, size=len(content))
    if found is not REFUSED:
        with tarfile.open(path) as archive:
            members = {posixpath.normpath(member.name): member for member in archive}
            for name in found:
                assert found[name] == archive.extractfile(members[name]).read()


@cases(50, share=0.1)
@hypothesis.given(_CHANGES)
@pytest.mark.filterwarnings("ignore")  # Pillow has some for damaged images
def test_an_image_in_a_sound_archive(folder, changes):
    name, content = next(iter(_members().items()))
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr(name, _changed(content, changes))

    def read():
        decode_one(io.BytesIO(_contents(folder / "a.zip")[name]), 8, 3, name)

    bounded("image in a .zip, checksums right", read, size=(folder / "a.zip").stat().st_size)


PIXELS = np.random.default_rng(0).integers(0, 256, (12, 12, 3), np.uint8)


def _image(form):
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, form)
    return file.getvalue()


IMAGES = {form: _image(form) for form in ("png", "jpeg", "gif", "bmp", "tiff", "ppm", "webp")}


@pytest.mark.parametrize("form", sorted(IMAGES))
@cases(20, share=0.1)
@hypothesis.given(changes=_CHANGES)
@pytest.mark.filterwarnings("ignore")  # Pillow has some for damaged images
def test_an_image(form, changes):
    content = _changed(IMAGES[form], changes)
    read = (decode_one, io.BytesIO(content), 12, 3, "x.png")
    found = bounded(f"image, {form}", *read, size=len(content))
    if found is not REFUSED and form == "png":  # the others have no checksums
        np.testing.assert_array_equal(found, PIXELS)


def test_a_png_that_says_it_is_enormous():
    content = bytearray(IMAGES["png"])
    content[16:24] = (50_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    with pytest.raises(DataError, match=r"x\.png is too large an image"):
        decode_one(io.BytesIO(bytes(content)), 8, 3, "x.png")


@pytest.mark.parametrize("lossless", [False, True])
def test_a_webp_that_says_it_is_enormous(lossless):
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "webp", lossless=lossless)
    content = bytearray(file.getvalue())
    place = 21 if lossless else 26
    content[place : place + 4] = b"\xff\xff\xff\x0f" if lossless else b"\xff\x3f\xff\x3f"
    with pytest.raises(DataError, match=r"x\.png is too large an image \(16\d\d\d x 16\d\d\d pix"):
        decode_one(io.BytesIO(bytes(content)), 8, 3, "x.png")
