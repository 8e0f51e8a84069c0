"""Checkpoints of a stage, with orbax: a job started again goes on from the last intact one.

Orbax finds no error in a file whose bytes have changed, and gives the wrong values. So the size
and checksum of every file are kept in the checkpoint, and compared before anything is read.
"""

import contextlib
import errno
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np
from orbax import checkpoint as ocp

from sib_jax.errors import UserError
from sib_jax.runtime import devices, files
from sib_jax.runtime.console import log
from sib_jax.runtime.words import one_line, shown

_KEPT = 2  # the one before is used where the last is damaged
_SUMS = "checksums.json"
_LATER = ("_CHECKPOINT_METADATA", "commit_success.txt")  # written last; no value depends on them
# What orbax and tensorstore say, whose errors have no number.
_NUMBERS = {
    "No space left": errno.ENOSPC,
    "RESOURCE_EXHAUSTED": errno.ENOSPC,
    "File too large": errno.EFBIG,
    "quota exceeded": errno.EDQUOT,
    "Input/output error": errno.EIO,
    "Permission denied": errno.EACCES,
    "Read-only file system": errno.EROFS,
}


class CheckpointError(UserError):
    """Checkpoints of something else; the message says what to delete."""


class Checkpoints:
    """The newest checkpoints of one stage, in a folder of its own. Close it, or use `with`."""

    def __init__(self, directory: Path):
        """Keeps the newest checkpoint below `directory`, and the one before.

        Raises:
          FileError: the folder cannot be written.
        """
        self._directory = directory.absolute()
        _ignore_late_callbacks()
        devices.once(_clean, self._directory)
        self._manager = ocp.CheckpointManager(
            self._directory,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=_KEPT,
                create=True,
                async_options=ocp.AsyncOptions(post_finalization_callback=self._seal),
            ),
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Where the loop failed, its own error is reported, not what that did to a checkpoint.
        with contextlib.suppress(files.FileError) if error else contextlib.nullcontext():
            try:
                with self._saving():
                    self._manager.wait_until_finished()
            finally:
                self._manager.close()

    def restore(self, like: Any) -> tuple[int, Any] | None:
        """The step and state saved last, or None.

        A damaged checkpoint is put aside, and the one before it is used; a log line says so.

        Args:
          like: a state of the same structure, shapes and types.

        Raises:
          CheckpointError: it has another structure, or other shapes.
        """
        like, damaged = devices.to_host(like), False
        while (step := self._manager.latest_step()) is not None:
            found, reason = self._read(step, like)
            if not devices.anywhere(bool(reason)):
                self._check_shapes(found, like)
                return step, found
            damaged = True
            devices.once(_put_aside, self._directory / str(step), reason or "another process's")
            self._manager.reload()
        if damaged:
            log.warning("no checkpoint in %s can be read: the stage starts over", self._directory)
        return None

    def save(self, step: int, state: Any) -> None:
        """Saves `state` (a pytree of arrays) as that of `step`, in the background.

        Raises:
          FileError: this one, or the one before it, cannot be written; older ones are still there.
        """
        state = devices.to_host(state)
        with self._saving():
            self._manager.save(step, args=ocp.args.Composite(state=ocp.args.StandardSave(state)))

    def _read(self, step: int, like: Any) -> tuple[Any, str]:
        """The state of a step, or why it cannot be read."""
        reason = _damage(self._directory / str(step))
        if devices.anywhere(bool(reason)):
            return None, reason
        try:
            restored = self._manager.restore(
                step, args=ocp.args.Composite(state=ocp.args.StandardRestore(like))
            )
            return restored["state"], ""
        except (OSError, RuntimeError) as error:
            return None, one_line(error)
        except (ValueError, LookupError, TypeError) as error:
            # Its files are as they were written, so its structure is another.
            raise self._of_others(one_line(error).rstrip(":")) from error

    def _check_shapes(self, found: Any, like: Any) -> None:
        """Orbax gives arrays as they were saved, whatever shape was asked for."""
        wanted = jax.tree.leaves(like)
        for (path, leaf), other in zip(
            jax.tree_util.tree_leaves_with_path(found), wanted, strict=True
        ):
            if np.shape(leaf) != np.shape(other):
                name = jax.tree_util.keystr(path, simple=True, separator="/")
                raise self._of_others(
                    f"{name} has shape {np.shape(leaf)}, but {np.shape(other)} is wanted"
                )

    def _of_others(self, reason: str) -> CheckpointError:
        return CheckpointError(
            f"{shown(self._directory)} holds checkpoints of other parameters: {reason}; "
            "delete that folder to train again"
        )

    def _seal(self) -> None:
        """Adds checksums to what orbax has written and is about to rename into place."""
        if not devices.is_main():
            return
        for folder in self._directory.iterdir():
            unsealed = folder.is_dir() and not (folder / _SUMS).exists()
            if unsealed and folder.name[0].isdecimal():
                files.write_text(folder / _SUMS, json.dumps(_sums(folder)))

    @contextlib.contextmanager
    def _saving(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # of a background thread, as orbax passes it on
            raise _as_file_error(self._directory, error) from error


def _clean(directory: Path) -> None:
    """Removes what a killed process had begun to write."""
    files.make_folder(directory)
    for entry in directory.iterdir():
        if ".orbax-checkpoint-tmp" in entry.name:
            files.put_aside(entry)
    files.sweep(directory)
    for folder in _steps(directory):
        files.sweep(folder)


def _steps(directory: Path) -> list[Path]:
    return [entry for entry in directory.iterdir() if entry.name.isdecimal() and entry.is_dir()]


def _sums(folder: Path) -> dict[str, list[int]]:
    """Size and CRC-32 of every file."""
    return {
        path.relative_to(folder).as_posix(): files.size_and_checksum(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (_SUMS, *_LATER)
    }


def _damage(folder: Path) -> str:
    """What differs from when the checkpoint was written; "" where nothing does."""
    try:
        wanted = json.loads((folder / _SUMS).read_text())
        reasons = (files.damage(folder / name, *sums) for name, sums in wanted.items())
        return next(filter(None, reasons), "")
    except OSError as error:
        return f"{Path(error.filename or _SUMS).name}: {error.strerror or error}"
    except (ValueError, TypeError, AttributeError):
        return f"{_SUMS} is damaged"


def _put_aside(folder: Path, reason: str) -> None:
    """Renames a damaged checkpoint to what is not a step; it keeps its bytes."""
    aside = folder.with_name(f"damaged-{folder.name}")
    with files.writing(folder):
        if os.path.lexists(aside):
            files.put_aside(aside)
        folder.rename(aside)
    log.warning(
        "the checkpoint of step %s is damaged (%s): it is skipped and was renamed to %s",
        *(folder.name, reason, shown(aside)),
    )


def _as_file_error(directory: Path, error: Exception) -> Exception:
    if isinstance(error, files.FileError):
        return error
    number = error.errno if isinstance(error, OSError) else None
    number = number or next((n for words, n in _NUMBERS.items() if words in str(error)), None)
    known = OSError(number, os.strerror(number)) if number else OSError(one_line(error))
    remedy = "free some space there" if number in files.FULL else "mend that"
    return files.file_error(
        directory, known, f"{remedy}, and the same command goes on from the previous checkpoint"
    )


def _ignore_late_callbacks() -> None:
    """Tensorstore calls back into asyncio after orbax has given up, which Python would print."""
    before = sys.unraisablehook

    def late_callbacks_ignored(unraisable: Any) -> None:
        if "Event loop is closed" not in str(unraisable.exc_value):
            before(unraisable)

    if getattr(before, "__name__", "") != late_callbacks_ignored.__name__:  # once
        sys.unraisablehook = late_callbacks_ignored
