"""Pretraining: the backbone learns to classify all training classes, under a cosine classifier."""

import functools
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sib_jax import classifier, episodes, model
from sib_jax.backbones import Backbone
from sib_jax.data import holdout
from sib_jax.data.split import DataSet
from sib_jax.report.console import log, progress
from sib_jax.report.metrics import Metrics
from sib_jax.training import augment, devices, features, interrupt, profile
from sib_jax.training.augment import Preprocessing
from sib_jax.training.checkpoint import Checkpoints
from sib_jax.training.diverged import DivergedError
from sib_jax.training.evaluate import Inner, Tables, Task, evaluate
from sib_jax.training.pretrained import Pretrained

STAGE = "pretrain"
_SECONDS_BETWEEN_CHECKPOINTS = 120.0


class State(NamedTuple):
    """What a training step changes.

    Attributes:
      variables: of the backbone.
      weights: of the cosine classifier over the training classes, [classes, d].
      head: scale and bias of that classifier.
      optimizer: optax's state.
      sums: of the loss and of the correct answers over the images of this epoch so far, [2].
    """

    variables: Any
    weights: jax.Array
    head: classifier.Classifier
    optimizer: Any
    sums: jax.Array


class Best(NamedTuple):
    """The best epoch so far: its variables, its classifier, its few-shot validation accuracy."""

    variables: Any
    weights: np.ndarray
    accuracy: np.ndarray


def pretrain(
    config: Any,
    data: DataSet,
    backbone: Backbone,
    directory: Path,
    metrics: Metrics,
    trace: Path | None = None,
) -> Pretrained:
    """Trains `backbone` on the training classes and keeps its best epoch.

    The best epoch is that with the highest 5-way 1-shot accuracy (class means, T = 0) on the
    validation classes. Batches and augmentation are functions of (seed, step).

    Images that `config.base_holdout` keeps back are not seen.

    Args:
      config: the run's config.
      data: the data set.
      backbone: what to train.
      directory: for checkpoints; training goes on from the last one there.
      metrics: where each epoch is logged.
      trace: gets a trace of a few steps.
    """
    settings = config.pretrain
    kept = np.flatnonzero(~holdout.of_training(data, config.base_holdout))
    preprocessing = augment.fit(data.train.images, config.crop, kept)
    steps_per_epoch = len(kept) // settings.batch
    total = steps_per_epoch * settings.epochs
    optimizer = _optimizer(config, total)
    key = jax.random.fold_in(jax.random.key(config.seed), 1)
    state = _init(key, backbone, optimizer, len(data.train.class_names))
    best = Best(_to_host(state.variables), _to_host(state.weights), np.full((), -1.0))
    with Checkpoints(directory) as checkpoints:
        done, (state, best) = checkpoints.restore((state, best)) or (0, (state, best))
        if done:
            log.info("pretrain: going on from step %d of %d", done, total)
        metrics.rewind(STAGE, done)
        mesh = devices.episode_mesh(settings.batch)
        # On the host first: scalars of weak type would have the step compiled three times.
        state, images, labels = devices.to_all(
            (_to_host(state), data.train.images, data.train.labels), mesh
        )
        train_step = _compile(config, backbone, preprocessing, optimizer)
        saved = time.monotonic()
        with progress(STAGE, total, "steps", done) as advance, profile.Window(trace) as window:
            for step in range(done, total):
                window.before_step(state)
                epoch, position = divmod(step, steps_per_epoch)
                if position == 0 or step == done:
                    order = _order(key, epoch, kept)
                rows = order[position * settings.batch : (position + 1) * settings.batch]
                state = train_step(state, images, labels, rows, jax.random.fold_in(key, step))
                ended = position + 1 == steps_per_epoch
                if ended:
                    found = Pretrained(backbone, state.variables, preprocessing, state.weights)
                    means = np.asarray(state.sums) / (settings.batch * steps_per_epoch)
                    best = _end_epoch(config, data, found, means, best, metrics, epoch, step + 1)
                    state = state._replace(sums=devices.to_all(np.zeros(2, np.float32), mesh))
                advance(1)
                late = time.monotonic() - saved > _SECONDS_BETWEEN_CHECKPOINTS
                # All processes save, and stop, at the same step.
                asked, late = devices.anywhere([interrupt.requested(), late])
                stop = asked and step + 1 < total
                if ended or stop or late:
                    checkpoints.save(step + 1, (state, best))
                    saved = time.monotonic()
                if stop:
                    raise interrupt.Interrupted
    variables, weights = jax.tree.map(jnp.asarray, (best.variables, best.weights))
    return Pretrained(backbone, variables, preprocessing, weights)


def _init(
    key: jax.Array, backbone: Backbone, optimizer: optax.GradientTransformation, classes: int
) -> State:
    backbone_key, weights_key = jax.random.split(key)
    variables = backbone.init(backbone_key)
    weights = jax.random.normal(weights_key, (classes, backbone.features))
    weights = classifier.normalize(weights)
    head = classifier.init("cosine")
    return State(
        variables=variables,
        weights=weights,
        head=head,
        optimizer=optimizer.init((variables["params"], weights, head)),
        sums=jnp.zeros(2),
    )


def _optimizer(config: Any, total: int) -> optax.GradientTransformation:
    schedule = optax.cosine_onecycle_schedule(
        total, config.pretrain.lr, pct_start=0.2, div_factor=10, final_div_factor=1000
    )
    return optax.chain(
        optax.add_decayed_weights(config.pretrain.weight_decay),
        optax.sgd(schedule, config.pretrain.momentum, nesterov=True),
    )


def _compile(
    config: Any,
    backbone: Backbone,
    preprocessing: Preprocessing,
    optimizer: optax.GradientTransformation,
) -> Any:
    """The compiled training step."""
    settings = config.pretrain
    mesh = devices.episode_mesh(settings.batch)

    # What comes out lies where what went in did: the next step is not compiled anew.
    @functools.partial(jax.jit, donate_argnums=0, out_shardings=devices.replicated(mesh))
    def step(
        state: State, images: jax.Array, labels: jax.Array, rows: jax.Array, key: jax.Array
    ) -> State:
        rows = jax.lax.with_sharding_constraint(rows, devices.over_episodes(mesh))
        batch = augment.train(
            key,
            images[rows],
            preprocessing,
            padding=settings.padding,
            flip=settings.flip,
            jitter=settings.jitter,
        )

        def loss_of(trained: Any) -> tuple[jax.Array, Any]:
            params, weights, head = trained
            found, statistics = backbone.apply_train(
                {"params": params, "batch_stats": state.variables["batch_stats"]}, batch
            )
            scores = classifier.logits(head, weights, found)
            loss = optax.softmax_cross_entropy_with_integer_labels(scores, labels[rows])
            correct = jnp.sum(jnp.argmax(scores, axis=1) == labels[rows])
            return jnp.mean(loss), (statistics, correct)

        trained = (state.variables["params"], state.weights, state.head)
        (loss, (statistics, correct)), gradient = jax.value_and_grad(loss_of, has_aux=True)(trained)
        updates, optimizer_state = optimizer.update(gradient, state.optimizer, trained)
        params, weights, head = optax.apply_updates(trained, updates)
        return state._replace(
            variables={"params": params, "batch_stats": statistics},
            weights=weights,
            head=head,
            optimizer=optimizer_state,
            sums=state.sums + jnp.stack([loss * len(rows), correct]),
        )

    return step


def _order(key: jax.Array, epoch: int, rows: np.ndarray) -> jax.Array:
    """The order in which an epoch goes through the images `rows`."""
    epoch_key = jax.random.fold_in(jax.random.fold_in(key, 0), epoch)
    return jnp.asarray(rows)[jax.random.permutation(epoch_key, len(rows))]


def _end_epoch(
    config: Any,
    data: DataSet,
    found: Pretrained,
    means: np.ndarray,
    best: Best,
    metrics: Metrics,
    epoch: int,
    step: int,
) -> Best:
    """Logs an epoch and returns the better of it and `best`; means: of loss and correct answers."""
    loss, accuracy = float(means[0]), 100 * float(means[1])
    if not np.isfinite(loss):
        raise DivergedError(
            f"the pretraining loss is not finite before step {step}; lower config.pretrain.lr"
        )
    few_shot = _few_shot_accuracy(config, data, found)
    metrics.write(STAGE, step, loss=loss, accuracy=accuracy, val_accuracy=few_shot)
    better = few_shot > float(best.accuracy)
    log.info(
        "pretrain: epoch %d of %d, loss %.3f, training accuracy %.1f %%, validation %.1f %%%s",
        *(epoch + 1, config.pretrain.epochs, loss, accuracy, few_shot),
        " (best)" if better else "",
    )
    if not better:
        return best
    return Best(_to_host(found.variables), _to_host(found.weights), np.asarray(few_shot))


def _few_shot_accuracy(config: Any, data: DataSet, found: Pretrained) -> float:
    """5-way 1-shot accuracy of class means on the validation classes, in percent."""
    counts = np.minimum(data.val.class_counts, config.pretrain.val_images)
    # The first images of each class: a sample is enough to choose an epoch, and takes less time.
    starts = np.cumsum(data.val.class_counts) - data.val.class_counts
    rows = np.concatenate([start + np.arange(n) for start, n in zip(starts, counts, strict=True)])
    table = episodes.feature_table(
        features.compute(found, data.val.images[rows]), np.asarray(data.val.labels[rows])
    )
    ways = min(5, len(counts))
    queries = min(config.queries, int(counts.min()) - 1)
    return evaluate(
        model.init(jax.random.key(0), ways=ways, features=found.backbone.features, prior=None),
        Tables(table),
        Task(ways, 1, queries),
        Inner(steps=0, step_size=0.0),
        tasks=config.pretrain.val_tasks,
        key=jax.random.fold_in(jax.random.key(config.seed), 2),
    )["novel"].mean


def _to_host(variables: Any) -> Any:
    """A copy: the variables' own buffers are donated to the next step."""
    return jax.tree.map(np.array, variables)
