"""Traces of a few training steps: where their time goes."""

import contextlib
import copy
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jax
import numpy as np

from sib_jax.episodes import FeatureTable
from sib_jax.model import Params
from sib_jax.report.console import log
from sib_jax.training import devices
from sib_jax.training.meta_train import State, compile_epoch, make_optimizer

STEPS = 10  # few enough to be read
_WARM = 3  # steps of pretraining before them: compiling, and the first use of memory


class Window:
    """A trace of `STEPS` steps of a loop as it runs; a context manager around the loop."""

    def __init__(self, directory: Path | None):
        """Without a directory, and in all processes but the first, nothing is traced."""
        self._directory = directory if devices.is_main() else None
        self._steps = 0
        self._open = False

    def __enter__(self) -> Self:
        return self

    def before_step(self, state: Any) -> None:
        """To be called before each step, with what the last one gave."""
        if self._directory and self._steps in (_WARM, _WARM + STEPS):
            jax.block_until_ready(state)
            if self._steps == _WARM:
                jax.profiler.start_trace(self._directory)
                self._open = True
            else:
                self._close()
        self._steps += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._open:
            self._close()  # the loop was shorter

    def _close(self) -> None:
        jax.profiler.stop_trace()
        self._open = False
        log.info("trace of training steps: %s", self._directory)


def meta_training(config: Any, params: Params, train: FeatureTable, directory: Path) -> None:
    """Writes a `jax.profiler` trace of `STEPS` steps of meta-training, without their compilation.

    Its steps are those of `meta_train` on a state of their own, which is then dropped: training
    itself is the same with and without a trace.

    Args:
      config: the run's config; T is `config.inner.steps`.
      params: what meta-training starts from.
      train: features of the training classes.
      directory: gets plugins/profile/<time>/, for TensorBoard, xprof or Perfetto.
    """
    config = copy.deepcopy(config)
    config.optimizer.steps_per_epoch = STEPS
    optimizer = make_optimizer(config)
    run = compile_epoch(config, config.inner.steps, optimizer)
    mesh = devices.episode_mesh(config.optimizer.batch)
    # A copy: the state that goes in is donated.
    state = jax.tree.map(np.array, State(params, optimizer.init(params)))
    state, train = devices.to_all((state, train), mesh)
    key = jax.random.key(config.seed)
    state, _ = jax.block_until_ready(run(state, train, key, 0))
    tracing = jax.profiler.trace(directory) if devices.is_main() else contextlib.nullcontext()
    with tracing:
        jax.block_until_ready(run(state, train, key, STEPS))
    log.info("trace of training steps: %s", directory)
