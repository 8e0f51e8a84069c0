"""metrics.jsonl: one object a logged step; and the same for TensorBoard, where asked for."""

import json
from pathlib import Path
from typing import Any

from sib_jax.runtime import files

FILE = "metrics.jsonl"


class Metrics:
    """Appends what training logs to <workdir>/metrics.jsonl."""

    def __init__(self, workdir: Path, *, tensorboard: bool = False, silent: bool = False):
        """Opens the file in `workdir`.

        Args:
          workdir: an existing folder.
          tensorboard: also write event files below it.
          silent: write nothing at all: another process of the run does.
        """
        self._path = workdir / FILE
        self._silent = silent
        self._board: Any = None
        if tensorboard and not silent:
            try:
                from tensorboardX import SummaryWriter
            except ImportError as error:
                raise ImportError(
                    "config.tensorboard needs tensorboardX: pip install 'sib_jax[tensorboard]'"
                ) from error
            self._board = SummaryWriter(str(workdir / "tensorboard"))

    def rewind(self, stage: str, step: int) -> None:
        """Drops what `stage` logged after `step`: a resumed run will log it again."""
        if self._silent or not self._path.exists():
            return
        lines = self._path.read_text().splitlines(keepends=True)
        kept = [line for line in lines if not _after(line, stage, step)]
        if len(kept) < len(lines):
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


def _after(line: str, stage: str, step: int) -> bool:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError:
        return True  # cut short by a kill
    return entry["stage"] == stage and entry["step"] > step
