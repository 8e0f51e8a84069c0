"""The arrays in an .npz file, without pickles."""

import os
import zipfile
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np


def read(
    path: str | os.PathLike[str], wanted: Collection[str] | None = None
) -> dict[str, np.ndarray]:
    """All arrays of the file by name, or those of the wanted ones that it has.

    Raises:
      FileNotFoundError: there is no such file.
      Exception: it is damaged, not an .npz, or holds Python objects; there are many kinds of it.
    """
    # Opened here: numpy leaves a file open that is not a complete zip.
    with open(path, "rb") as raw:
        if not zipfile.is_zipfile(raw):  # which numpy would take for a pickle
            raise ValueError("it is not a complete zip file")
        raw.seek(0)
        with np.load(raw, allow_pickle=False) as file:
            names = [name for name in file.files if wanted is None or name in wanted]
            return {name: _array(file, name) for name in names}


def _array(file: Mapping[str, Any], name: str) -> np.ndarray:
    try:
        found = file[name]
    except (OSError, MemoryError):
        raise
    except Exception as error:
        raise ValueError(f"{name}: {error}") from error
    if not isinstance(found, np.ndarray):
        raise ValueError(f"{name} in it is not an array")
    return found
