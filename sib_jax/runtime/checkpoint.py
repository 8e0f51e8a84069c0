"""Checkpoints of a stage, with orbax: a job started again goes on from the last one."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax import checkpoint as ocp


class Checkpoints:
    """The newest checkpoint of one stage, in a folder of its own. Close it, or use `with`."""

    def __init__(self, directory: Path):
        """Keeps the newest checkpoint below `directory`."""
        self._manager = ocp.CheckpointManager(
            directory.absolute(),
            options=ocp.CheckpointManagerOptions(max_to_keep=1, create=True),
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.wait_until_finished()
        self._manager.close()

    def restore(self, like: Any) -> tuple[int, Any] | None:
        """The step and state saved last, or None.

        Args:
          like: a state of the same structure, shapes and types.
        """
        step = self._manager.latest_step()
        if step is None:
            return None
        restored = self._manager.restore(
            step, args=ocp.args.Composite(state=ocp.args.StandardRestore(_to_host(like)))
        )
        return step, restored["state"]

    def save(self, step: int, state: Any) -> None:
        """Saves `state` (a pytree of arrays) as that of `step`, in the background."""
        state = _to_host(state)
        self._manager.save(step, args=ocp.args.Composite(state=ocp.args.StandardSave(state)))


def _to_host(state: Any) -> Any:
    # A copy: the next training step is given the buffers of the state, while this is being written.
    return jax.tree.map(np.array, state)
