"""Trains few-shot learners, or resumes a run, and prints a table of their accuracies.

python -m sib_jax.main --config=5w1s                        embedded data, minutes
python -m sib_jax.main --config=5w1s:folder --data_dir=DIR  your images, one folder a class
python -m sib_jax.predict --help                            sort images by what was trained
"""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from absl import app, flags
from ml_collections import config_flags

from sib_jax.command import IMPORT, fail, import_files, mistakes_told, path
from sib_jax.runtime import interrupt, shipped
from sib_jax.runtime.where import where

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Experiment, a file or the name of one, with an optional data set: 5w1s:glyphs"
)
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Where results go. Default: runs/<experiment>-<its argument>-seed<seed>-<fields that were set>",
)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Where your data are (not needed for glyphs)")
flags.DEFINE_multi_string("import", None, IMPORT)
_MODE = flags.DEFINE_enum(
    "mode", "all", ["all", "pretrain", "train", "evaluate"], "All stages, or one of them"
)
_HEADS = flags.DEFINE_list(
    "heads",
    None,
    "Only these heads of the config, such as 'T0,snail_*': names separated by commas, * for any "
    "characters. What the workdir holds of other heads stays, also in its tables",
)
_PROFILE = flags.DEFINE_string(
    "profile",
    None,
    "Folder for jax.profiler traces: 10 steps of each training stage of this run, after "
    "compilation. Results stay the same",
)
_REPORT = flags.DEFINE_bool(
    "report", True, "Write report.html, with pictures, to the workdir; --noreport for none"
)
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed",
    False,
    "This process is one of several that run the job together, in a --workdir that all of them "
    "can see: one for each host of a TPU slice, or for each GPU. Start them all alike",
)
_ADDRESS = flags.DEFINE_string(
    "coordinator_address",
    None,
    "With --distributed, HOST:PORT of the first process. This and the next two are detected "
    "automatically on a TPU slice and under Slurm, Open MPI or Kubernetes",
)
_COUNT = flags.DEFINE_integer("process_count", None, "With --distributed, the number of processes")
_INDEX = flags.DEFINE_integer(
    "process_id", None, "With --distributed, the number of this process, from 0"
)


def main(argv: Sequence[str]) -> None:
    """Runs the job that the flags ask for; a user's mistake ends it with one line."""
    _check_flags(argv)
    # Imported here, so that a wrong flag is reported at once.
    from sib_jax.config import check, named
    from sib_jax.experiment import job, settings
    from sib_jax.runtime import console, devices, programs

    console.start()
    config = _CONFIG.value
    with mistakes_told():
        programs.keep()
        check(config)
        only = None if _HEADS.value is None else named(config, _HEADS.value)
        if _DATA_DIR.value is not None:
            config.data_dir = _DATA_DIR.value
        given = config_flags.get_override_values(flags.FLAGS["config"])
        folder = Path(path(_WORKDIR.value)) if _WORKDIR.value else _default_place(config, given)
        interrupt.goes_on_from(f"what is in {folder}", together=_DISTRIBUTED.value)
        trace = Path(path(_PROFILE.value)) if _PROFILE.value else None
        if _DISTRIBUTED.value:
            devices.join(_ADDRESS.value, _COUNT.value, _INDEX.value)
            if not devices.is_main():
                console.only_warnings()  # the main process logs the rest
        settings.take_backbone(config, folder, given)
        job.run(config, folder, _MODE.value, trace, _REPORT.value, only=only)
        if trace and devices.is_main() and not trace.exists():
            console.log.warning(
                "all training was done before, so there is no trace: use a new --workdir to get one"
            )


def _default_place(config: Any, given: Mapping[str, Any]) -> Path:
    from sib_jax.experiment import run_files

    file, _, argument = config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")
    return run_files.default_place(Path(file).stem, config, given, argument)


def _check_flags(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        fail(f"unexpected arguments {argv[1:]}; every option starts with --")
    if _CONFIG.value is None:
        if flags.FLAGS["config"].present:
            fail("get_config() in the file of --config returned nothing: it must return the config")
        fail(
            "which experiment? Give one, for example: --config=experiments/5w1s.py. There are "
            f"{', '.join(shipped.experiments())}"
        )
    if _PROFILE.value and _MODE.value == "evaluate":
        fail("--profile traces training, but --mode=evaluate does not train")
    if _ADDRESS.value and not re.fullmatch(r".+:\d{1,5}", _ADDRESS.value):
        fail(
            f"--coordinator_address must be HOST:PORT, such as 10.0.0.1:1234, got {_ADDRESS.value}"
        )
    cluster = (_ADDRESS.value, _COUNT.value, _INDEX.value)
    if cluster != (None, None, None) and not _DISTRIBUTED.value:
        fail("--coordinator_address, --process_count and --process_id need --distributed")


def parse(argv: Sequence[str]) -> list[str]:
    """Reads the flags; a mistake in them ends the command with one line, not a traceback."""
    from sib_jax.errors import UserError

    if os.path.isfile(file := _config_file(argv)):
        # What a config file imports may be beside it, wherever the command is started.
        sys.path.append(os.path.dirname(os.path.abspath(file)))
    with mistakes_told():  # first: a config may name what is registered
        import_files(shipped.values_of("import", argv))
    if "--help" in argv or "-help" in argv or "-h" in argv:
        _help()
    try:
        rest = flags.FLAGS(shipped.with_config_file(argv))
        if _CONFIG.value is not None:
            _CONFIG.value.lock()  # a file that cannot be read fails here
        return rest
    except Exception as error:  # a config file is a program, and may fail in any way
        # ml_collections puts a traceback in the message of what get_config raised.
        while isinstance(error.__context__, UserError):
            error = error.__context__
        fail(_mistake(argv, error))


def _help() -> NoReturn:
    from sib_jax import help

    print(help.text(__doc__ or "", __name__), end="")
    sys.exit(0)


def _config_file(argv: Sequence[str]) -> str:
    return shipped.parted(["", *shipped.values_of("config", argv)][-1])[0]


def _mistake(argv: Sequence[str], error: Exception) -> str:
    """In one line, what is wrong with the flags or with the file of the config."""
    from sib_jax import config
    from sib_jax.errors import UserError
    from sib_jax.runtime.words import one_line, shown

    given = [a for a in argv if a.startswith("--config.")]
    typed = re.match(r"flag --config\.([\w.]+)=(.*?): ", str(error), re.DOTALL)
    if typed and typed[1] in config.fields():
        return config.describe(typed[1], typed[2], config.fields()[typed[1]].kind.wanted)
    file = _config_file(argv) or "--config"
    if isinstance(error, UserError):
        return shown(str(error))
    while "whilst parsing config file" in str(error) and isinstance(error.__context__, Exception):
        error = error.__context__  # what get_config raised
    lacks_config = "no attribute 'get_config'" in str(error)
    if not lacks_config and given and isinstance(error, AttributeError | KeyError):
        hint = re.search(r'Did you mean "\w+" instead of "\w+"\?', str(error))
        known = config.fields()
        of = [a for a in given if a.split("=")[0].removeprefix("--config.") not in known] or given
        said = f"unknown field in {' '.join(of)}; --help lists all fields."
        return f"{said} {hint[0]}" if hint else said
    if isinstance(error, flags.Error):
        return one_line(error)
    of_the_file = isinstance(error, OSError) and error.filename is not None
    if of_the_file or not (Path(file).is_file() or Path(file).stem in shipped.experiments()):
        reason = "it is a folder" if Path(file).is_dir() else "there is no such file"
        reason = getattr(error, "strerror", None) or reason
        return f"{file} cannot be read: {reason}; for example: --config=experiments/5w1s.py"
    kind = type(error).__name__
    if isinstance(error, SyntaxError):
        return f"{file} is not Python ({kind}: {error.msg}, {error.filename}, line {error.lineno})"
    said, place = one_line(error), where(error)
    if kept := re.search(r"of an earlier failure to load: (.*)", said):  # ml_collections' words
        said, place = kept[1], place or " "
    if lacks_config:
        return f"{file} is not a config file, which must define get_config()"
    if place:
        return f"{file} fails: {kind}: {said}{place}".rstrip()
    return f"{file} is not a config file, which must define get_config() ({kind}: {said})"


if __name__ == "__main__":
    interrupt.watch()
    app.run(main, flags_parser=parse)
