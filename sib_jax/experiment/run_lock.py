"""One run at a time in a folder."""

import contextlib
from pathlib import Path

from sib_jax.errors import UserError
from sib_jax.runtime import devices, files
from sib_jax.runtime.console import log
from sib_jax.runtime.words import shown

FILE = ".lock"


class InUseError(UserError):
    """Another run is at work in the folder."""


class Lock:
    """Keeps a second run out of a folder; it ends with the process, however that ends."""

    def __init__(self, workdir: Path):
        """Locks nothing yet."""
        self._workdir = workdir
        self._held = contextlib.ExitStack()
        self._taken = False

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def take(self) -> bool:
        """Takes the lock once, by one process for the whole run.

        Returns:
          Whether it was taken now rather than before.

        Raises:
          InUseError: another run has it.
          FileError: the folder cannot be written to.
        """
        if self._taken:
            return False
        self._taken = True
        refusal: UserError | None = None
        if devices.is_main():
            try:
                self._lock()
            except UserError as error:
                refusal = error
        if devices.anywhere(refusal is not None):
            raise refusal or InUseError(f"{shown(self._workdir)} is refused: see process 0")
        return True

    def _lock(self) -> None:
        path = self._workdir / FILE
        with files.writing(path):
            is_ours, holder = self._held.enter_context(files.lock(path))
        if is_ours is None:
            log.warning(
                "%s is on a file system without locks: nothing keeps a second run out of it",
                shown(self._workdir),
            )
        elif not is_ours:
            raise InUseError(
                f"another run is at work in {shown(self._workdir)} ({holder}); wait for it, "
                "stop it, or choose another --workdir"
            )
