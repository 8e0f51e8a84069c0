"""What comes with the package: experiments and trained backbones, in a clone and in a wheel alike.

A clone has them as `experiments/` and `weights/` beside the package; a wheel inside it, as
`_experiments` and `_weights` (see `setup.py`). Only the standard library is used: the command line
asks before anything is imported that takes long.
"""

import difflib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from sib_jax.errors import UserError

_PACKAGE = Path(__file__).resolve().parents[1]


def experiments() -> dict[str, Path]:
    """Name of each experiment, such as "5w1s" -> its file."""
    return {path.stem: path for path in _files("experiments", "*.py") if path.stem != "__init__"}


def weights() -> dict[str, Path]:
    """Name of each trained backbone, such as "mini_imagenet-conv4_64" -> its file."""
    return {path.stem: path for path in _files("weights", "*.npz")}


def heads() -> dict[str, Path]:
    """Name of each trained backbone that has a meta-trained head of its own -> the head's file."""
    return {path.stem: path for path in _files("weights", "heads/*.npz")}


def with_config_file(argv: Sequence[str]) -> list[str]:
    """A command line whose --config names a file, where it gave the name of an experiment.

    Args:
      argv: "--config=5w1s:glyphs", or "--config" and the rest as the next word. A path that leads
        nowhere is looked up by its last part, so that experiments/5w1s.py works everywhere.

    Raises:
      UserError: there is neither such a file nor such an experiment.
    """
    words = list(argv)
    for i, before, given in _values("config", argv):
        words[i] = before + _config_file(given)
    return words


def values_of(flag: str, argv: Sequence[str]) -> list[str]:
    """What a command line gives as --flag, each time in one word or two."""
    return [given for *_, given in _values(flag, argv)]


def _values(flag: str, argv: Sequence[str]) -> Iterator[tuple[int, str, str]]:
    """Where a flag is given: the word, what comes before the value in it, and the value."""
    for i, word in enumerate(argv):
        if match := re.fullmatch(rf"(--?{flag}=)(.*)", word, re.DOTALL):
            yield i, match[1], match[2]
        elif word in (f"-{flag}", f"--{flag}") and i + 1 < len(argv):
            yield i + 1, "", argv[i + 1]


def parted(given: str) -> tuple[str, str]:
    """The file and the rest of FILE:ARGUMENT, the colon in the rest; that of C:\\ ends no file."""
    ends = [match.start() for match in re.finditer(":", given)]
    drive = 1 if re.match(r"[A-Za-z]:[\\/]", given) else 0
    for end in [*ends, len(given)]:
        if Path(given[:end]).is_file():
            break
    else:
        end = [*ends[drive:], len(given)][0]
    return given[:end], given[end:]


def _config_file(given: str) -> str:
    name, argument = parted(given)
    if Path(name).is_file():
        return f"{_without_colon(Path(name))}{argument}"
    known = experiments()
    stem = Path(name).name.removesuffix(".py")
    if stem not in known:
        near = difflib.get_close_matches(stem.lower(), known, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        there = ", ".join(known)
        raise UserError(
            f"--config={name} is neither a file nor an experiment{hint}; there are {there}"
        )
    return f"{_without_colon(known[stem])}{argument}"


def _without_colon(path: Path) -> str:
    """Another name of a file: ml_collections takes all after the first colon for an argument."""
    if ":" not in str(path):
        return str(path)
    try:
        near = os.path.relpath(path)
    except ValueError:  # another drive of Windows
        near = str(path)
    if ":" in near:
        raise UserError(
            f"--config={path} cannot be read from here, as a colon ends the name of a config file: "
            "start the command in the folder it is in, or on its drive"
        )
    return near


def _files(name: str, pattern: str) -> list[Path]:
    inside, beside = _PACKAGE / f"_{name}", _PACKAGE.parent / name
    return sorted((inside if inside.is_dir() else beside).glob(pattern))
