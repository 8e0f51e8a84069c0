"""What a run finds in its workdir: damage, another run, a place that is none; one line each."""

import os
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from sib_jax.backbones import pretrained
from sib_jax.backbones.preprocess import Preprocessing
from sib_jax.backbones.pretrained import Pretrained
from sib_jax.config import default
from sib_jax.errors import UserError
from sib_jax.experiment import job, memory, run_files, run_lock, settings
from sib_jax.experiment.run_lock import Lock
from sib_jax.methods.method import Classes
from sib_jax.runtime import weights

key = jax.random.key(0)


@pytest.fixture
def run(config, tmp_path):
    """A workdir as a run leaves it, but for training."""
    config.heads = (("T1", {"inner.steps": 1}),)
    found, workdir = settings.read(config), tmp_path / "run"
    run_files.write_config(config, workdir)
    backbone = settings.make_backbone(found.backbone, 3)
    whole = Pretrained(backbone, backbone.init(key), Preprocessing(16, (0.5,) * 3, (0.2,) * 3))
    pretrained.save(workdir / "backbone.npz", whole)
    params = found.heads[0].method.init(key, Classes((backbone.features,), base=6))
    weights.save(run_files.params_file(workdir, "T1"), params)
    return workdir


def refused(config, workdir):
    with pytest.raises(UserError) as raised:
        job.run(config, workdir)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 255
    path.write_bytes(content)


OTHER = {
    "cut": cut,
    "flipped": flip,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_bytes(b"no weights"),
    "other arrays": lambda path: np.savez(path, a=np.zeros(3)),
    "words": lambda path: np.savez(path, a=np.array(["x"])),
    "about": lambda path: np.savez(path, **{"about.json": np.zeros(3, np.uint8)}),
}


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *(("backbone.npz", damage) for damage in OTHER),
        *(("heads/T1.npz", damage) for damage in ("cut", "flipped", "empty", "text", "about")),
    ],
)
def test_damaged_weights_are_named_with_a_remedy(run, config, monkeypatch, name, damage):
    monkeypatch.setattr(job, "pretrain", None)
    monkeypatch.setattr(job, "meta_train", None)
    path = run / name
    OTHER[damage](path)
    found = refused(config, run)
    assert str(path) in found
    assert "delete it, and its stage will be repeated from the last checkpoint" in found


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\x00", b"[]", b"5", b"{}", b'{"heads": 3, "method": "sib"}']
)
def test_a_damaged_config_is_named_with_a_remedy(run, config, content):
    (run / "config.json").write_bytes(content)
    found = refused(config, run)
    assert f"{run / 'config.json'} is damaged: it is not a config in JSON" in found
    assert "delete the file" in found


def test_a_second_run_is_refused(run, config):
    with Lock(run) as lock:
        lock.take()
        found = refused(config, run)
        assert f"another run is at work in {run} (process {os.getpid()} on " in found
    with Lock(run) as lock:
        lock.take()  # it ended with the first


def test_a_file_system_without_locks_is_told_of(run, caplog, monkeypatch):
    monkeypatch.setattr(run_lock.files, "_lock", lambda handle: None)
    with Lock(run) as lock:
        lock.take()
    (line,) = caplog.messages
    assert f"{run} is on a file system without locks" in line


def places(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    return {
        "file": "file is a file, not a folder; choose another path",
        "file/below/it": "file is a file, not a folder; choose another path",
        "dangling": f"is a link to {tmp_path / 'nowhere'}, which is missing; choose another path",
        "dangling/below": f"link to {tmp_path / 'nowhere'}, which is missing; choose another path",
        "circle": "cannot be written: ",
        "n" * 300: "File name too long; choose a shorter path",
        "/".join(["n" * 200] * 20): "File name too long; choose a shorter path",
        "zero\0byte": "a path cannot hold a zero byte",
    }


@pytest.mark.parametrize("number", range(8))
def test_a_workdir_that_cannot_be_one(config, tmp_path, monkeypatch, number):
    name, message = list(places(tmp_path).items())[number]
    monkeypatch.setattr(job, "load", None)  # before any work
    assert message in refused(config, tmp_path / name)


def test_a_workdir_that_is_read_only(config, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "load", None)
    monkeypatch.setattr(os, "access", lambda path, how: False)  # root may write everywhere
    found = refused(config, tmp_path / "run")
    assert "Permission denied; choose a folder that you may write to" in found


def test_tensorboard_that_is_not_installed(config, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorboardX", None)
    monkeypatch.setattr(job, "load", None)
    config.tensorboard = True
    assert "pip install tensorboardX" in refused(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", 99999999999999999999),
        ("optimizer.drop_epochs", ("a",)),
        ("optimizer.momentum", float("nan")),
        ("optimizer.weight_decay", float("inf")),
        ("optimizer.lr", float("inf")),
        ("inner.step_size", float("inf")),
        ("eval.splits", ("val", "val")),
        ("split_ratios", (0.6, float("nan"), 0.2)),
        ("inner.steps", 10**9),
        ("optimizer.batch", 10**8),
        ("eval.batch", 10**9),
        ("eval.test_tasks", 10**13),
    ],
)
def test_values_that_cannot_be_finished(config, tmp_path, monkeypatch, field, value):
    monkeypatch.setattr(job, "load", None)
    config.update_from_flattened_dict({field: value})
    assert f"config.{field} is {value!r}, but must be" in refused(config, tmp_path / "run")


def test_a_field_that_is_no_name(config, tmp_path):
    config.heads = (("a", {3: 4}),)
    assert "config.heads: a has a field that is not a name" in refused(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("field", "value", "bytes_each"),
    [
        ("pretrain.batch", 30_000, (80**2 * 64 + 40**2 * 64 + 20**2 * 128 + 10**2 * 128) * 4),
        ("eval.batch", 100_000, 5 * 16 * 3200 * 4),
        ("optimizer.batch", 100_000, 5 * 16 * 3200 * 4),
    ],
)
def test_a_batch_is_compared_with_memory(field, value, bytes_each):
    config = default("mini_imagenet")
    config.update_from_flattened_dict({field: value})
    experiment = settings.read(config)
    need = value * bytes_each
    memory.check(experiment, available=lambda: need)
    memory.check(experiment, available=lambda: None)
    wanted = f"needs at least {need / 1e9:,.1f} GB of memory, but .* choose at most {value - 1}"
    with pytest.raises(UserError, match=wanted):
        memory.check(experiment, available=lambda: need - 1)


@pytest.mark.parametrize("dataset", ["glyphs", "mini_imagenet"])
def test_no_default_is_refused(dataset):
    memory.check(settings.read(default(dataset)), available=lambda: 1)


def test_available_memory_is_known(monkeypatch):
    assert 2**20 < memory.free_bytes() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    # Of accelerators what no array takes.
    stats = {"bytes_limit": 100, "bytes_in_use": 30}
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(
        jax, "local_devices", lambda: 2 * [SimpleNamespace(memory_stats=lambda: stats)]
    )
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    assert memory.free_bytes() == 6 * 70
    assert memory.free_bytes(of_one=True) == 70
