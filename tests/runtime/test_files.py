"""Files are whole or not there; what is wrong with a place is told in one line."""

import errno
import os
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from sib_jax.runtime import files
from sib_jax.runtime.files import DiskFullError, FileError, write_atomically, write_text
from sib_jax.runtime.words import shown


def _left(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_and_replaced(tmp_path):
    path = tmp_path / "made" / "here.txt"
    write_text(path, "one")
    path.chmod(0o640)
    write_text(path, "αβγ")
    assert path.read_text("utf-8") == "αβγ"
    assert path.stat().st_mode & 0o777 == 0o640
    assert _left(path.parent) == ["here.txt"]


def test_a_link_stays_one(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_the_old_content_stays_when_writing_fails(tmp_path):
    path = tmp_path / "a"
    write_text(path, "old")

    def fail(file):
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert _left(tmp_path) == ["a"]


@pytest.mark.parametrize(
    ("number", "kind", "match"),
    [
        (errno.ENOSPC, DiskFullError, r"No space left on device \([\d,]+ bytes are free\); free"),
        (errno.EDQUOT, DiskFullError, "quota"),
        (errno.EIO, FileError, "Input/output error; the disk reports an error: check it"),
        (errno.EACCES, FileError, "Permission denied; choose a folder that you may write to"),
        (errno.EROFS, FileError, "Read-only file system; choose a folder on a disk"),
    ],
)
@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_errors_of_the_disk_are_one_line(tmp_path, monkeypatch, number, kind, match, function):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    path = tmp_path / "a"
    write_text(path, "old")
    monkeypatch.setattr(os, function, fail)
    with pytest.raises(kind, match=rf"a cannot be written: .*{match}") as raised:
        write_text(path, "new")
    assert "\n" not in str(raised.value)
    assert path.read_text() == "old"
    assert _left(tmp_path) == ["a"]


def test_what_may_not_be_written_stays(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    path.chmod(0o444)
    if os.access(path, os.W_OK):
        pytest.skip("whoever runs this may write everything")
    with pytest.raises(FileError, match=r"a cannot be written: Permission denied; choose a"):
        write_text(path, "new")
    assert path.read_text() == "old"


def test_a_pipe_behind_a_link_is_told():
    reader, writer = os.pipe()
    try:
        with pytest.raises(FileError, match="it is a device or pipe, not a file"):
            write_text(f"/dev/fd/{writer}", "x")
    finally:
        os.close(reader)
        os.close(writer)


def test_a_really_full_disk(tmp_path):
    # A limit on the size of files is the full disk that needs no rights.
    program = """
        import resource, sys
        import numpy as np
        from sib_jax.runtime import files
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        for write in (
            lambda file: file.write(bytes(100_000)),
            lambda file: np.save(file, np.zeros(100_000)),
            lambda file: np.savez(file, a=np.zeros(100_000)),
        ):
            try:
                files.write_atomically(sys.argv[1], write)
            except files.DiskFullError as error:
                print(error)
    """
    path = tmp_path / "a"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), path], capture_output=True, text=True
    )
    assert not done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert all("a cannot be written: " in line and "bytes are free" in line for line in lines)
    assert _left(tmp_path) == []


def test_places_that_are_none(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileError, match=r"file is a file, not a folder; choose another path"):
        write_text(tmp_path / "file" / "a", "x")
    with pytest.raises(FileError, match=r"file is a file, not a folder"):
        files.make_folder(tmp_path / "file")
    with pytest.raises(FileError, match="Is a directory; choose a path that is not a folder"):
        write_text(tmp_path, "x")
    with pytest.raises(FileError, match=r"a path cannot hold a zero byte"):
        write_text(tmp_path / "a\0b", "x")
    with pytest.raises(FileError, match="File name too long; choose a shorter path"):
        write_text(tmp_path / ("x" * 300), "x")
    write_text(tmp_path / ("ü" * 120), "x")  # whose temporary would be too long
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(FileError, match="its links lead in a circle: choose another"):
        write_text(tmp_path / "circle" / "a", "x")


def test_a_device_or_pipe_is_never_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileError, match="it is a device or pipe, not a file"):
        write_text(tmp_path / "pipe", "x")
    assert (tmp_path / "pipe").is_fifo()
    with pytest.raises(FileError, match="it is a device or pipe"):
        write_text("/dev/null", "x")


_WRITER = """
import sys, time
from pathlib import Path
from sib_jax.runtime import files
def wait(*_):
    print("writing", flush=True)
    time.sleep(60)
if sys.argv[2] == "file":
    files.write_atomically(sys.argv[1], wait)
else:
    with files.temporary_folder(Path(sys.argv[1])) as folder:
        (folder / "half").write_text("x")
        wait()
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_process_left_is_swept_and_a_living_one_s_is_not(tmp_path, kind):
    arguments = [sys.executable, "-c", _WRITER, tmp_path / "a", kind]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "writing\n"
        (left,) = _left(tmp_path)
        files.sweep(tmp_path)
        write_text(tmp_path / "b", "x")
        assert _left(tmp_path) == [left, "b"]
        writer.kill()
        writer.wait()
    files.sweep(tmp_path, "other")
    assert left in _left(tmp_path)
    write_text(tmp_path / "a", "x")
    assert _left(tmp_path) == ["a", "b"]


def test_what_another_machine_writes_is_left_for_a_day(tmp_path):
    folder = tmp_path / ".a.00000000.0123456789ab.tmp"
    folder.mkdir()
    (folder / "half").write_text("x")
    (tmp_path / ".mine.tmp").write_text("of somebody else")
    files.sweep(tmp_path)
    assert _left(tmp_path) == [folder.name, ".mine.tmp"]
    long_ago = time.time() - 2 * 24 * 3600
    os.utime(folder, (long_ago, long_ago))
    files.sweep(tmp_path)  # a file in it is new
    assert folder.exists()
    os.utime(folder / "half", (long_ago, long_ago))
    files.sweep(tmp_path)
    assert _left(tmp_path) == [".mine.tmp"]


@pytest.mark.parametrize("number", [None, errno.EOPNOTSUPP, errno.EINVAL])
def test_reserved_bytes_are_there(tmp_path, monkeypatch, number):
    if number:

        def refuse(*_):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)
    with (tmp_path / "a").open("wb") as file:
        file.write(b"header")
        file.flush()
        files.reserve(file, 3_000_000)
    assert (tmp_path / "a").read_bytes().startswith(b"header\0\0")
    status = (tmp_path / "a").stat()
    assert status.st_size == 3_000_000
    assert status.st_blocks * 512 >= 3_000_000


def test_checksums(tmp_path):
    content = np.random.default_rng(0).bytes(3_000_000)
    (tmp_path / "a").write_bytes(content)
    first = files.checksum(tmp_path / "a")
    (tmp_path / "a").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert files.checksum(tmp_path / "a") != first


def test_paths_are_shown_in_one_line():
    assert shown("a\nb\0\x1b[31m") == r"a\nb\x00\x1b[31m"
    assert len(shown("x" * 5000)) == 400
