"""Writes metrics.jsonl, one object per logged step; and the same for TensorBoard if asked for."""

import importlib.util
import json
from pathlib import Path
from typing import Any

from sib_jax.errors import UserError
from sib_jax.runtime import files
from sib_jax.runtime.console import log

FILE = "metrics.jsonl"


class TensorBoardError(UserError):
    """TensorBoard files are asked for, but the package that writes them is not installed."""


def check_tensorboard() -> None:
    """Raises `TensorBoardError` where its files cannot be written."""
    try:
        found = importlib.util.find_spec("tensorboardX") is not None
    except ValueError:  # what is loaded under this name is not a module
        found = False
    if not found:
        raise TensorBoardError(
            "config.tensorboard needs tensorboardX: pip install tensorboardX, or leave "
            "config.tensorboard at False"
        )


class Metrics:
    """Appends what training logs to <workdir>/metrics.jsonl."""

    def __init__(self, workdir: Path, *, tensorboard: bool = False, silent: bool = False):
        """Opens the file in `workdir`.

        Args:
          workdir: an existing folder.
          tensorboard: also write event files below it.
          silent: write nothing at all, as another process of the run does it.
        """
        self._path = workdir / FILE
        self._silent = silent
        self._board: Any = None
        if tensorboard and not silent:
            from tensorboardX import SummaryWriter

            self._board = SummaryWriter(str(workdir / "tensorboard"))

    def rewind(self, stage: str, step: int) -> None:
        """Drops what `stage` logged after `step`: a resumed run will log it again."""
        if self._silent or not self._path.exists():
            return
        try:
            content = self._path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            remedy = "delete it: no result depends on it"
            raise files.FileError(files.unreadable(self._path, error, remedy)) from error
        lines = content.split("\n")
        # The last line is empty if the file is whole; otherwise a kill cut it short.
        entries = [(line, entry(line)) for line in lines[:-1] if line]
        damaged = sum(e is None for _, e in entries)
        if damaged:
            log.warning(
                "%s: damaged lines are dropped (%d); no result depends on them", self._path, damaged
            )
        kept = [
            f"{line}\n"
            for line, e in entries
            if e and not (e["stage"] == stage and e["step"] > step)
        ]
        if "".join(kept) != content:
            files.write_text(self._path, "".join(kept))

    def write(self, stage: str, step: int, **values: float) -> None:
        """Appends {"stage", "step", **values}."""
        if self._silent:
            return
        with files.writing(self._path), self._path.open("a") as file:
            file.write(json.dumps({"stage": stage, "step": step, **values}) + "\n")
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"{stage}/{name}", value, step)
            self._board.flush()


def entry(line: str) -> dict[str, Any] | None:
    """What a line says, {"stage", "step", ...}; None where it is damaged."""
    try:
        found = json.loads(line)
        return {**found, "stage": str(found["stage"]), "step": float(found["step"])}
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
