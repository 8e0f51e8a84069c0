"""A damaged checkpoint is noticed, named and left out; a failed one leaves the older one usable."""

import logging
import resource
import shutil

import numpy as np
import pytest

from sib_jax.runtime import files
from sib_jax.runtime.checkpoint import CheckpointError, Checkpoints


def state(step):
    return {"a": np.full(2000, step) + np.arange(2000.0), "b": np.float32(step)}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The last two of three checkpoints."""
    directory = tmp_path_factory.mktemp("saved") / "stage"
    with Checkpoints(directory) as checkpoints:
        for step in (5, 10, 15):
            checkpoints.save(step, state(step))
    assert sorted(p.name for p in directory.iterdir()) == ["10", "15"]
    return directory


def restored(directory):
    with Checkpoints(directory) as checkpoints:
        found = checkpoints.restore(state(0))
    if found is not None:
        step, tree = found
        np.testing.assert_array_equal(tree["a"], state(step)["a"])
        return step
    return None


def test_one_of_other_shapes_is_told_and_stays(saved, tmp_path):
    """Orbax alone would give what was saved, in the shape that it was saved in."""
    directory = tmp_path / "stage"
    shutil.copytree(saved, directory)
    other = {**state(0), "a": np.zeros((2, 1000))}
    with Checkpoints(directory) as checkpoints, pytest.raises(CheckpointError) as raised:
        checkpoints.restore(other)
    assert str(raised.value) == (
        f"{directory} holds checkpoints of other parameters: a has shape (2000,), but (2, 1000) "
        "is wanted; delete that folder to train again"
    )
    assert restored(directory) == 15


@pytest.mark.parametrize("of", [{"c": np.zeros(1)}, {"b": {"c": np.zeros(1)}}])
def test_one_of_another_structure_is_told_and_stays(of, saved, tmp_path):
    directory = tmp_path / "stage"
    shutil.copytree(saved, directory)
    with Checkpoints(directory) as checkpoints, pytest.raises(CheckpointError) as raised:
        checkpoints.restore({**state(0), **of})
    assert "holds checkpoints of other parameters: User-provided" in str(raised.value)
    assert str(raised.value).endswith("do not match; delete that folder to train again")
    assert restored(directory) == 15


def remove(path):
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


def largest(step):
    return max((p for p in step.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


DAMAGE = {
    "no metadata": lambda step: remove(step / "state" / "_METADATA"),
    "cut metadata": lambda step: cut(step / "state" / "_METADATA"),
    "no manifest": lambda step: remove(step / "state" / "manifest.ocdbt"),
    "changed manifest": lambda step: flip(step / "state" / "manifest.ocdbt"),
    "no data": lambda step: remove(step / "state" / "d"),
    "no item": lambda step: remove(step / "state"),
    "cut data": lambda step: cut(largest(step)),
    "changed data": lambda step: flip(largest(step)),  # orbax would give the wrong values
    "no sums": lambda step: cut(step / "checksums.json"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_the_one_before_is_taken_where_the_last_is_damaged(saved, tmp_path, caplog, damage):
    directory = tmp_path / "stage"
    shutil.copytree(saved, directory)
    damage(directory / "15")
    with caplog.at_level(logging.WARNING, "sib_jax"):
        assert restored(directory) == 10
    (line,) = caplog.messages
    assert "the checkpoint of step 15 is damaged (" in line
    assert str(directory / "damaged-15") in line
    assert "\n" not in line
    with Checkpoints(directory) as checkpoints:  # the step is reached again
        checkpoints.save(15, state(15))
    assert restored(directory) == 15


def test_where_none_can_be_read_the_stage_begins_anew(saved, tmp_path, caplog):
    directory = tmp_path / "stage"
    shutil.copytree(saved, directory)
    for step in ("10", "15"):
        flip(directory / step / "state" / "manifest.ocdbt")
    with caplog.at_level(logging.WARNING, "sib_jax"):
        assert restored(directory) is None
    assert "the stage starts over" in caplog.messages[-1]


def test_a_checkpoint_without_checksums_is_damaged(saved, tmp_path):
    directory = tmp_path / "stage"
    shutil.copytree(saved, directory)
    (directory / "15" / "checksums.json").unlink()
    assert restored(directory) == 10


def test_a_full_disk_is_one_line_and_the_older_one_stays(tmp_path):
    directory = tmp_path / "stage"
    rng = np.random.default_rng(0)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Checkpoints(directory) as checkpoints:
        checkpoints.save(5, state(5))
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        with pytest.raises(files.FileError) as raised, Checkpoints(directory) as checkpoints:
            checkpoints.save(10, {"a": rng.random(10**5), "b": np.float32(0)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(directory) in str(raised.value)
    assert "goes on from the previous checkpoint" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert restored(directory) == 5
    # Tensorstore may still be retrying, which makes the unfinished folder anew.
    assert [p.name for p in directory.iterdir() if p.name.isdecimal()] == ["5"]


def test_what_a_killed_process_left_half_written_is_removed(saved, tmp_path):
    directory = tmp_path / "stage"
    shutil.copytree(saved, directory)
    shutil.copytree(directory / "15", directory / "20.orbax-checkpoint-tmp")
    assert restored(directory) == 15
    assert sorted(p.name for p in directory.iterdir()) == ["10", "15"]
