"""Pretraining: the backbone learns to classify all training classes, under a cosine classifier."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sib_jax.backbones import Backbone, augment, preprocess
from sib_jax.backbones.preprocess import Preprocessing
from sib_jax.backbones.pretrained import Pretrained
from sib_jax.data import holdout
from sib_jax.data.split import DataSet, Split
from sib_jax.experiment import features, loop
from sib_jax.experiment.evaluate import evaluate
from sib_jax.experiment.settings import Pretraining
from sib_jax.methods import sib
from sib_jax.methods.method import Classes
from sib_jax.report.metrics import Metrics
from sib_jax.runtime import devices
from sib_jax.runtime.seeds import Stream, key
from sib_jax.sib import classifier
from sib_jax.sib.inner_loop import Inner
from sib_jax.tasks import setting
from sib_jax.tasks.setting import Sources, Task
from sib_jax.tasks.table import feature_table


class Model(NamedTuple):
    """What is trained.

    Attributes:
      variables: of the backbone.
      weights: of the cosine classifier over the training classes, [classes, d].
      head: scale and bias of that classifier.
    """

    variables: Any
    weights: jax.Array
    head: classifier.Classifier


def pretrain(
    settings: Pretraining,
    data: DataSet,
    backbone: Backbone,
    base_holdout: float,
    directory: Path,
    metrics: Metrics,
    trace_to: Path | None = None,
) -> Pretrained:
    """Trains `backbone` on the training classes and keeps its best epoch.

    The best epoch is that with the highest 5-way 1-shot accuracy (class means, T = 0) on the
    validation classes. Batches and augmentation are functions of (seed, step).

    Args:
      settings: how.
      data: the data set.
      backbone: what to train.
      base_holdout: share of each training class that is not seen.
      directory: for checkpoints; training goes on from the last one there.
      metrics: where each epoch is logged.
      trace_to: gets a trace of a few steps.
    """
    kept = np.flatnonzero(~holdout.of_training(data, base_holdout))
    preprocessing = preprocess.fit(data.train.images, settings.crop, kept)
    steps_per_epoch = len(kept) // settings.batch
    optimizer = _optimizer(settings, steps_per_epoch * settings.epochs)
    stream = key(settings.seed, Stream.PRETRAINING)
    mesh = devices.episode_mesh(settings.batch)
    images, labels = devices.to_all((data.train.images, data.train.labels), mesh)
    step = _compile(settings, backbone, preprocessing, optimizer)
    order: dict[int, jax.Array] = {}  # of the epoch at work

    def advance(state: loop.State, number: int, count: int) -> loop.State:
        for i in range(number, number + count):
            epoch, position = divmod(i, steps_per_epoch)
            if epoch not in order:
                order.clear()
                order[epoch] = _order(stream, epoch, kept)
            rows = order[epoch][position * settings.batch : (position + 1) * settings.batch]
            state = step(state, images, labels, rows, jax.random.fold_in(stream, i))
        return state

    few_shot = _few_shot_accuracy(settings, data.val)
    stage = loop.Stage(
        name="pretrain",
        epochs=settings.epochs,
        steps_per_epoch=steps_per_epoch,
        items=settings.batch,
        unit="images",
        chunk=1,
        mesh=mesh,
        advance=advance,
        validate=lambda model: few_shot(
            Pretrained(backbone, model.variables, preprocessing, model.weights)
        ),
        if_diverged="config.pretrain.lr",
    )
    start = _init(stream, backbone, optimizer, len(data.train.class_names))
    model = loop.train(stage, start, directory, metrics, trace_to)
    variables, weights = jax.tree.map(jnp.asarray, (model.variables, model.weights))
    return Pretrained(backbone, variables, preprocessing, weights)


def _init(
    stream: jax.Array, backbone: Backbone, optimizer: optax.GradientTransformation, classes: int
) -> loop.State:
    backbone_key, weights_key = jax.random.split(stream)
    variables = backbone.init(backbone_key)
    weights = jax.random.normal(weights_key, (classes, backbone.features))
    model = Model(variables, classifier.normalize(weights), classifier.init("cosine"))
    sums = {"loss": jnp.zeros(()), "accuracy": jnp.zeros(())}
    return loop.State(model, optimizer.init(_trained(model)), sums)


def _trained(model: Model) -> Any:
    """The part of it that the optimizer changes."""
    return model.variables["params"], model.weights, model.head


def _optimizer(settings: Pretraining, total: int) -> optax.GradientTransformation:
    schedule = optax.cosine_onecycle_schedule(
        total, settings.lr, pct_start=0.2, div_factor=10, final_div_factor=1000
    )
    return optax.chain(
        optax.add_decayed_weights(settings.weight_decay),
        optax.sgd(schedule, settings.momentum, nesterov=True),
    )


def _compile(
    settings: Pretraining,
    backbone: Backbone,
    preprocessing: Preprocessing,
    optimizer: optax.GradientTransformation,
) -> Any:
    """The compiled training step."""
    mesh = devices.episode_mesh(settings.batch)

    # What comes out lies where what went in did: the next step is not compiled anew.
    @functools.partial(jax.jit, donate_argnums=0, out_shardings=devices.replicated(mesh))
    def step(
        state: loop.State, images: jax.Array, labels: jax.Array, rows: jax.Array, key: jax.Array
    ) -> loop.State:
        model = state.model
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
                {"params": params, "batch_stats": model.variables["batch_stats"]}, batch
            )
            scores = classifier.logits(head, weights, found)
            loss = optax.softmax_cross_entropy_with_integer_labels(scores, labels[rows])
            correct = jnp.sum(jnp.argmax(scores, axis=1) == labels[rows])
            return jnp.mean(loss), (statistics, correct)

        trained = _trained(model)
        (loss, (statistics, correct)), gradient = jax.value_and_grad(loss_of, has_aux=True)(trained)
        updates, optimizer_state = optimizer.update(gradient, state.optimizer, trained)
        params, weights, head = optax.apply_updates(trained, updates)
        sums = {
            "loss": state.sums["loss"] + loss * len(rows),
            "accuracy": state.sums["accuracy"] + correct,
        }
        model = Model({"params": params, "batch_stats": statistics}, weights, head)
        return loop.State(model, optimizer_state, sums)

    return step


def _order(stream: jax.Array, epoch: int, rows: np.ndarray) -> jax.Array:
    """The order in which an epoch goes through the images `rows`."""
    epoch_key = jax.random.fold_in(jax.random.fold_in(stream, 0), epoch)
    return jnp.asarray(rows)[jax.random.permutation(epoch_key, len(rows))]


def _few_shot_accuracy(
    settings: Pretraining, val: Split
) -> Callable[[Pretrained], dict[str, float]]:
    """5-way 1-shot accuracy of class means on the validation classes, in percent."""
    counts = np.minimum(val.class_counts, settings.val_images)
    # The first images of each class: a sample is enough to choose an epoch, and takes less time.
    starts = np.cumsum(val.class_counts) - val.class_counts
    rows = np.concatenate([start + np.arange(n) for start, n in zip(starts, counts, strict=True)])
    ways = min(5, len(counts))
    tasks = setting.make("standard", Task(ways, 1, min(15, int(counts.min()) - 1)))
    class_means = sib.make(sib.Settings(Inner(steps=0, step_size=0.0)), ways)

    def accuracy(found: Pretrained) -> dict[str, float]:
        of_images = features.compute(found, val.images[rows])
        classes = Classes(of_images.shape[1:], base=0)
        return {
            "accuracy": evaluate(
                class_means,
                class_means.init(jax.random.key(0), classes),
                tasks,
                Sources(feature_table(of_images, np.asarray(val.labels[rows]))),
                tasks=settings.val_tasks,
                key=key(settings.seed, Stream.PRETRAINING_VALIDATION),
            )["novel"].mean
        }

    return accuracy
