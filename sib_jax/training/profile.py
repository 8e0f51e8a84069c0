"""A trace of meta-training: where the time of a step goes."""

import contextlib
import copy
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sib_jax.episodes import FeatureTable
from sib_jax.model import Params
from sib_jax.report.console import log
from sib_jax.training import devices
from sib_jax.training.meta_train import State, compile_epoch, make_optimizer

STEPS = 10  # few enough to be read


def trace(config: Any, params: Params, train: FeatureTable, directory: Path) -> None:
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
    log.info("trace of %d steps of meta-training: %s", STEPS, directory)
