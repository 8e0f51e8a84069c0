"""Meta-training: lambda, xi and psi learn from episodes of frozen features (section 3)."""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sib_jax import classifier, episodes, lwof, model
from sib_jax.elbo import negative_elbo
from sib_jax.episodes import FeatureTable
from sib_jax.init_net import class_means
from sib_jax.model import Params
from sib_jax.report.console import log, progress
from sib_jax.report.metrics import Metrics
from sib_jax.training import devices, interrupt
from sib_jax.training.checkpoint import Checkpoints
from sib_jax.training.diverged import DivergedError
from sib_jax.training.evaluate import Inner, Tables, Task, evaluate


class State(NamedTuple):
    """What a training step changes: meta-learned parameters and optax's state."""

    params: Params
    optimizer: Any


class Best(NamedTuple):
    """Parameters of the best epoch so far, and their validation accuracy in percent."""

    params: Params
    accuracy: np.ndarray


class Sums(NamedTuple):
    """Sums over the episodes of an epoch, the first three in nats a query; each scalar."""

    loss: jax.Array
    log_likelihood: jax.Array
    kl: jax.Array
    accuracy: jax.Array


def task_of(config: Any) -> Task:
    """The episodes that a config asks for."""
    return Task(config.ways, config.shots, config.queries, config.setting, config.base_summary)


def inner_of(config: Any, steps: int) -> Inner:
    """The inner loop that a config asks for, with T = `steps`."""
    return Inner(
        steps=steps,
        step_size=config.inner.step_size,
        samples=config.inner.samples,
        beta=config.elbo.beta,
        checkpoint=config.inner.checkpoint,
    )


def init_params(config: Any, train: FeatureTable, base_weights: jax.Array | None = None) -> Params:
    """The parameters that meta-training starts from.

    A mixture prior starts at the weights of the base classes.

    Args:
      config: the run's config.
      train: features of the training classes.
      base_weights: [classes, d], of the classifier that the backbone was trained under; without
        them the class means of the normalised training features take their place.
    """
    images, features = train.features.shape
    classes = len(train.counts)
    if config.prior != "mixture":
        base_weights = None
    elif base_weights is None:
        labels = jnp.repeat(jnp.arange(classes), train.counts, total_repeat_length=images)
        base_weights = class_means(classifier.normalize(train.features), labels, classes)
    else:
        # Of unit length, like the features that theta^0 is a mean of.
        base_weights = classifier.normalize(base_weights)
    init = functools.partial(
        model.init,
        ways=config.ways,
        features=features,
        posterior=config.posterior,
        prior=None if config.prior == "none" else config.prior,
        init_net=config.init_net,
        classifier=config.classifier,
        initial_std=config.initial_std,
        prior_std=config.prior_std,
        components=classes,
        summary=int(config.setting == "lwof" and config.base_summary != "none"),
    )
    # As one program: one by one, its small steps would take seconds to compile.
    return jax.jit(init)(
        jax.random.fold_in(jax.random.key(config.seed), 3), base_weights=base_weights
    )


def meta_train(
    config: Any,
    steps: int,
    params: Params,
    train: FeatureTable,
    val: Tables,
    directory: Path,
    metrics: Metrics,
) -> Params:
    """Meta-trains with T = `steps` and returns the parameters of the best epoch on validation.

    The loss is the negative ELBO of an episode divided by its number of queries (so that without a
    KL term it is the mean cross-entropy of the official code), averaged over the batch. Every
    episode is a function of (seed, step, its place in the batch).

    Args:
      config: the run's config.
      steps: T.
      params: what to start from, see `init_params`.
      train: features of the training classes.
      val: features for validation.
      directory: for checkpoints; training goes on from the last one there.
      metrics: where each epoch is logged.
    """
    stage = f"T={steps}"
    settings = config.optimizer
    optimizer = make_optimizer(config)
    state = State(params, optimizer.init(params))
    best = Best(_to_host(params), np.full((), -1.0))
    run_epoch = compile_epoch(config, steps, optimizer)
    key = jax.random.fold_in(jax.random.key(config.seed), 4)
    with Checkpoints(directory) as checkpoints:
        done, (state, best) = checkpoints.restore((state, best)) or (0, (state, best))
        if done:
            log.info("%s: going on from epoch %d of %d", stage, done, settings.epochs)
        metrics.rewind(stage, done * settings.steps_per_epoch)
        # On the host first: a scalar of weak type would have the first epoch compiled twice.
        mesh = devices.episode_mesh(settings.batch)
        state, train = devices.to_all((_to_host(state), train), mesh)
        per_epoch = settings.steps_per_epoch * settings.batch
        total = settings.epochs * per_epoch
        with progress(stage, total, "episodes", done * per_epoch) as advance:
            for epoch in range(done, settings.epochs):
                state, sums = run_epoch(state, train, key, epoch * settings.steps_per_epoch)
                means = {k: float(v) / per_epoch for k, v in sums._asdict().items()}
                best = _end_epoch(config, steps, epoch, state.params, best, means, val, metrics)
                checkpoints.save(epoch + 1, (state, best))
                advance(per_epoch, loss=means["loss"])
                if devices.anywhere(interrupt.requested()) and epoch + 1 < settings.epochs:
                    raise interrupt.Interrupted
    return best.params


def make_optimizer(config: Any) -> optax.GradientTransformation:
    """Adam or SGD-Nesterov with the learning rate dropped at given epochs (section 3)."""
    settings = config.optimizer
    schedule = optax.piecewise_constant_schedule(
        settings.lr,
        {epoch * settings.steps_per_epoch: settings.drop_factor for epoch in settings.drop_epochs},
    )
    if settings.name == "adam":
        step = optax.adam(schedule)
    else:
        step = optax.sgd(schedule, settings.momentum, nesterov=True)
    if settings.weight_decay:
        step = optax.chain(optax.add_decayed_weights(settings.weight_decay), step)
    return step


def compile_epoch(config: Any, steps: int, optimizer: optax.GradientTransformation) -> Any:
    """An epoch of training steps as one compiled loop; nothing is read back but its sums.

    Args:
      config: the run's config.
      steps: T.
      optimizer: what makes updates of gradients.

    Returns:
      run_epoch(state, table, key, first step's number) -> (state, `Sums` over the epoch). The state
      that goes in is donated.
    """
    settings = config.optimizer
    task, inner = task_of(config), inner_of(config, steps)
    # Learning without forgetting has as many base as novel queries.
    queries = task.ways * task.queries * (1 if task.setting == "standard" else 2)
    mesh = devices.episode_mesh(settings.batch)
    sharding = devices.over_episodes(mesh)

    def episode_loss(params: Params, table: FeatureTable, key: jax.Array) -> tuple[jax.Array, Sums]:
        if not config.learn_prior:
            params = params._replace(prior=jax.lax.stop_gradient(params.prior))
        draw_key, loss_key = jax.random.split(key)
        if task.setting == "standard":
            episode = episodes.sample(draw_key, table, **task.shape())
            loss, aux = negative_elbo(params, episode, key=loss_key, **inner._asdict())
        else:
            mixed = lwof.sample_training(draw_key, table, **task.shape())
            loss, (aux, _) = lwof.negative_elbo(
                params, mixed, key=loss_key, summary=task.summary, **inner._asdict()
            )
        per_query = (loss / queries, aux.log_likelihood / queries, aux.kl / queries)
        return per_query[0], Sums(*per_query, aux.accuracy)

    def batch_loss(params: Params, table: FeatureTable, key: jax.Array) -> tuple[jax.Array, Sums]:
        places = jax.lax.with_sharding_constraint(jnp.arange(settings.batch), sharding)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, places)
        losses, sums = jax.vmap(episode_loss, (None, None, 0))(params, table, keys)
        return jnp.mean(losses), jax.tree.map(jnp.sum, sums)

    # What comes out lies where what went in did: the next epoch is not compiled anew.
    @functools.partial(jax.jit, donate_argnums=0, out_shardings=devices.replicated(mesh))
    def run_epoch(
        state: State, table: FeatureTable, key: jax.Array, first: jax.Array
    ) -> tuple[State, Sums]:
        def step(state: State, number: jax.Array) -> tuple[State, Sums]:
            gradient, sums = jax.grad(batch_loss, has_aux=True)(
                state.params, table, jax.random.fold_in(key, number)
            )
            updates, optimizer_state = optimizer.update(gradient, state.optimizer, state.params)
            return State(optax.apply_updates(state.params, updates), optimizer_state), sums

        numbers = first + jnp.arange(settings.steps_per_epoch)
        state, sums = jax.lax.scan(step, state, numbers)
        return state, jax.tree.map(jnp.sum, sums)

    return run_epoch


def _end_epoch(
    config: Any,
    steps: int,
    epoch: int,
    params: Params,
    best: Best,
    means: dict[str, float],
    val: Tables,
    metrics: Metrics,
) -> Best:
    stage, settings = f"T={steps}", config.optimizer
    step = (epoch + 1) * settings.steps_per_epoch
    if not np.isfinite(means["loss"]):
        raise DivergedError(
            f"{stage}: the loss is not finite before step {step}; lower config.optimizer.lr or "
            "config.inner.step_size"
        )
    task = task_of(config)
    found = evaluate(
        params,
        val,
        task,
        inner_of(config, steps),
        tasks=settings.val_tasks,
        key=jax.random.fold_in(jax.random.key(config.seed), 5),
        batch=config.eval.batch,
    )
    accuracy = found[task.accuracies()[-1]].mean
    metrics.write(stage, step, **means, **{f"val_{k}": v.mean for k, v in found.items()})
    better = accuracy > float(best.accuracy)
    log.info(
        "%s: epoch %d of %d, loss %.3f, training accuracy %.1f %%, validation %.1f %%%s",
        *(stage, epoch + 1, settings.epochs, means["loss"], 100 * means["accuracy"], accuracy),
        " (best)" if better else "",
    )
    return Best(_to_host(params), np.asarray(accuracy)) if better else best


def _to_host(tree: Any) -> Any:
    """A copy: the parameters' own buffers are donated to the next epoch."""
    return jax.tree.map(np.array, tree)
