import collections
import io
import os
import pickle
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from sib_jax.official import torch_file
from sib_jax.official.torch_file import TorchFileError, UnsafeFileError

PARITY = Path(__file__).parents[1] / "parity"


class _Global:
    """Pickles as a reference to module.name, whether or not that exists here."""

    def __init__(self, module, name):
        self.line = f"c{module}\n{name}\n".encode()


class _Call:
    """Pickles as a call of `function` (a _Global) with `arguments`."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments


class _Storage:
    def __init__(self, kind, key, count):
        self.id = ("storage", _Global("torch", kind), key, "cpu", count)


def _pickle(value):
    """A small pickler of its own, so that a test decides each opcode."""
    if isinstance(value, _Global):
        return value.line
    if isinstance(value, _Call):
        return _pickle(value.function) + _pickle(value.arguments) + b"R"
    if isinstance(value, _Storage):
        return _pickle(value.id) + b"Q"
    if isinstance(value, tuple):
        return b"(" + b"".join(map(_pickle, value)) + b"t"
    if isinstance(value, dict):
        return b"(" + b"".join(_pickle(k) + _pickle(v) for k, v in value.items()) + b"d"
    return pickle.dumps(value, 2)[2:-1]


def _tensor(kind, key, count, offset, size, stride):
    rebuild = _Global("torch._utils", "_rebuild_tensor_v2")
    hooks = collections.OrderedDict()
    return _Call(rebuild, _Storage(kind, key, count), offset, size, stride, False, hooks)


def _write_zip(path, value, storages, byteorder=b"little"):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + _pickle(value) + b".")
        archive.writestr("archive/byteorder", byteorder)
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)
    return path


def _write_legacy(path, value, storages):
    with path.open("wb") as file:
        for head in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
            pickle.dump(head, file, 2)
        file.write(b"\x80\x02" + _pickle(value).replace(b"tQ", b"NtQ") + b".")
        pickle.dump(list(storages), file, 2)
        for count, data in storages.values():
            file.write(count.to_bytes(8, "little") + data)
    return path


def test_the_official_backbone_file():
    state = torch_file.read(PARITY / "netFeatBest64.653.pth")
    arrays = np.load(PARITY / "conv4_feat_pth.npz")
    wanted = {k.removeprefix("param/"): arrays[k] for k in arrays.files if k.startswith("param/")}
    assert wanted.keys() <= state.keys()
    for name, want in wanted.items():
        assert state[name].dtype == want.dtype
        np.testing.assert_array_equal(state[name], want)


def test_the_official_checkpoint_holds_its_parts():
    content = torch_file.read(PARITY / "netSIBBest70.000.pth")
    arrays = np.load(PARITY / "sib_checkpoint_5w1s_T3.npz")
    assert {"netFeat", "SIB", "lr", "nbStep"} <= content.keys()
    assert content["lr"] == 1e-3
    np.testing.assert_array_equal(content["SIB"]["scale_cls"], arrays["param/scale_cls"])


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("DoubleStorage", "f8"), ("HalfStorage", "f2"), ("LongStorage", "i8"), ("BoolStorage", "?")],
)
def test_types(tmp_path, kind, dtype):
    want = np.array([[1, 0, 1], [0, 1, 1]], dtype)
    value = {"a": _tensor(kind, "0", 6, 0, (2, 3), (3, 1))}
    found = torch_file.read(_write_zip(tmp_path / "a.pth", value, {"0": want.tobytes()}))["a"]
    assert found.dtype == want.dtype
    np.testing.assert_array_equal(found, want)


def test_bfloat16_is_the_upper_half_of_float32(tmp_path):
    want = np.array([1.5, -2.0, 0.25], np.float32)
    data = (want.view(np.uint32) >> 16).astype("<u2").tobytes()
    value = _tensor("BFloat16Storage", "0", 3, 0, (3,), (1,))
    np.testing.assert_array_equal(
        torch_file.read(_write_zip(tmp_path / "a.pth", value, {"0": data})), want
    )


def test_views_of_one_storage_and_foreign_byte_order(tmp_path):
    base = np.arange(12, dtype=">f4")
    value = {
        "transposed": _tensor("FloatStorage", "7", 12, 0, (4, 3), (1, 4)),
        "part": _tensor("FloatStorage", "7", 12, 5, (2, 2), (4, 1)),
        "scalar": _tensor("FloatStorage", "7", 12, 11, (), ()),
        "empty": _tensor("FloatStorage", "7", 12, 0, (0, 3), (3, 1)),
    }
    path = _write_zip(tmp_path / "a.pth", value, {"7": base.tobytes()}, b"big")
    found = torch_file.read(path)
    grid = np.arange(12.0).reshape(3, 4)
    np.testing.assert_array_equal(found["transposed"], grid.T)
    np.testing.assert_array_equal(found["part"], [[5, 6], [9, 10]])
    assert found["scalar"] == 11
    assert found["empty"].shape == (0, 3)
    found["part"][:] = 0  # a copy, not a view
    assert found["transposed"][1, 1] == 5


def test_the_layout_before_torch_1_6(tmp_path):
    a, b = np.arange(6, dtype="f4"), np.array([3, 4], "i8")
    value = {
        "a": _tensor("FloatStorage", "140", 6, 0, (2, 3), (3, 1)),
        "b": _tensor("LongStorage", "141", 2, 1, (1,), (1,)),
        "lr": 0.001,
    }
    storages = {"140": (6, a.tobytes()), "141": (2, b.tobytes())}
    path = _write_legacy(tmp_path / "old.pth", value, storages)
    found = torch_file.read(path)
    np.testing.assert_array_equal(found["a"], a.reshape(2, 3))
    np.testing.assert_array_equal(found["b"], [4])
    assert found["lr"] == 0.001
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(TorchFileError, match="ends in the middle"):
        torch_file.read(path)


@pytest.mark.parametrize("layout", ["zip", "legacy", "bare"])
def test_a_malicious_file_is_refused_by_name_and_not_run(tmp_path, layout):
    flag, path = tmp_path / "ran", tmp_path / "evil.pth"
    value = {"weight": _Call(_Global("os", "system"), f"touch {flag}")}
    if layout == "zip":
        _write_zip(path, value, {})
    elif layout == "legacy":
        _write_legacy(path, value, {})
    else:
        path.write_bytes(b"\x80\x02" + _pickle(value) + b".")
    with pytest.raises(UnsafeFileError, match=r"evil\.pth wants to use os\.system.*state_dict"):
        torch_file.read(path)
    assert not flag.exists()


@pytest.mark.parametrize("name", ["builtins.eval", "torch.load", "numpy.load", "torch.nn.Linear"])
def test_nothing_outside_the_list_is_found(tmp_path, name):
    module, _, attribute = name.rpartition(".")
    path = _write_zip(tmp_path / "a.pth", _Global(module, attribute), {})
    with pytest.raises(UnsafeFileError, match=name.replace(".", r"\.")):
        torch_file.read(path)


@pytest.mark.parametrize(
    ("offset", "size", "stride", "match"),
    [
        (0, (3, 3), (3, 1), "beyond"),
        (5, (2,), (1,), "beyond"),
        (0, (2,), (-1,), "no sense"),
        (-1, (2,), (1,), "no sense"),
        (0, (1000, 1000), (0, 0), "larger than its data"),
    ],
)
def test_tensors_outside_their_data_are_refused(tmp_path, offset, size, stride, match):
    value = _tensor("FloatStorage", "0", 6, offset, size, stride)
    path = _write_zip(tmp_path / "a.pth", value, {"0": bytes(24)})
    with pytest.raises(TorchFileError, match=match):
        torch_file.read(path)


def test_wrong_sizes_and_damage_are_told(tmp_path):
    value = _tensor("FloatStorage", "0", 6, 0, (6,), (1,))
    with pytest.raises(TorchFileError, match="wrong size"):
        torch_file.read(_write_zip(tmp_path / "a.pth", value, {"0": bytes(20)}))
    with pytest.raises(TorchFileError, match="does not exist"):
        torch_file.read(tmp_path / "none.pth")
    whole = (PARITY / "netFeatBest64.653.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TorchFileError, match=r"cut\.pth"):
        torch_file.read(tmp_path / "cut.pth")
    (tmp_path / "text.pth").write_text("not a checkpoint")
    with pytest.raises(TorchFileError, match="damaged or not a file"):
        torch_file.read(tmp_path / "text.pth")
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("a.txt", "hello")
    (tmp_path / "other.pth").write_bytes(other.getvalue())
    with pytest.raises(TorchFileError, match=r"not one of torch\.save"):
        torch_file.read(tmp_path / "other.pth")
    with pytest.raises(TorchFileError, match="cannot be read"):
        torch_file.read(os.fspath(tmp_path))


# Memory and time are bounded by the file's size


def _zip_of(path, content, storages=(), compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", content)
        for key, data in dict(storages).items():
            archive.writestr(f"archive/data/{key}", data)
    return path


def test_an_enormous_index_into_the_memo(tmp_path):
    # 127 bytes; Python's unpickler takes 2.7 GB for it.
    path = _zip_of(tmp_path / "a.pth", b"\x80\x02}r\x00\x00\x00\x0a.")
    tracemalloc.start()
    assert torch_file.read(path) == {}
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


def test_a_compressed_file_is_refused_before_it_is_unpacked(tmp_path):
    path = _zip_of(tmp_path / "a.pth", bytes(30_000_000), compression=zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    with pytest.raises(TorchFileError, match=r"data\.pkl is compressed; torch\.save does not"):
        torch_file.read(path)
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


def test_many_copies_of_one_storage_are_refused(tmp_path):
    one = _tensor("FloatStorage", "0", 10_000, 0, (10_000,), (1,))
    path = _write_zip(tmp_path / "a.pth", (one, one), {"0": bytes(40_000)})
    assert len(torch_file.read(path)) == 2
    path = _write_zip(tmp_path / "a.pth", (one,) * 300, {"0": bytes(40_000)})
    with pytest.raises(TorchFileError, match="more than a file of its size can hold"):
        torch_file.read(path)


def test_a_pipe_or_device_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(TorchFileError, match="is a pipe or device"):
            torch_file.read(path)


def test_paths_that_are_none(tmp_path):
    for path in (tmp_path / ("x" * 300), tmp_path / "a\0b", f"{tmp_path}/a\nb"):
        with pytest.raises(TorchFileError) as raised:
            torch_file.read(path)
        assert "\n" not in str(raised.value)


def test_pairs_and_sizes_are_not_copied_without_end(tmp_path):
    ordered = _pickle(_Global("collections", "OrderedDict"))
    pairs = b"(" + b"".join(b"K%cK\x00\x86" % (i % 250) for i in range(5_000)) + b"l\x85q\x05"
    path = _zip_of(tmp_path / "a.pth", b"\x80\x02(" + ordered + pairs + b"Rt.")
    assert len(torch_file.read(path)[0]) == 250
    again = (ordered + b"h\x05R") * 5_000
    path = _zip_of(tmp_path / "a.pth", b"\x80\x02(" + ordered + pairs + b"R" + again + b"t.")
    with pytest.raises(TorchFileError, match="more than a file of its size can hold"):
        torch_file.read(path)


def test_what_python_2_and_torch_write_of_a_state_dict(tmp_path):
    ordered = _pickle(_Global("collections", "OrderedDict"))
    content = b"\x80\x02" + ordered + b"(((U\x01aK\x01l(U\x01bK\x02lltR}U\x09_metadata)sb."
    found = torch_file.read(_zip_of(tmp_path / "a.pth", content))
    assert found == {"a": 1, "b": 2}
