"""What comes with the package: experiments and trained backbones, in a clone and in a wheel alike.

A clone has them as `experiments/` and `weights/` beside the package; a wheel inside it, as
`_experiments` and `_weights` (see `setup.py`). Only the standard library is used: the command line
asks before anything is imported that takes long.
"""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def experiments() -> dict[str, Path]:
    """Name of each experiment, such as "5w1s" -> its file."""
    return {path.stem: path for path in _files("experiments", "*.py") if path.stem != "__init__"}


def weights() -> dict[str, Path]:
    """Name of each trained backbone, such as "mini_imagenet-conv4_64" -> its file."""
    return {path.stem: path for path in _files("weights", "*.npz")}


def _files(name: str, pattern: str) -> list[Path]:
    inside, beside = _PACKAGE / f"_{name}", _PACKAGE.parent / name
    return sorted((inside if inside.is_dir() else beside).glob(pattern))
