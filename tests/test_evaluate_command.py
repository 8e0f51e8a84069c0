"""`python -m sib_jax.evaluate`: a checkpoint of the official code on a data set."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sib_jax import evaluate
from sib_jax.experiment import features, job
from sib_jax.official import torch_file, torch_write

CHECKPOINT = Path(__file__).parent / "parity" / "netSIBBest70.000.pth"


def test_the_accuracy_of_an_official_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "BATCH", 80)  # images of a split
    monkeypatch.setattr(job, "_report", lambda workdir, look: None)
    rng = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for name in range(5):
            folder = tmp_path / "data" / split / f"{split}{name}"
            folder.mkdir(parents=True)
            for i in range(16):
                noisy = rng.integers(0, 40, (8, 8, 3)) + np.array([40 * name, 90, 200 - 40 * name])
                Image.fromarray(noisy.astype(np.uint8)).save(folder / f"{i}.png")
    words = [f"--checkpoint={CHECKPOINT}", f"--data_dir={tmp_path}/data", "--dataset=folder"]
    evaluate.main([*words, "--tasks=20", f"--workdir={tmp_path}/run"])
    (row,) = json.loads((tmp_path / "run" / "results.json").read_text())
    assert row["head"] == "official"
    assert (row["steps"], row["ways"], row["shots"], row["tasks"]) == (3, 5, 1, 20)
    assert row["novel"]["mean"] > 30  # chance is 20; the checkpoint is hardly trained
    # Another checkpoint of that name does not take its place.
    state, head = torch_file.read(CHECKPOINT), tmp_path / "run" / "heads" / "official.npz"
    other, kept = tmp_path / CHECKPOINT.name, head.read_bytes()
    torch_write.write(other, state | {"SIB": {k: v + 1 for k, v in state["SIB"].items()}})
    words[0] = f"--checkpoint={other}"
    with pytest.raises(SystemExit, match=r"parameters of head official; choose another --workdir"):
        evaluate.main([*words, "--tasks=20", f"--workdir={tmp_path}/run"])
    assert head.read_bytes() == kept


def test_a_mistake_is_one_line(tmp_path):
    words = [f"--data_dir={tmp_path}", f"--workdir={tmp_path}/run"]
    with pytest.raises(SystemExit, match=r"nope\.pth does not exist"):
        evaluate.main([*words, "--checkpoint=nope.pth"])
    backbone = CHECKPOINT.with_name("netFeatBest64.653.pth")
    with pytest.raises(SystemExit, match="not an official head"):
        evaluate.main([*words, f"--checkpoint={backbone}"])
    with pytest.raises(SystemExit, match="holds no mini-ImageNet"):
        evaluate.main([*words, f"--checkpoint={CHECKPOINT}"])
    assert not (tmp_path / "run" / "heads").exists()
