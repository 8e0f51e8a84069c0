import shutil

import numpy as np
import pytest

from sib_jax.runtime import files, kept_rows
from sib_jax.runtime.kept_rows import KeptRows


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(kept_rows, "SECONDS", 0.0)


def test_rows_are_found_again_by_name_and_in_order(tmp_path):
    rows = np.random.default_rng(0).normal(size=(30, 2, 3)).astype(np.float32)
    names = [f"{n}.jpg" for n in range(30, 0, -1)]
    for start in range(0, 30, 7):
        some = slice(start, start + 7)
        KeptRows(tmp_path / "part", "a model").add(names[some], rows[some])
    found = KeptRows(tmp_path / "part", "a model").read()
    assert [*found] == names
    np.testing.assert_array_equal(list(found.values()), rows)
    assert KeptRows(tmp_path / "part", "another model").read() == {}
    assert KeptRows(tmp_path / "nothing", "a model").read() == {}


def test_rows_wait_until_they_have_taken_time(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(kept_rows, "SECONDS", 10.0)
    monkeypatch.setattr(kept_rows.time, "monotonic", lambda: clock[0])
    kept = KeptRows(tmp_path, "")
    found = []
    for second in range(25):
        clock[0] = float(second)
        kept.add([str(second)], np.zeros((1, 2)))
        found.append(len(KeptRows(tmp_path, "").read()))
    assert found == [0] * 10 + [11] * 10 + [21] * 5


@pytest.mark.parametrize("damage", ["cut", "byte", "empty", "other"])
def test_damaged_rows_are_not_read(tmp_path, damage):
    kept = KeptRows(tmp_path, "")
    for name in "abc":
        kept.add([name], np.full((1, 100), ord(name), np.float32))
    file = sorted(tmp_path.iterdir())[1]
    content = bytearray(file.read_bytes())
    middle = content.index(np.full(3, ord("b"), np.float32).tobytes()) + 20
    if damage == "byte":
        content[middle] ^= 1
    file.write_bytes(
        {"cut": content[:middle], "byte": content, "empty": b"", "other": b"text"}[damage]
    )
    assert [*kept.read()] == ["a", "c"]
    kept.add(["b"], np.zeros((1, 100), np.float32))
    assert [*kept.read()] == ["a", "c", "b"]


def test_two_at_the_same_work_keep_the_rows_of_both(tmp_path, monkeypatch):
    one, other = KeptRows(tmp_path / "part", ""), KeptRows(tmp_path / "part", "")
    write = files.write_atomically

    def write_late(path, content):
        monkeypatch.setattr(files, "write_atomically", write)
        other.add(["b"], np.ones((1, 2)))  # after this one has chosen its name
        write(path, content)

    monkeypatch.setattr(files, "write_atomically", write_late)
    one.add(["a"], np.zeros((1, 2)))
    assert {*KeptRows(tmp_path / "part", "").read()} == {"a", "b"}


def test_a_folder_that_another_one_removes_meanwhile(tmp_path, monkeypatch):
    kept = KeptRows(tmp_path / "part", "")
    kept.add(["a"], np.zeros((1, 2)))
    write = files.write_atomically

    def fail(path, content):
        shutil.rmtree(tmp_path / "part")
        monkeypatch.setattr(files, "write_atomically", write)
        raise files.FileError("no such folder")

    monkeypatch.setattr(files, "write_atomically", fail)
    kept.add(["b"], np.zeros((1, 2)))
    assert [*kept.read()] == ["b"]
    monkeypatch.setattr(files, "write_atomically", lambda *_: _full())
    with pytest.raises(files.DiskFullError):
        kept.add(["c"], np.zeros((1, 2)))


def _full():
    raise files.DiskFullError("no room")
