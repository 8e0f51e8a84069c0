"""The one training loop: epochs, the best of them, checkpoints, interrupts, progress, metrics."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from sib_jax.errors import UserError
from sib_jax.report.metrics import Metrics
from sib_jax.runtime import devices, files, interrupt, trace
from sib_jax.runtime.checkpoint import Checkpoints
from sib_jax.runtime.console import log, progress

_SECONDS_BETWEEN_CHECKPOINTS = 120.0
_SECONDS_OF_A_CALL = 0.5  # after a call that takes longer, the next takes half the steps


class DivergedError(UserError):
    """A loss is not finite; the message names the step and what to lower."""


class State(NamedTuple):
    """What a training step changes.

    Attributes:
      model: what is trained, and what goes with it (such as running statistics).
      optimizer: optax's state.
      sums: of what is logged, over the items of this epoch so far: {name: scalar}, including
        "loss" and "accuracy" (0 to 1).
    """

    model: Any
    optimizer: Any
    sums: dict[str, jax.Array]


class Best(NamedTuple):
    """The best epoch so far: its model, and its validation accuracy in percent."""

    model: Any
    accuracy: np.ndarray


class Stage(NamedTuple):
    """One training.

    Attributes:
      name: in log lines and metrics.
      epochs: number of epochs.
      steps_per_epoch: steps of each.
      items: images or episodes of a step.
      unit: what `items` counts, in words.
      chunk: steps that one call of `advance` may take at most: the loop can stop only between
        calls, so a call of slow steps takes fewer.
      mesh: the devices that hold the state.
      advance: (state, first step, number of steps) -> state; the state that goes in is donated.
      validate: model -> accuracies of validation tasks in percent, {name: value}; the last one
        chooses the best epoch.
      if_diverged: what to lower, for a message.
      program: what changes where a user's own code does; empty where there is none.
    """

    name: str
    epochs: int
    steps_per_epoch: int
    items: int
    unit: str
    chunk: int
    mesh: Mesh
    advance: Callable[[State, int, int], State]
    validate: Callable[[Any], dict[str, float]]
    if_diverged: str
    program: Sequence[str] = ()


def train(
    stage: Stage,
    state: State,
    directory: Path,
    metrics: Metrics,
    trace_to: Path | None = None,
) -> Any:
    """Trains, and returns the model of the best epoch on validation, on the host.

    Goes on from the last checkpoint in `directory`. Every step is a function of the state and its
    number, so the result is the same however often the training was stopped.

    Args:
      stage: what to do.
      state: what to start from.
      directory: for checkpoints.
      metrics: where each epoch is logged.
      trace_to: gets a trace of a few steps, see `runtime.trace`.

    Raises:
      DivergedError: a loss is not finite.
      Interrupted: the run was asked to stop; a checkpoint is saved.
    """
    total = stage.epochs * stage.steps_per_epoch
    # On the host: scalars of weak type would make a step compile again.
    state = devices.to_host(state)
    best = Best(state.model, np.full((), -1.0))
    zeros = jax.tree.map(np.zeros_like, state.sums)
    with Checkpoints(directory) as checkpoints:
        done, (state, best) = checkpoints.restore((state, best)) or (0, (state, best))
        if done:
            log.info("%s: going on from step %d of %d", stage.name, done, total)
        _tell_of_other_code(stage, directory, done)
        metrics.rewind(stage.name, done)
        state = devices.to_all(state, stage.mesh)
        saved, chunk = time.monotonic(), 1
        with (
            progress(stage.name, total * stage.items, stage.unit, done * stage.items) as advanced,
            trace.Window(trace_to) as window,
        ):
            while done < total:
                window.before(state)
                left = stage.steps_per_epoch - done % stage.steps_per_epoch
                count = window.limit(min(chunk, left))
                begun = time.monotonic()
                state = stage.advance(state, done, count)
                if stage.chunk > 1:  # else calls may queue up: each is short
                    jax.block_until_ready(state.sums)
                slow = time.monotonic() - begun > _SECONDS_OF_A_CALL
                done += count
                ended = count == left
                if ended:
                    best = _end_epoch(stage, state, best, metrics, done)
                    state = state._replace(sums=devices.to_all(zeros, stage.mesh))
                advanced(count * stage.items)
                late = time.monotonic() - saved > _SECONDS_BETWEEN_CHECKPOINTS
                # All processes save, and stop, at the same step, and take as many in a call.
                asked, late, slow = devices.anywhere([interrupt.requested(), late, slow])
                chunk = max(1, chunk // 2) if slow else min(stage.chunk, 2 * chunk)
                stop = asked and done < total
                if ended or stop or late:
                    checkpoints.save(done, (state, best))
                    saved = time.monotonic()
                if stop:
                    raise interrupt.Interrupted
    return best.model


def _tell_of_other_code(stage: Stage, directory: Path, done: int) -> None:
    """Says so where a user's own code has changed since the checkpoint; notes what it is now."""
    if not stage.program:
        return
    # Beside the folder, which is orbax's.
    path, now = directory.with_name(f"{directory.name}.program.txt"), "\n".join(stage.program)
    if done and path.exists() and path.read_text() != now:
        log.warning(
            "%s: the first %d steps were trained with other code, or another version of jax; to "
            "train it all with the code of now, use another --workdir",
            stage.name,
            done,
        )
    devices.once(files.write_text, path, now)


def _end_epoch(stage: Stage, state: State, best: Best, metrics: Metrics, done: int) -> Best:
    """Logs an epoch, and returns the better of it and `best`."""
    items = stage.steps_per_epoch * stage.items
    means = {name: float(total) / items for name, total in state.sums.items()}
    if not np.isfinite(means["loss"]):
        raise DivergedError(
            f"{stage.name}: the loss is not finite before step {done}; lower {stage.if_diverged}"
        )
    means["accuracy"] *= 100
    found = stage.validate(state.model)
    metrics.write(stage.name, done, **means, **{f"val_{k}": v for k, v in found.items()})
    accuracy = list(found.values())[-1]
    if not np.isfinite(accuracy):
        raise DivergedError(
            f"{stage.name}: the validation accuracy is not finite before step {done}; lower "
            f"{stage.if_diverged}"
        )
    better = accuracy > float(best.accuracy)
    log.info(
        "%s: epoch %d of %d, loss %.3f, training accuracy %.1f %%, validation %.1f %%%s",
        *(stage.name, done // stage.steps_per_epoch, stage.epochs),
        *(means["loss"], means["accuracy"], accuracy, " (best)" if better else ""),
    )
    return Best(devices.to_host(state.model), np.asarray(accuracy)) if better else best
