"""Pretraining: the backbone learns to classify all training classes, under a cosine classifier."""

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sib_jax.backbones import Backbone, augment, preprocess, pretrained
from sib_jax.backbones.preprocess import Preprocessing
from sib_jax.backbones.pretrained import Pretrained
from sib_jax.config import ConfigError
from sib_jax.data import holdout
from sib_jax.data.split import DataSet, Split
from sib_jax.experiment import features, loop
from sib_jax.experiment.evaluate import evaluate
from sib_jax.experiment.settings import Pretraining
from sib_jax.methods import sib
from sib_jax.methods.method import Classes, Method
from sib_jax.report.metrics import Metrics
from sib_jax.runtime import devices
from sib_jax.runtime.seeds import Stream, key
from sib_jax.runtime.words import one_line
from sib_jax.sib import classifier
from sib_jax.sib.inner_loop import Inner
from sib_jax.tasks import setting
from sib_jax.tasks.setting import Sources, Task
from sib_jax.tasks.table import feature_table

_KEPT = 16  # compiled steps that a process keeps for further runs with the same settings


class Model(NamedTuple):
    """What is trained.

    Attributes:
      variables: of the backbone.
      weights: of the cosine classifier over the training classes, [classes, d].
      head: scale and bias of that classifier.
      average: running average of the backbone's parameters and of the weights; None for none.
    """

    variables: Any
    weights: jax.Array
    head: classifier.Classifier
    average: Any


class _Phase(NamedTuple):
    """Training on images of one size.

    Attributes:
      name: of the stage.
      crop: pixels that the backbone sees.
      epochs: number of epochs.
      before: epochs of the phases before it.
    """

    name: str
    crop: int
    epochs: int
    before: int


class _Work(NamedTuple):
    """What all phases share; `preprocessing` is that of full size, `kept` the rows to train on."""

    settings: Pretraining
    data: DataSet
    backbone: Backbone
    preprocessing: Preprocessing
    kept: np.ndarray


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
    validation classes. Batches and augmentation are functions of (seed, step). Where there are
    phases on smaller images, each begins with the best epoch of the one before; the learning rate
    has one cycle over all of them.

    Args:
      settings: how.
      data: the data set.
      backbone: what to train.
      base_holdout: share of each training class that is left out.
      directory: for checkpoints; training goes on from the last one there.
      metrics: where each epoch is logged.
      trace_to: gets a trace of a few steps.

    Raises:
      ConfigError: the backbone's features do not have the length that it declares, or have
        another than its stride says on smaller images.
    """
    for phase in reversed(_phases(settings)):
        _check_features(backbone, phase.crop)
    kept = np.flatnonzero(~holdout.of_training(data, base_holdout))
    whole = preprocess.fit(data.train.images, settings.crop, kept)
    work = _Work(settings, data, backbone, whole, kept)
    model = _start(work, backbone.at(_phases(settings)[0].crop))
    before = None
    for phase in _phases(settings):
        if before is not None:
            weights = backbone.at(before.crop).resize(jnp.asarray(model.weights), phase.crop)
            model = _averaged(model._replace(weights=classifier.normalize(weights)), settings)
        model = _train(work, phase, model, directory / phase.name, metrics, trace_to)
        before = phase
    return _pretrained(backbone, whole, jax.device_put(model))


@functools.lru_cache(maxsize=_KEPT)
def _check_features(backbone: Backbone, crop: int) -> None:
    """Checks the length of a user's backbone's features; nothing is computed."""
    of = backbone.at(crop)
    images = jax.ShapeDtypeStruct((2, crop, crop, of.channels), jnp.float32)
    variables = jax.eval_shape(backbone.init, jax.random.key(0))
    try:
        found = jax.eval_shape(of.apply, variables, images)
    except Exception as error:  # the user's code can fail in any way
        raise ConfigError(
            f"config.backbone: {of.name} cannot work on images of {crop} pixels: {one_line(error)}"
        ) from error
    shape = getattr(found, "shape", None)
    if shape != (2, of.features):
        given = f"a {type(found).__name__}" if shape is None else list(shape)
        raise ConfigError(
            f"config.backbone: {of.name} gives {given} for 2 images of {crop} pixels, but must "
            f"give [2, {of.features}]: {_wanted(of)}"
        )


def _wanted(backbone: Backbone) -> str:
    if backbone.stride is None:
        return "as many for images of any size, unless it is registered with a stride"
    return f"all cells of a map with a stride of {backbone.stride}"


def _phases(settings: Pretraining) -> list[_Phase]:
    """Each with its share of the epochs, rounded down: the last one has at least one.

    Images that would not be smaller get no phase.
    """
    phases: list[_Phase] = []
    before, share = 0, 0.0
    smaller = [(crop, part) for crop, part in settings.growth if crop < settings.crop]
    for number, (crop, part) in enumerate(smaller, 1):
        share += part
        ended = min(int(share * settings.epochs + 1e-9), settings.epochs - 1)  # 0.7 + 0.1 of 10: 8
        if ended > before:
            name = f"pretrain_{number}_{crop}px"
            phases.append(_Phase(name, crop, ended - before, before))
        before = ended
    return [*phases, _Phase("pretrain", settings.crop, settings.epochs - before, before)]


def _train(
    work: _Work,
    phase: _Phase,
    model: Model,
    directory: Path,
    metrics: Metrics,
    trace_to: Path | None,
) -> Model:
    """One phase, from the model that the one before gave; see `pretrain`."""
    settings, data, backbone, whole, kept = work
    steps_per_epoch = len(kept) // settings.batch
    first = phase.before * steps_per_epoch
    scale = phase.crop / settings.crop
    sized, preprocessing = backbone.at(phase.crop), whole._replace(crop=phase.crop)

    def images_of(split: Split, rows: np.ndarray | slice) -> np.ndarray:
        return preprocess.shrink(split.images[rows], round(split.images.shape[1] * scale))

    alike = settings._replace(seed=0)  # programs are the same for every seed
    optimizer = _optimizer(alike, settings.epochs * steps_per_epoch, first)
    stream = key(settings.seed, Stream.PRETRAINING)
    mesh = devices.episode_mesh(settings.batch)
    images, labels = devices.shared((images_of(data.train, slice(None)), data.train.labels), mesh)
    # Both sizes were rounded: the crop still has to fit.
    lacking = math.ceil((phase.crop - images.shape[1]) / 2)
    scaled = alike._replace(padding=max(round(settings.padding * scale), lacking))
    step = _compile(scaled, sized, preprocessing, optimizer)
    order: dict[int, jax.Array] = {}  # of the current epoch

    def advance(state: loop.State, number: int, count: int) -> loop.State:
        for i in range(first + number, first + number + count):
            epoch, position = divmod(i, steps_per_epoch)
            if epoch not in order:
                order.clear()
                order[epoch] = _order(stream, epoch, kept)
            rows = order[epoch][position * settings.batch : (position + 1) * settings.batch]
            state = step(state, images, labels, rows, jax.random.fold_in(stream, i))
        return state

    few_shot = _few_shot_accuracy(settings, data.val, images_of)
    stage = loop.Stage(
        name=phase.name,
        epochs=phase.epochs,
        steps_per_epoch=steps_per_epoch,
        items=settings.batch,
        unit="images",
        chunk=1,
        mesh=mesh,
        advance=advance,
        validate=lambda model: few_shot(_pretrained(sized, preprocessing, model)),
        if_diverged="config.pretrain.lr",
        program=[backbone.program, jax.__version__] if backbone.program else (),
    )
    sums = {"loss": jnp.zeros(()), "accuracy": jnp.zeros(())}
    start = loop.State(model, optimizer.init(_trained(model)), sums)
    return loop.train(stage, start, directory, metrics, trace_to)


def _kind(backbone: Backbone) -> tuple[object, ...]:
    """What decides whether parameters fit; the precision that they are used in does not."""
    return backbone.name, backbone.channels, backbone.final_relu


def check_start(start: str, classes: Sequence[str]) -> Pretrained:
    """The file to start from; raises `ConfigError` where it has no classifier of these classes."""
    found = pretrained.open_file(start)
    weights, names = found.weights, found.class_names
    if weights is None or len(weights) != len(classes) or names not in (None, tuple(classes)):
        raise ConfigError(
            f"config.pretrain.start: {start} has no classifier of the {len(classes)} training "
            f"classes{'' if weights is None else f', only one of {len(weights)} other classes'}"
        )
    return found


def _start(work: _Work, backbone: Backbone) -> Model:
    """The model before the first step: drawn, or from a file whose classifier is then resized."""
    if work.settings.start:
        found = check_start(work.settings.start, work.data.train.class_names)
        if _kind(found.backbone) != _kind(backbone):
            raise ConfigError(
                f"config.pretrain.start: {work.settings.start} holds a {found.backbone.name} with "
                "settings other than this config's"
            )
        assert found.weights is not None
        weights = found.backbone.resize(found.weights, backbone.image_size)
        model = Model(
            found.variables, classifier.normalize(weights), classifier.init("cosine"), None
        )
        return _averaged(model, work.settings)
    stream = key(work.settings.seed, Stream.PRETRAINING)
    backbone_key, weights_key = jax.random.split(stream)
    variables = backbone.init(backbone_key)
    weights = jax.random.normal(weights_key, (len(work.data.train.class_names), backbone.features))
    weights, head = classifier.normalize(weights), classifier.init("cosine")
    return _averaged(Model(variables, weights, head, None), work.settings)


def _averaged(model: Model, settings: Pretraining) -> Model:
    """The model with its running average started, where the settings ask for one."""
    if not settings.average:
        return model
    return model._replace(average=(model.variables["params"], model.weights))


def _pretrained(backbone: Backbone, preprocessing: Preprocessing, model: Model) -> Pretrained:
    if model.average is None:
        return Pretrained(backbone, model.variables, preprocessing, model.weights)
    params, weights = model.average
    return Pretrained(backbone, {**model.variables, "params": params}, preprocessing, weights)


def _trained(model: Model) -> Any:
    """The part of it that the optimizer changes."""
    return model.variables["params"], model.weights, model.head


@functools.lru_cache(maxsize=_KEPT)
def _optimizer(settings: Pretraining, total: int, first: int) -> optax.GradientTransformation:
    """SGD-Nesterov under one cycle of `total` steps, of which `first` are already done."""
    cycle = optax.cosine_onecycle_schedule(
        total, settings.lr, pct_start=0.2, div_factor=10, final_div_factor=1000
    )
    return optax.chain(
        optax.add_decayed_weights(settings.weight_decay),
        optax.sgd(lambda step: cycle(first + step), settings.momentum, nesterov=True),
    )


@functools.lru_cache(maxsize=_KEPT)
def _compile(
    settings: Pretraining,
    backbone: Backbone,
    preprocessing: Preprocessing,
    optimizer: optax.GradientTransformation,
) -> Any:
    """The compiled training step; always the same one for equal arguments."""
    mesh = devices.episode_mesh(settings.batch)

    # Outputs are placed as the inputs were, so that the next step is not compiled again.
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
        average = model.average
        if average is not None:
            keep = settings.average
            average = jax.tree.map(
                lambda old, new: keep * old + (1 - keep) * new, average, (params, weights)
            )
        model = Model({"params": params, "batch_stats": statistics}, weights, head, average)
        return loop.State(model, optimizer_state, sums)

    return step


def _order(stream: jax.Array, epoch: int, rows: np.ndarray) -> jax.Array:
    """The order in which an epoch goes through the images `rows`."""
    # Step 0 also uses this key, to augment image number `epoch`; that does no harm.
    epoch_key = jax.random.fold_in(jax.random.fold_in(stream, 0), epoch)
    return jnp.asarray(rows)[jax.random.permutation(epoch_key, len(rows))]


@functools.cache
def _class_means(ways: int) -> Method:
    """SIB at T = 0; always the same one, to compile once."""
    return sib.make(sib.Settings(Inner(steps=0, step_size=0.0)), ways)


def _few_shot_accuracy(
    settings: Pretraining,
    val: Split,
    images_of: Callable[[Split, np.ndarray], np.ndarray],
) -> Callable[[Pretrained], dict[str, float]]:
    """5-way 1-shot accuracy of class means on the validation classes, in percent."""
    counts = np.minimum(val.class_counts, settings.val_images)
    # The first images of each class: a sample is enough to choose an epoch, and takes less time.
    starts = np.cumsum(val.class_counts) - val.class_counts
    rows = np.concatenate([start + np.arange(n) for start, n in zip(starts, counts, strict=True)])
    images, labels = images_of(val, rows), np.asarray(val.labels[rows])
    ways = min(5, len(counts))
    tasks = setting.make("standard", Task(ways, 1, min(15, int(counts.min()) - 1)))
    class_means = _class_means(ways)

    def accuracy(found: Pretrained) -> dict[str, float]:
        of_images = features.compute(found, images)
        classes = Classes(of_images.shape[1:], base=0)
        return {
            "accuracy": evaluate(
                class_means,
                class_means.init(jax.random.key(0), classes),
                tasks,
                Sources(feature_table(of_images, labels)),
                tasks=settings.val_tasks,
                key=key(settings.seed, Stream.PRETRAINING_VALIDATION),
            )["novel"].mean
        }

    return accuracy
