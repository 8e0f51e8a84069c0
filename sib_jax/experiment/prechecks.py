"""Checks of a job that need neither data nor a backbone: of its stages, heads and files."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sib_jax.backbones import pretrained
from sib_jax.config import ConfigError, describe
from sib_jax.experiment import run_files, settings
from sib_jax.experiment.settings import Experiment
from sib_jax.runtime import shipped, weights

MODES = ("all", "pretrain", "train", "evaluate")


def check_same_heads(heads: Mapping[str, Any], workdir: Path) -> None:
    """Raises `ConfigError` where `workdir` holds other parameters of heads that are given."""
    for name, given in heads.items():
        path = run_files.params_file(workdir, name)
        if path.exists():
            kept = run_files.kept(weights.load, path, given)
            if not all(map(np.array_equal, jax.tree.leaves(kept), jax.tree.leaves(given))):
                raise run_files.other_run(workdir, f"a run with other parameters of head {name}")


def check_reads(experiment: Experiment, mode: str) -> None:
    """Raises `ConfigError` where the methods or `mode` need other data."""
    if experiment.data.name == "features":
        if mode == "pretrain":
            wanted = "but the data are features already"
            raise ConfigError(f"--mode=pretrain trains a backbone, {wanted}")
        for head in experiment.heads:
            if head.method.reads == "images":
                raise ConfigError(f"{head.method.name} reads images, but the data are features")
    elif mode == "pretrain" and not experiment.has_backbone:
        raise ConfigError("--mode=pretrain trains a backbone, but all methods read images")


def check_stages(
    config: Any, experiment: Experiment, workdir: Path, mode: str, heads: Mapping[str, Any]
) -> None:
    """Raises `ConfigError` where something that `mode` builds upon is missing."""
    if mode not in MODES:
        raise ConfigError(f"mode is {mode!r}, but must be one of {', '.join(MODES)}")
    needed: dict[Path, str] = {}
    given, kept = experiment.backbone.file, workdir / run_files.BACKBONE
    start = experiment.pretraining.start
    if not experiment.has_backbone:
        pass
    elif given:
        # A folder that was moved needs its original file no longer, but accepts no other.
        went_on = kept.exists() and run_files.backbone_file(workdir) == config.backbone_file
        if not os.path.isfile(given) and not went_on:
            wanted = f"an existing .npz or .pth file, or one of {', '.join(shipped.weights())}"
            raise ConfigError(describe("backbone_file", given, wanted))
        if os.path.isfile(given) and given.endswith(".npz"):
            pretrained.check(given, settings.before_data(experiment.backbone))
    elif start and not kept.exists() and not os.path.isfile(start):
        wanted = f"an existing .npz file, or one of {', '.join(shipped.weights())}"
        raise ConfigError(describe("pretrain.start", start, wanted))
    elif mode in ("train", "evaluate"):
        needed[kept] = "pretrain"
    if mode == "evaluate":
        trained = experiment.trained(heads)
        needed |= {run_files.params_file(workdir, head.name): "train" for head in trained}
    for path, stage in needed.items():
        if not path.exists():
            raise ConfigError(
                f"--mode={mode} needs {path}, which does not exist: "
                f"run with --mode={stage} or --mode=all first"
            )
    for path in (kept, *(run_files.params_file(workdir, head.name) for head in experiment.heads)):
        if path.exists():
            run_files.kept(lambda path, _: weights.about(path), path, None)
