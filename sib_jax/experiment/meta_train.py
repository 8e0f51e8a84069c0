"""Meta-training: a method of any kind learns from episodes (section 3)."""

import functools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax

from sib_jax.experiment import loop
from sib_jax.experiment.evaluate import evaluate
from sib_jax.experiment.settings import Head, Lesson, Optimizer
from sib_jax.methods.method import Method
from sib_jax.report.metrics import Metrics
from sib_jax.runtime import devices
from sib_jax.runtime.seeds import Stream, key
from sib_jax.tasks.setting import Sources
from sib_jax.tasks.table import FeatureTable

_CHUNK = 100  # steps between two looks at the stop flag, at most
_KEPT = 64  # compiled loops that a process keeps for further runs with the same settings


def meta_train(
    head: Head,
    params: Any,
    train: FeatureTable,
    val: Sources,
    directory: Path,
    metrics: Metrics,
    trace_to: Path | None = None,
    program: Sequence[str] = (),
) -> Any:
    """Meta-trains a head and returns the parameters of the best epoch on validation.

    The loss of a step is the mean over its episodes. Every episode is a function of (seed, step,
    its place in the batch).

    Args:
      head: the method, its setting and schedule.
      params: what to start from.
      train: what training episodes are drawn from.
      val: what validation episodes are drawn from.
      directory: for checkpoints; training goes on from the last one there.
      metrics: where each epoch is logged.
      trace_to: gets a trace of a few steps.
      program: see `head_file.program`.
    """
    settings, method = head.training, head.method
    optimizer = make_optimizer(settings.optimizer, method)
    run = compile_steps(head.learns_from, optimizer, settings.batch)
    mesh = devices.episode_mesh(settings.batch)
    train = devices.shared(train, mesh)
    stream = key(settings.seed, Stream.META_TRAINING)
    validation = key(settings.seed, Stream.META_VALIDATION)

    def validate(params: Any) -> dict[str, float]:
        found = evaluate(
            method,
            params,
            head.chosen_on,
            val,
            tasks=settings.val_tasks,
            key=validation,
            batch=settings.val_batch,
        )
        return {name: interval.mean for name, interval in found.items()}

    stage = loop.Stage(
        name=head.name,
        epochs=settings.epochs,
        steps_per_epoch=settings.steps_per_epoch,
        items=settings.batch,
        unit="episodes",
        chunk=_CHUNK,
        mesh=mesh,
        advance=lambda state, first, count: run(state, train, stream, first, count),
        validate=validate,
        if_diverged="config.optimizer.lr or, for SIB, config.inner.step_size",
        program=program,
    )
    start = start_state(head.learns_from[0], optimizer, params, train)
    return loop.train(stage, start, directory, metrics, trace_to)


@functools.lru_cache(maxsize=_KEPT)
def make_optimizer(settings: Optimizer, method: Method) -> optax.GradientTransformation:
    """Adam or SGD-Nesterov with the learning rate dropped at given steps (section 3).

    Parameters that the method keeps frozen get no update, weight decay included.
    """
    drops = Counter(settings.drop_steps)  # a step that is named twice drops twice
    schedule = optax.piecewise_constant_schedule(
        settings.lr, {step: settings.drop_factor**times for step, times in drops.items()}
    )
    if settings.name == "adam":
        step = optax.adam(schedule)
    else:
        step = optax.sgd(schedule, settings.momentum, nesterov=True)
    if settings.weight_decay:
        step = optax.chain(optax.add_decayed_weights(settings.weight_decay), step)
    if method.frozen is None:
        return step
    return optax.chain(step, optax.masked(optax.set_to_zero(), method.frozen))


def start_state(
    lesson: Lesson,
    optimizer: optax.GradientTransformation,
    params: Any,
    table: FeatureTable,
) -> loop.State:
    """The state before the first step; its sums have the names that the method's loss gives."""
    _, logged = jax.eval_shape(_loss_of(lesson), params, table, jax.random.key(0))
    return loop.State(params, optimizer.init(params), {name: jnp.zeros(()) for name in logged})


@functools.lru_cache(maxsize=_KEPT)
def compile_steps(
    lessons: tuple[Lesson, ...],
    optimizer: optax.GradientTransformation,
    batch: int,
) -> Any:
    """Training steps as one compiled loop; nothing is read back.

    Args:
      lessons: what the steps learn from in turn; their methods differ only in the number of ways.
      optimizer: what turns gradients into updates.
      batch: episodes of a step.

    Returns:
      run(state, table, key, number of the first step, how many) -> state. The state that goes in is
      donated. The result does not depend on how the steps are divided into calls. Equal arguments
      give the same function, compiled once.
    """
    mesh = devices.episode_mesh(batch)

    def batch_loss(
        lesson: Lesson, params: Any, table: FeatureTable, key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        places = jnp.arange(batch)
        places = jax.lax.with_sharding_constraint(places, devices.over_episodes(mesh))
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, places)
        losses, logged = jax.vmap(_loss_of(lesson), (None, None, 0))(params, table, keys)
        return jnp.mean(losses), jax.tree.map(jnp.sum, logged)

    gradients = [
        jax.grad(functools.partial(batch_loss, lesson), has_aux=True) for lesson in lessons
    ]

    # Outputs are placed as the inputs were, so that the next call is not compiled again.
    @functools.partial(jax.jit, donate_argnums=0, out_shardings=devices.replicated(mesh))
    def run(
        state: loop.State, table: FeatureTable, key: jax.Array, first: jax.Array, count: jax.Array
    ) -> loop.State:
        def step(number: jax.Array, state: loop.State) -> loop.State:
            turn, of_step = number % len(lessons), jax.random.fold_in(key, number)
            gradient, logged = jax.lax.switch(turn, gradients, state.model, table, of_step)
            updates, optimizer_state = optimizer.update(gradient, state.optimizer, state.model)
            return loop.State(
                optax.apply_updates(state.model, updates),
                optimizer_state,
                jax.tree.map(jnp.add, state.sums, logged),
            )

        return jax.lax.fori_loop(first, first + count, step, state)

    return run


@functools.lru_cache(maxsize=_KEPT)
def _loss_of(lesson: Lesson) -> Any:
    """`_episode_loss` of a lesson; always the same function, to trace once."""
    return functools.partial(_episode_loss, lesson)


def _episode_loss(
    lesson: Lesson, params: Any, table: FeatureTable, key: jax.Array
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss of one episode, and what is logged of it."""
    method = lesson.method
    if method.loss is None:
        raise ValueError(f"{method.name} is not trained")
    draw_key, loss_key = jax.random.split(key)
    episode = lesson.setting.sample_training(draw_key, table)
    loss, logged = method.loss(params, episode, loss_key)
    return loss, {"loss": loss, **logged}
