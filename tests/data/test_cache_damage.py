"""What is in the cache is verified, and a full disk is told in one line."""

import errno
import logging
import os
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from sib_jax.data import cache
from sib_jax.data.split import SPLITS
from sib_jax.runtime.cache_dir import CacheError

pytestmark = pytest.mark.usefixtures("own_cache")


def _build(writer):
    for number, split in enumerate(SPLITS):
        images = writer.allocate(split, (40, 4, 4, 3))
        images[:] = np.random.default_rng(number).integers(0, 256, images.shape)
        writer.describe(split, np.repeat([0, 1], 20), [f"{split}-a", f"{split}-b"])


def _load():
    data = cache.load_or_build("toy", "k", _build)
    return [data.split(split).images.sum() for split in SPLITS]


def _keep_size(path):
    size = path.stat().st_size
    with path.open("rb+") as file:
        file.truncate(size // 2)
        file.truncate(size)


def _flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "zeros of the same size": _keep_size,
    "another byte": _flip_a_byte,
    "no text": lambda path: path.write_bytes(b"\xff" * 100),
    "other JSON": lambda path: path.write_text('{"train": {"fingerprint": "x"}}'),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["train_images.npy", "val_labels.npy", "dataset.json"])
def test_a_damaged_copy_is_made_anew_and_said_so(name, damage, tmp_path, caplog):
    want = _load()
    (folder,) = (tmp_path / "cache" / "datasets").iterdir()
    DAMAGE[damage](folder / name)
    with caplog.at_level(logging.INFO, "sib_jax"):
        assert _load() == want
    (line,) = [record.getMessage() for record in caplog.records]
    assert str(folder) in line
    assert line.endswith(": preparing it again")
    assert name in line
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    caplog.clear()
    with caplog.at_level(logging.INFO, "sib_jax"):
        assert _load() == want
    assert not caplog.records


def test_a_file_in_its_place_is_replaced(tmp_path):
    want = _load()
    (folder,) = (tmp_path / "cache" / "datasets").iterdir()
    shutil.rmtree(folder)
    folder.write_text("x")
    assert _load() == want


def test_files_are_read_once_a_process(monkeypatch):
    _load()
    monkeypatch.setattr(cache.files, "checksum", lambda _: pytest.fail("read again"))
    _load()


def test_what_a_killed_build_left_is_removed(tmp_path):
    program = """
        import os, signal
        from sib_jax.data import cache
        def build(writer):
            writer.allocate("train", (4, 2, 2, 3))
            os.kill(os.getpid(), signal.SIGKILL)
        cache.load_or_build("other", "k", build)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False)
    datasets = tmp_path / "cache" / "datasets"
    (left,) = datasets.iterdir()
    assert left.name.startswith(".other-k.")
    _load()
    assert [path.name for path in datasets.iterdir()] == ["toy-k"]


@pytest.mark.parametrize("function", ["posix_fallocate", "fsync"])
def test_a_full_disk_is_told_and_nothing_stays(function, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, function, full, raising=False)  # macOS has no posix_fallocate
    with pytest.raises(CacheError) as raised:
        _load()
    message = str(raised.value)
    assert message.startswith("no room in the cache for ")
    assert "bytes are free in" in message
    assert "set SIB_JAX_CACHE to a folder on another disk" in message
    assert "\n" not in message
    if function == "posix_fallocate":
        assert "1,920 bytes for the images of train" in message
    assert not list((tmp_path / "cache" / "datasets").iterdir())


def test_a_disk_that_is_known_to_be_full_is_not_filled(monkeypatch):
    monkeypatch.setattr(cache.files, "free_bytes", lambda _: 1000)
    monkeypatch.setattr(os, "posix_fallocate", lambda *_: pytest.fail("tried"), raising=False)
    with pytest.raises(CacheError, match="1,920 bytes for the images of train: 1,000 bytes"):
        _load()


def test_a_disk_that_fills_ends_the_process_with_a_line(tmp_path):
    program = """
        import resource
        from sib_jax.data import cache
        from sib_jax.runtime.cache_dir import CacheError
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        def build(writer):
            images = writer.allocate("train", (1000, 8, 8, 3))
            images[:] = 1  # a signal here would be the end
        try:
            cache.load_or_build("toy", "k", build)
        except CacheError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "192,000 bytes for the images of train" in done.stdout
    assert not list((tmp_path / "cache" / "datasets").iterdir())


def test_a_cache_that_cannot_be(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "file", tmp_path / "file" / "below", "/dev/null"):
        monkeypatch.setenv("SIB_JAX_CACHE", str(place))
        with pytest.raises(CacheError, match="is a file, not a folder; set SIB_JAX_CACHE"):
            _load()
    monkeypatch.setenv("SIB_JAX_CACHE", "~nobody_of_that_name/x")
    with pytest.raises(CacheError, match="set SIB_JAX_CACHE to one"):
        _load()
    monkeypatch.setenv("SIB_JAX_CACHE", str(tmp_path / ("x" * 300)))
    with pytest.raises(CacheError, match="File name too long; set SIB_JAX_CACHE"):
        _load()


def test_identical_images_are_told_each_time(caplog):
    def build(writer):
        rng = np.random.default_rng(0)
        kept = {}
        for split in SPLITS:
            images = writer.allocate(split, (4, 2, 2, 3))
            images[:] = rng.integers(0, 256, images.shape)
            images[1] = images[0]  # twice in one class: told by nobody
            kept[split] = images
            if split == "val":
                images[3] = kept["train"][2]
                images[2] = images[0]
            names = [f"{c}/{i}.png" for c, i in zip("aabb", range(4), strict=True)]
            writer.describe(split, [0, 0, 1, 1], [f"{split}-a", f"{split}-b"], names)

    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.INFO, "sib_jax"):
            cache.load_or_build("toy", "alike", build)
        assert (
            "toy: 2 images are the same as one of another class or split (1 of another split), "
            "such as val/a/0.png and val/b/2.png"
        ) in caplog.text
