"""The files of a folder that holds one experiment, and the check that it is the same one."""

import contextlib
import json
import re
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flax.traverse_util import flatten_dict, unflatten_dict

from sib_jax.backbones import pretrained
from sib_jax.config import EXPERIMENT, ConfigError, fields
from sib_jax.methods import METHODS, is_own
from sib_jax.runtime import files, weights
from sib_jax.runtime.words import one_line

CONFIG = "config.json"
DATA = "data.json"  # fingerprints of what training sees
HEADS = "heads/heads.json"  # the fields of each head that was ever run in the folder
BACKBONE = "backbone.npz"
CHECKPOINTS = "checkpoints"  # a folder per stage, those of heads in heads/

# What may differ from the experiment that a folder holds: it changes neither backbone nor
# parameters. A backbone's file is known by its content, and heads are compared one by one.
_FREE = ("data_dir", "tensorboard", "backbone_file", "heads", "eval.")

# A workdir's name leaves these out: a finished run may be evaluated again, on more tasks and with
# further heads.
_UNNAMED = ("data_dir", "dataset", "heads", "seed", "tensorboard")
_LONGEST = 120  # characters of a name for the fields that were set


def default_place(
    experiment: str, config: Any, given: Mapping[str, Any], argument: str = ""
) -> Path:
    """Where a run without a --workdir goes: each set of fields has its own folder.

    Args:
      experiment: its name.
      config: the resolved config.
      given: fields that were set on the command line, with their values.
      argument: of the experiment; usually the data set.
    """
    told = {field: str(value) for field, value in given.items() if not _is_unnamed(field)}
    plain = {field: _plain(value) for field, value in told.items()}
    ending = "".join(f"-{field}={plain[field]}" for field in sorted(plain))
    if len(ending) > _LONGEST:
        ending = f"-fields-{zlib.crc32(ending.encode()):08x}"
    of = _plain(argument)[:_LONGEST]
    of = of if config.dataset in of else f"{of}-{config.dataset}".strip("-")
    return Path("runs", f"{experiment}-{of}-seed{config.seed}{ending}")


def _is_unnamed(field: str) -> bool:
    return field in _UNNAMED or field.startswith("eval.")


def _plain(value: str) -> str:
    return re.sub(r"[^\w.+-]+", ",", value).strip(",")


def params_file(workdir: Path, head: str) -> Path:
    """Where the trained parameters of a head are."""
    return workdir / "heads" / f"{head}.npz"


def check_place(workdir: Path, heads: Sequence[str]) -> None:
    """Raises `FileError` where `workdir` cannot be a folder that is written to; makes nothing."""
    if re.match(r"\w{2,}:/", str(workdir)):  # a Path leaves one slash of gs:// and the like
        raise files.FileError(
            f"{workdir} is an address, but a workdir must be a folder; a bucket can be mounted as "
            "one"
        )
    longest = f"{CHECKPOINTS}/heads/{max(heads, key=len)}"
    files.check_folder(workdir, f"{longest}/damaged-{10**12}/{'-' * 80}")


def write_config(config: Any, workdir: Path, only: Collection[str] | None = None) -> None:
    """Writes the resolved config, and adds its heads, or `only` some, to those ever run here."""
    files.make_folder(workdir / "heads")
    of_heads = _heads(json.loads(config.to_json()))
    chosen = {name: head for name, head in of_heads.items() if only is None or name in only}
    heads = _ever_run(workdir) | chosen
    files.write_text(workdir / HEADS, json.dumps(heads, indent=1) + "\n")
    files.write_text(workdir / CONFIG, config.to_json(indent=1) + "\n")


def write_data(fingerprints: Mapping[str, str], workdir: Path) -> None:
    """Writes what data the folder's experiment is on."""
    files.write_text(workdir / DATA, json.dumps(dict(fingerprints), indent=1) + "\n")


def check_data(fingerprints: Mapping[str, str], workdir: Path) -> None:
    """Raises `ConfigError` where what `workdir` holds has learned from other data.

    Args:
      fingerprints: by split.
      workdir: the folder; runs of earlier versions kept no fingerprints.
    """
    with _damage_told(workdir / DATA, "record of the data"):
        before = _object(workdir / DATA) or {}
    for split, fingerprint in fingerprints.items():
        if before.get(split, fingerprint) != fingerprint:
            said = f"a run on other data: its {split} split had other classes or images"
            raise other_run(workdir, said)


def check_same(config: Any, workdir: Path) -> None:
    """Raises `ConfigError` where `workdir` holds another experiment: it would mix two."""
    before, now = _stored(workdir / CONFIG), json.loads(config.to_json())
    if before is None:
        return
    old_shared, new_shared = _shared(before), _shared(now)
    if before["backbone_file"] and now["backbone_file"]:  # then nothing is pretrained
        old_shared, new_shared = map(_without_pretraining, (old_shared, new_shared))
    _compare(old_shared, new_shared, workdir, "")
    old, new = _ever_run(workdir), _heads(now)
    for name in new:
        if name in old:
            before, now = _without_others(old[name]), _without_others(new[name])
            _compare(before, now, workdir, f"head {name} of ")


def backbone_file(workdir: Path) -> str | None:
    """The file that the run's backbone was given as, "" where it was trained; None for no run."""
    before = _stored(workdir / CONFIG)
    return None if before is None else str(before["backbone_file"])


def _stored(path: Path) -> dict[str, Any] | None:
    """The config of an earlier run; None where there is none.

    Raises:
      ConfigError: the file is damaged.
    """
    with _damage_told(path, "config"):
        found = _object(path)
        if found is not None:
            found = completed(found)
            _shared(found), _heads(found)
    return found


def _ever_run(workdir: Path) -> dict[str, dict[str, Any]]:
    """All fields of each head that was ever run here: what it left is still there.

    Raises:
      ConfigError: a file is damaged.
    """
    path = workdir / HEADS
    if not path.exists():
        before = _stored(workdir / CONFIG)
        return {} if before is None else _heads(before)
    defaults = json.loads(json.dumps({n: f.default for n, f in fields().items()}))
    of_heads = {n: value for n, value in defaults.items() if n not in EXPERIMENT}
    with _damage_told(path, "list of heads"):
        return {name: of_heads | dict(head) for name, head in (_object(path) or {}).items()}


def _object(path: Path) -> dict[str, Any] | None:
    """The JSON object that a file holds; None where there is no file."""
    if not path.exists():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, Mapping):
        raise ValueError(f"a {type(found).__name__}, not an object")
    return dict(found)


@contextlib.contextmanager
def _damage_told(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(
            f"{path} is damaged: it is not a {what} in JSON ({one_line(error)}); if the "
            "folder holds this experiment, delete the file, and it will be written again; else "
            "choose another --workdir"
        ) from error


def kept(load: Callable[[Path, Any], Any], path: Path, like: Any) -> Any:
    """What an earlier run here, or an earlier stage of this one, has left."""
    try:
        return load(path, like)
    except pretrained.SettingError:
        raise
    except weights.WeightsError as error:
        raise weights.WeightsError(
            f"{error}; delete it, and its stage will be repeated from the last checkpoint"
        ) from error


def completed(config: Mapping[str, Any]) -> dict[str, Any]:
    """A stored config; fields that the version that wrote it did not know have their defaults.

    These are the defaults they were added with, which change nothing, not those of a data set.
    """
    if "dataset" not in config:
        raise LookupError("it names no data set")
    defaults = json.loads(json.dumps({name: field.default for name, field in fields().items()}))
    if config["dataset"] in ("folder", "features"):
        defaults["split_seed"] = config.get("seed", 0)  # one seed did for both
    return unflatten_dict(defaults | flatten_dict(dict(config), sep="."), sep=".")


def _compare(before: dict[str, Any], now: dict[str, Any], workdir: Path, of: str) -> None:
    for field in sorted(before.keys() | now.keys()):
        if before.get(field) != now.get(field):
            values = f"{before.get(field)!r}, not {now.get(field)!r}"
            raise other_run(workdir, f"{of}a run with config.{field} = {values}")


def other_run(workdir: Path, holds: str) -> ConfigError:
    """What to raise where a folder holds something else than this experiment."""
    return ConfigError(
        f"{workdir} holds {holds}; choose another --workdir, or delete that folder to start anew"
    )


def _shared(config: dict[str, Any]) -> dict[str, Any]:
    flat = flatten_dict(config, sep=".")
    return {k: v for k, v in flat.items() if k in EXPERIMENT and not k.startswith(_FREE)}


def _without_pretraining(shared: dict[str, Any]) -> dict[str, Any]:
    return {field: value for field, value in shared.items() if not field.startswith("pretrain.")}


def _heads(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """All fields of each head."""
    flat = flatten_dict(config, sep=".")
    common = {k: v for k, v in flat.items() if k not in EXPERIMENT or k == "seed"}
    named = config["heads"] or [(config["method"], {})]
    return {name: common | flatten_dict(changes, sep=".") for name, changes in named}


def _without_others(head: dict[str, Any]) -> dict[str, Any]:
    """The fields of a head but those of the user's methods that it does not name."""
    groups = {field.split(".")[0] for field in fields()} - {n for n in METHODS if is_own(n)}
    kept = groups | {head.get("method")}
    return {k: v for k, v in head.items() if k.split(".")[0] in kept}
