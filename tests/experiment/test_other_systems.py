"""Jobs and predictions where Python has not what Windows lacks; it is taken away here."""

import errno
import os
import pathlib
import pickle
import subprocess
import sys
import textwrap

import pytest
from PIL import Image

from sib_jax.data import sorted_copies
from sib_jax.errors import UserError
from sib_jax.runtime import files, shipped

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Libraries come first: they have ways of their own around each of these. What the standard library
# itself asks for on Linux stays.
WITHOUT = """
import os, shutil, signal, sys
import flax, jax, matplotlib.pyplot, optax, orbax.checkpoint, tqdm
from absl import app, flags
from ml_collections import config_flags
for lacking in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[lacking] = None
of_os = "chown confstr fork getuid geteuid killpg mkfifo posix_fallocate"
of_os += " pread pwrite statvfs sysconf uname"
of_signal = "pthread_kill pthread_sigmask SIG_BLOCK SIG_UNBLOCK SIG_SETMASK SIGHUP SIGKILL SIGUSR1"
for module, names in ((os, of_os), (signal, of_signal)):
    for name in names.split():
        delattr(module, name)
shutil.disk_usage = lambda _: shutil._ntuple_diskusage(10**12, 0, 10**12)  # it uses statvfs
opened = os.open
def open_(path, flags, *rest, **more):
    if os.path.isdir(path):
        raise PermissionError(13, "Permission denied", path)
    return opened(path, flags, *rest, **more)
os.open = open_
"""


def python(code, folder):
    return subprocess.run(
        [sys.executable, "-c", WITHOUT + textwrap.dedent(code)],
        cwd=folder,
        capture_output=True,
        encoding="cp1252",
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "cp1252"},
        check=False,
    )


def test_a_job_and_a_prediction(config, image_folder, tmp_path):
    config.posterior, config.prior, config.elbo.beta = "point", "none", 0.0
    config.heads = (("T0", {"inner.steps": 0}),)
    config.optimizer.epochs, config.pretrain.epochs = 1, 1
    config.optimizer.drop_epochs = ()
    (tmp_path / "config").write_bytes(pickle.dumps(config))
    for kind, number in (("support", 0), ("query", 1)):
        for name in ("test0", "test1", "test2"):
            (tmp_path / kind / f"{name}β").mkdir(parents=True)
            with Image.open(image_folder / "test" / name / f"{number}.png") as image:
                image.save(tmp_path / kind / f"{name}β" / f"{number}.png")
    code = """
        import pickle
        import sib_jax
        from sib_jax import predict
        from sib_jax.runtime import interrupt
        interrupt.watch()
        config = pickle.load(open("config", "rb"))
        sib_jax.run(config, "run", report=False)
        predict.main("--run=run --support=support --query=query --copy_to=copies".split())
    """
    done = python(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "without locks" in done.stdout
    assert "±" in done.stdout
    assert len((tmp_path / "predictions.csv").read_text().splitlines()) == 4
    assert len(list((tmp_path / "copies").rglob("*.png"))) == 3


def test_a_target_that_another_program_has_open_is_told_before_any_work(tmp_path, monkeypatch):
    (tmp_path / "table.csv").write_text("old")
    monkeypatch.setattr(files, "fcntl", None)
    files.check_file(tmp_path / "table.csv")
    opened = pathlib.Path.open

    def open_(path, mode="r", *rest, **more):
        if "+" in mode:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, mode, *rest, **more)

    monkeypatch.setattr(pathlib.Path, "open", open_)
    with pytest.raises(files.FileError, match="another program has it open; close it there"):
        files.check_file(tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_text() == "old"


def test_a_drive_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setattr(os.path, "lexists", lambda _: False)
    with pytest.raises(files.FileError, match="there is no /; choose another path"):
        files.check_folder("/any/folder")


@pytest.mark.parametrize(
    ("given", "file", "rest"),
    [
        (r"C:\Users\me\own.py", r"C:\Users\me\own.py", ""),
        (r"C:\Users\me\own.py:folder", r"C:\Users\me\own.py", ":folder"),
        ("D:/own.py:mini_imagenet", "D:/own.py", ":mini_imagenet"),
        ("5w1s:folder", "5w1s", ":folder"),
        ("5w1s", "5w1s", ""),
    ],
)
def test_a_drive_is_no_argument_of_a_config(given, file, rest):
    assert shipped.parted(given) == (file, rest)


def test_a_config_below_a_folder_with_a_colon(tmp_path, monkeypatch):
    own = tmp_path / "a:b" / "own.py"
    own.parent.mkdir()
    own.write_text("")
    monkeypatch.chdir(tmp_path / "a:b")
    assert shipped.with_config_file([f"--config={own}:x:y"]) == ["--config=own.py:x:y"]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="start the command in the folder it is in"):
        shipped.with_config_file(["--config", str(own)])


def test_folders_for_copies_have_names_that_windows_takes(monkeypatch):
    monkeypatch.setattr(sorted_copies, "_NO_NAME", sorted_copies.of_system("nt"))
    names = ["U+0061: a", "what?", "end. ", "a/b", "a\\b", "..", "plain"]
    found = sorted_copies._folder_names(names)
    assert list(found.values()) == ["U+0061_ a", "what_", "end_", "a_b", "a_b (2)", "_", "plain"]
