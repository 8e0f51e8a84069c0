"""Traces of a few training steps: where their time goes."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jax

from sib_jax.runtime import devices
from sib_jax.runtime.console import log

STEPS = 10  # few enough to be read
_WARM = 3  # steps before them: compiling, and the first use of memory


class Window:
    """A `jax.profiler` trace of `STEPS` steps of a loop as it runs; a context manager around it."""

    def __init__(self, directory: Path | None):
        """Without a directory nothing is traced.

        Args:
          directory: gets plugins/profile/<time>/, for TensorBoard, xprof or Perfetto; written by
            the first process only.
        """
        self._directory = directory
        self._steps = 0  # that the loop took so far
        self._open = False

    def __enter__(self) -> Self:
        return self

    def before(self, state: Any) -> None:
        """To be called before each call of the loop's body, with what the last one gave."""
        if self._directory and self._steps in (_WARM, _WARM + STEPS):
            jax.block_until_ready(state)
            if self._steps == _WARM:
                self._start()
            else:
                self._stop()

    def limit(self, count: int) -> int:
        """How many of `count` steps to take, so that the trace begins and ends between calls."""
        if self._directory:
            for edge in (_WARM, _WARM + STEPS):
                if self._steps < edge:
                    count = min(count, edge - self._steps)
        self._steps += count
        return count

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._open:
            self._stop()  # the loop was shorter

    def _start(self) -> None:
        if self._directory and devices.is_main():
            jax.profiler.start_trace(self._directory)
            self._open = True

    def _stop(self) -> None:
        if self._open:
            jax.profiler.stop_trace()
            self._open = False
            log.info("trace of training steps: %s", self._directory)
