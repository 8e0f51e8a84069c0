"""Rows of a long computation, kept until its result is written: interrupted, it goes on."""

import secrets
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from sib_jax.runtime import files

SECONDS = 20.0  # of work in a file

_FILES = "[0-9]" * 6 + "-*.npz"


class KeptRows:
    """A folder of files with rows and their names, for its owner to remove at the end.

    A file is written as a whole, and has checksums (.npz is a zip file). Rows of a damaged one are
    not read, and so are computed again.
    """

    def __init__(self, folder: Path, made_of: str):
        """Keeps rows in `folder`.

        Args:
          folder: made with the first file.
          made_of: digest of what all rows depend on; rows of something else are not read.
        """
        self.folder, self._made_of = folder, made_of
        self._waiting: list[tuple[Sequence[str], np.ndarray]] = []
        self._last = time.monotonic()

    def read(self) -> dict[str, np.ndarray]:
        """The rows there are, by name, in the order in which they were added."""
        known: dict[str, np.ndarray] = {}
        for path in sorted(self.folder.glob(_FILES)):
            try:
                with path.open("rb") as file, np.load(file) as part:
                    if str(part["made_of"]) == self._made_of:
                        known |= zip(part["names"].tolist(), part["rows"], strict=True)
            except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
                continue  # damaged
        return known

    def add(self, names: Sequence[str], rows: np.ndarray) -> None:
        """Adds n names and rows [n, ...]; they are written once they have taken `SECONDS`.

        Raises:
          FileError: they cannot be written.
        """
        self._waiting.append((names, rows))
        if time.monotonic() - self._last >= SECONDS:
            self._write()
            self._last = time.monotonic()

    def _write(self) -> None:
        names = [name for part, _ in self._waiting for name in part]
        rows = np.concatenate([part for _, part in self._waiting])

        def write(file: BinaryIO) -> None:
            np.savez(file, made_of=np.array(self._made_of), names=np.array(names), rows=rows)

        number = 1 + max((int(p.name[:6]) for p in self.folder.glob(_FILES)), default=0)
        # Another process may be at the same work, so a number does not do as a name.
        path = self.folder / f"{number:06d}-{secrets.token_hex(4)}.npz"
        try:
            files.write_atomically(path, write)
        except files.DiskFullError:
            raise
        except files.FileError:  # the other one may have ended and removed the folder meanwhile
            files.write_atomically(path, write)
        self._waiting.clear()
