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
from sib_jax.data.split import DataSet
from sib_jax.report.console import log, progress
from sib_jax.report.metrics import Metrics
from sib_jax.training import augment, devices, features, interrupt
from sib_jax.training.augment import Preprocessing
from sib_jax.training.diverged import DivergedError
from sib_jax.training.checkpoint import Checkpoints
from sib_jax.training.evaluate import Inner, Task, evaluate
from sib_jax.training.pretrained import Pretrained

STAGE = "pretrain"
_SECONDS_BETWEEN_CHECKPOINTS = 120.0


class State(NamedTuple):
    """All that training changes, so all that a checkpoint holds.

    Attributes:
      variables: of the backbone.
      weights: of the cosine classifier over the training classes, [classes, d].
      head: scale and bias of that classifier.
      optimizer: optax's state.
      sums: of the loss and of the correct answers over the images of this epoch so far, [2].
      best: variables of the best epoch so far.
      best_accuracy: their few-shot accuracy on validation classes, percent.
    """

    variables: Any
    weights: jax.Array
    head: classifier.Classifier
    optimizer: Any
    sums: jax.Array
    best: Any
    best_accuracy: jax.Array


def pretrain(
    config: Any, data: DataSet, backbone: Backbone, directory: Path, metrics: Metrics
) -> Pretrained:
    """Trains `backbone` on the training classes and keeps its best epoch.

    The best epoch is that with the highest 5-way 1-shot accuracy (class means, T = 0) on the
    validation classes. Batches and augmentation are functions of (seed, step).

    Args:
      config: the run's config.
      data: the data set.
      backbone: what to train.
      directory: for checkpoints; training goes on from the last one there.
      metrics: where each epoch is logged.
    """
    preprocessing = augment.fit(data.train.images, config.crop)
    steps_per_epoch = max(1, len(data.train.labels) // config.pretrain.batch)
    total = steps_per_epoch * config.pretrain.epochs
    optimizer = _optimizer(config, total)
    key = jax.random.fold_in(jax.random.key(config.seed), 1)
    state = _init(key, backbone, optimizer, len(data.train.class_names))
    with Checkpoints(directory) as checkpoints:
        done, state = checkpoints.restore(state) or (0, state)
        if done:
            log.info("pretrain: going on from step %d of %d", done, total)
        metrics.rewind(STAGE, done)
        images = jnp.asarray(data.train.images)
        labels = jnp.asarray(data.train.labels)
        step = _compile(config, backbone, preprocessing, optimizer)
        saved = time.monotonic()
        with progress(STAGE, total, "steps", done) as advance:
            for i in range(done, total):
                epoch, position = divmod(i, steps_per_epoch)
                if position == 0 or i == done:
                    order = _order(key, epoch, len(labels))
                rows = order[position * config.pretrain.batch : (position + 1) * config.pretrain.batch]
                state = step(state, images, labels, rows, jax.random.fold_in(key, i))
                advance(1)
                finished = position + 1 == steps_per_epoch
                if finished:
                    state = _end_epoch(
                        config, state, data, backbone, preprocessing, metrics, i + 1, len(rows) * steps_per_epoch
                    )
                stop = interrupt.requested()
                if finished or stop or time.monotonic() - saved > _SECONDS_BETWEEN_CHECKPOINTS:
                    checkpoints.save(i + 1, state)
                    saved = time.monotonic()
                if stop and i + 1 < total:
                    raise interrupt.Interrupted
    return Pretrained(backbone, state.best, preprocessing)


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
        best=jax.tree.map(jnp.copy, variables),
        best_accuracy=jnp.full((), -1.0),
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
    sharding = devices.over_episodes(devices.episode_mesh(settings.batch))

    @functools.partial(jax.jit, donate_argnums=0)
    def step(
        state: State, images: jax.Array, labels: jax.Array, rows: jax.Array, key: jax.Array
    ) -> State:
        rows = jax.lax.with_sharding_constraint(rows, sharding)
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


def _order(key: jax.Array, epoch: int, count: int) -> jax.Array:
    """The order in which an epoch goes through the images."""
    return jax.random.permutation(jax.random.fold_in(jax.random.fold_in(key, 0), epoch), count)


def _end_epoch(
    config: Any,
    state: State,
    data: DataSet,
    backbone: Backbone,
    preprocessing: Preprocessing,
    metrics: Metrics,
    step: int,
    images: int,
) -> State:
    loss, accuracy = (float(x) / images for x in state.sums)
    if not np.isfinite(loss):
        raise DivergedError(
            f"the pretraining loss is not finite before step {step}; lower config.pretrain.lr"
        )
    few_shot = _few_shot_accuracy(config, state.variables, data, backbone, preprocessing)
    metrics.write(STAGE, step, loss=loss, accuracy=100 * accuracy, val_accuracy=few_shot)
    better = few_shot > float(state.best_accuracy)
    log.info(
        "pretrain: epoch %d of %d, loss %.3f, training accuracy %.1f %%, validation %.1f %%%s",
        *(step * config.pretrain.batch // images, config.pretrain.epochs, loss, 100 * accuracy, few_shot),
        " (best)" if better else "",
    )
    state = state._replace(sums=jnp.zeros(2))
    if better:
        best = jax.tree.map(jnp.copy, state.variables)  # the original is donated
        state = state._replace(best=best, best_accuracy=jnp.asarray(few_shot))
    return state


def _few_shot_accuracy(
    config: Any, variables: Any, data: DataSet, backbone: Backbone, preprocessing: Preprocessing
) -> float:
    """5-way 1-shot accuracy of class means on the validation classes, in percent."""
    found = features.compute(backbone, variables, preprocessing, data.val.images)
    ways = min(5, len(data.val.class_names))
    queries = min(config.queries, int(data.val.class_counts.min()) - 1)
    params = model.init(jax.random.key(0), ways=ways, features=backbone.features, prior=None)
    return evaluate(
        params,
        episodes.feature_table(found, data.val.labels),
        Task(ways, 1, queries),
        Inner(steps=0, step_size=0.0),
        tasks=config.pretrain.val_tasks,
        key=jax.random.fold_in(jax.random.key(config.seed), 2),
    ).mean
