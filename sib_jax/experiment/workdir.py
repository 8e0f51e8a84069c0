"""A folder that holds one experiment: its files, and the check that it is the same experiment."""

import json
from pathlib import Path
from typing import Any

from flax.traverse_util import flatten_dict

from sib_jax.config import EXPERIMENT, ConfigError
from sib_jax.runtime import files

CONFIG = "config.json"
BACKBONE = "backbone.npz"
CHECKPOINTS = "checkpoints"  # a folder a stage, those of heads below heads/

# What may differ from the experiment that a folder holds: it changes neither backbone nor
# parameters. A backbone's file is known by its content, and heads are compared one by one.
_FREE = ("data_dir", "tensorboard", "backbone_file", "heads", "eval.")


def params_file(workdir: Path, head: str) -> Path:
    """Where the trained parameters of a head are."""
    return workdir / "heads" / f"{head}.npz"


def write_config(config: Any, workdir: Path) -> None:
    """Writes the resolved config."""
    files.make_folder(workdir / "heads")
    files.write_text(workdir / CONFIG, config.to_json(indent=1) + "\n")


def check_same(config: Any, workdir: Path) -> None:
    """Raises `ConfigError` where `workdir` holds another experiment: it would mix two."""
    path = workdir / CONFIG
    if not path.exists():
        return
    before, now = json.loads(path.read_text()), json.loads(config.to_json())
    _compare(_shared(before), _shared(now), workdir, "")
    old, new = _heads(before), _heads(now)
    for name in new:
        if name in old:
            _compare(old[name], new[name], workdir, f"head {name} of ")


def _compare(before: dict[str, Any], now: dict[str, Any], workdir: Path, of: str) -> None:
    for field in sorted(before.keys() | now.keys()):
        if before.get(field) != now.get(field):
            raise ConfigError(
                f"{workdir} holds {of}a run with config.{field} = {before.get(field)!r}, not "
                f"{now.get(field)!r}; choose another --workdir, or delete it to start anew"
            )


def _shared(config: dict[str, Any]) -> dict[str, Any]:
    flat = flatten_dict(config, sep=".")
    return {k: v for k, v in flat.items() if k in EXPERIMENT and not k.startswith(_FREE)}


def _heads(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """All fields of each head."""
    flat = flatten_dict(config, sep=".")
    common = {k: v for k, v in flat.items() if k not in EXPERIMENT or k == "seed"}
    named = config["heads"] or [(config["method"], {})]
    return {name: common | flatten_dict(changes, sep=".") for name, changes in named}
