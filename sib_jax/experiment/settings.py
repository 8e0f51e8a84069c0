"""Reads a config once into small static values; nothing below this file sees a ConfigDict."""

import contextlib
import functools
import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp

from sib_jax import backbones, config
from sib_jax.backbones import Backbone, pretrained
from sib_jax.config import ConfigError
from sib_jax.experiment.run_files import BACKBONE
from sib_jax.methods import METHODS, Method, contract, is_own
from sib_jax.methods.method import parameter_shapes
from sib_jax.methods.sib import Settings as SibSettings
from sib_jax.runtime.console import log
from sib_jax.sib.inner_loop import Inner
from sib_jax.tasks.setting import Setting, Task
from sib_jax.tasks.setting import make as make_setting

_USUAL = 64  # length of features that methods of the package are traced with


class Data(NamedTuple):
    """Which data set; the arguments of `data.load.load`."""

    name: str
    data_dir: str
    image_size: int
    ratios: tuple[float, float, float]
    seed: int


class BackboneSettings(NamedTuple):
    """Which backbone, the file of its weights, if it is not trained here, and its features."""

    name: str
    crop: int
    final_relu: bool
    dtype: str
    file: str
    mirror: bool


class Pretraining(NamedTuple):
    """How the backbone is trained; the fields of config.pretrain, and `seed` and `crop`."""

    seed: int
    crop: int
    epochs: int
    start: str
    growth: tuple[tuple[int, float], ...]
    average: float
    batch: int
    lr: float
    momentum: float
    weight_decay: float
    padding: int
    flip: bool
    jitter: float
    val_images: int
    val_tasks: int


class Optimizer(NamedTuple):
    """How a head's parameters are updated; drops are counted in steps."""

    name: str
    lr: float
    momentum: float
    weight_decay: float
    drop_steps: tuple[int, ...]
    drop_factor: float


class Training(NamedTuple):
    """How a head is meta-trained."""

    seed: int
    optimizer: Optimizer
    batch: int
    epochs: int
    steps_per_epoch: int
    val_tasks: int
    val_batch: int


class Lesson(NamedTuple):
    """What a step of meta-training learns from.

    Attributes:
      method: what learns, for as many ways as the episodes have.
      setting: how the episodes are drawn.
    """

    method: Method
    setting: Setting


class Head(NamedTuple):
    """A method, the tasks that it is for, and how it is meta-trained.

    Attributes:
      name: of the head.
      method: what answers.
      setting: the tasks that it is evaluated on.
      training: how it is meta-trained.
      learns_from: the kinds of episodes, one or more, that its training steps take in turn.
      chosen_on: the tasks of the validation that chooses its best epoch.
      trained_alike: other heads that are trained in the same way, but evaluated on other queries.
      is_own: whether the method is the user's.
    """

    name: str
    method: Method
    setting: Setting
    training: Training
    learns_from: tuple[Lesson, ...]
    chosen_on: Setting
    trained_alike: tuple[str, ...]
    is_own: bool


class Evaluation(NamedTuple):
    """What is evaluated: every head on the same tasks of each split."""

    seed: int
    tasks: dict[str, int]
    batch: int


class Experiment(NamedTuple):
    """One data set, one backbone, its features once, and a list of heads."""

    data: Data
    backbone: BackboneSettings
    pretraining: Pretraining
    base_holdout: float
    heads: tuple[Head, ...]
    evaluation: Evaluation
    tensorboard: bool

    @property
    def has_backbone(self) -> bool:
        """Whether any head reads features of one; features that are the data have none."""
        reads = any(head.method.reads == "features" for head in self.heads)
        return reads and self.data.name != "features"

    def trained(self, given: Collection[str]) -> list[Head]:
        """Heads that are trained here, now or in an earlier run; `given` are names of others."""
        return [head for head in self.heads if head.method.trained and head.name not in given]


def read(c: Any) -> Experiment:
    """Reads a checked config.

    Args:
      c: see `sib_jax.config.default`.

    Raises:
      ConfigError, MethodError: a value that cannot work.
    """
    config.check(c)
    before_data(_backbone(c))  # a name that cannot be fails here, not after decoding
    configs = config.heads(c)
    training = {name: _of_training(head) for name, head in configs.items()}
    heads = tuple(
        head(name, of, tuple(n for n in configs if n != name and training[n] == training[name]))
        for name, of in configs.items()
    )
    return Experiment(
        data=Data(c.dataset, c.data_dir, c.image_size, tuple(c.split_ratios), c.split_seed),
        backbone=_backbone(c),
        pretraining=_pretraining(c),
        base_holdout=c.base_holdout,
        heads=heads,
        evaluation=Evaluation(
            c.seed, {split: c.eval[f"{split}_tasks"] for split in c.eval.splits}, c.eval.batch
        ),
        tensorboard=c.tensorboard,
    )


def equal_heads(heads: Sequence[Head]) -> list[list[str]]:
    """Groups of heads that differ only in name, for example with a T that is ignored."""
    alike: dict[Any, list[str]] = {}
    for head in heads:
        alike.setdefault(repr(head._replace(name="", trained_alike=())), []).append(head.name)
    return [names for names in alike.values() if len(names) > 1]


def make_backbone(settings: BackboneSettings, channels: int) -> Backbone:
    """The backbone that a config names, for images of `channels`."""
    try:
        return backbones.make(
            settings.name,
            image_size=settings.crop,
            channels=channels,
            final_relu=settings.final_relu,
            dtype=jnp.dtype(settings.dtype),
        )
    except ValueError as error:
        raise ConfigError(f"config.backbone: {error}") from error


def before_data(settings: BackboneSettings) -> Backbone:
    """The same while the number of channels is not known; one of the user's may take only one."""
    try:
        return make_backbone(settings, channels=3)
    except ConfigError:
        with contextlib.suppress(ConfigError):
            return make_backbone(settings, channels=1)
        raise


def take_backbone(c: Any, workdir: Path, given: Collection[str]) -> None:
    """Sets the backbone that a config asks for to what its file of weights holds; logs changes.

    Args:
      c: the config; changed in place.
      workdir: of the run, which keeps a copy of the file.
      given: fields that stay as they are, since the user named them.

    Raises:
      UserError: the config cannot work, or the file holds no backbone.
    """
    config.check(c)
    paths = (pretrained.located(c.backbone_file, c.dataset), str(workdir / BACKBONE))
    path = next(filter(os.path.isfile, paths), None)
    if not c.backbone_file or path is None:
        return
    found = pretrained.open_file(path, image_size=c.crop)
    told = {
        "backbone": found.backbone.name,
        "final_relu": found.backbone.final_relu,
        "mirror_features": found.mirror or None,  # one trained without may well be used with it
    }
    for field, held in told.items():
        if held is not None and field not in given and c[field] != held:
            log.info("config.%s is set to %s, as in %s", field, held, c.backbone_file)
            c[field] = held


def _backbone(c: Any) -> BackboneSettings:
    file = c.backbone_file and pretrained.located(c.backbone_file, c.dataset)
    return BackboneSettings(c.backbone, c.crop, c.final_relu, c.dtype, file, c.mirror_features)


def _pretraining(c: Any) -> Pretraining:
    fields = c.pretrain.to_dict()
    growth = tuple(map(tuple, fields.pop("growth")))
    fields["start"] = fields["start"] and pretrained.located(fields["start"], c.dataset)
    return Pretraining(seed=c.seed, crop=c.crop, growth=growth, **fields)


def _of_training(c: Any) -> str:
    """Everything that the parameters of a head are a function of."""
    queries = _queries_of_training(c)
    fields = config.flat(c) | queries
    fields |= {"optimizer.query_classes": "same", "optimizer.total_queries": 0}
    ways = (c.optimizer.ways or c.ways, c.ways)  # of training, and of the validation within it
    total = [_unless_usual(queries["total_queries"], k, c.queries) for k in ways]
    return repr((sorted((fields | {"total_queries": 0}).items()), total))


def _queries_of_training(c: Any) -> dict[str, Any]:
    """The fields on the queries of training episodes: their own, or else those of all episodes."""
    classes = c.optimizer.query_classes
    return {
        "query_classes": c.query_classes if classes == "same" else classes,
        "total_queries": c.optimizer.total_queries or c.total_queries,
    }


def _unless_usual(total: int, ways: int, queries: int) -> int:
    """0 where it is ways * queries: the tasks are the same then."""
    return 0 if total == ways * queries else total


def head(name: str, c: Any, trained_alike: tuple[str, ...] = ()) -> Head:
    """A head of a checked config.

    Args:
      name: of the head.
      c: its own config, see `sib_jax.config.heads`.
      trained_alike: see `Head`.

    Raises:
      ConfigError, MethodError: its method cannot work.
    """
    optimizer = c.optimizer
    task = Task(c.ways, c.shots, c.queries, c.query_classes, c.support_classes, c.total_queries)
    learned = task._replace(**_queries_of_training(c))
    chosen_on, task = _of_size(learned), _of_size(task)
    method = method_of(c)
    if c.setting not in method.serves:
        raise ConfigError(
            f"head {name}: {method.name} is for setting={' or '.join(method.serves)}, "
            f"not for {c.setting}"
        )
    _check_program(c, method, task)
    sizes = optimizer.sizes_in_turn if method.trained else ()
    in_turn = [learned._replace(ways=k, shots=m, total_queries=n) for k, m, n in sizes]
    in_turn = in_turn or [learned._replace(ways=(method.trained and optimizer.ways) or c.ways)]
    lessons = [
        Lesson(_for_ways(c, method, task.ways), make_setting(c.setting, _of_size(task)))
        for task in in_turn
    ]
    return Head(
        name=name,
        method=method,
        setting=make_setting(c.setting, task),
        learns_from=tuple(lessons),
        chosen_on=make_setting(c.setting, chosen_on),
        trained_alike=trained_alike,
        is_own=is_own(c.method),
        training=Training(
            seed=c.seed,
            optimizer=Optimizer(
                optimizer.name,
                optimizer.lr,
                optimizer.momentum,
                optimizer.weight_decay,
                tuple(epoch * optimizer.steps_per_epoch for epoch in optimizer.drop_epochs),
                optimizer.drop_factor,
            ),
            batch=optimizer.batch,
            epochs=optimizer.epochs,
            steps_per_epoch=optimizer.steps_per_epoch,
            val_tasks=optimizer.val_tasks,
            val_batch=c.eval.batch,
        ),
    )


def _of_size(task: Task) -> Task:
    """The same task, always written in the same way, so that it is compiled once."""
    return task._replace(total_queries=_unless_usual(task.total_queries, task.ways, task.queries))


def _check_program(c: Any, method: Method, task: Task) -> None:
    """Traces a user's method, or one with changed settings, so that errors are raised at once."""
    entry = METHODS[c.method]
    if c.method == "sib":
        return
    own, length = is_own(c.method), _USUAL
    if own and method.reads == "features":
        if c.dataset == "features":  # their length is known once they are loaded: see `job`
            return
        length = before_data(_backbone(c)).features
    if own or entry.settings(**c.get(c.method, {})) != entry.settings():
        told = f"config.{c.method}"
        contract.check(told, method, task, c.setting, features=length, size=c.crop)


def _for_ways(c: Any, method: Method, ways: int) -> Method:
    """The method for the number of ways of its training episodes, where its parameters serve both.

    Raises:
      ConfigError: they do not.
    """
    if ways == c.ways:
        return method
    other = method_of(c, ways)
    if not share_parameters(c, method, other):
        if c.optimizer.sizes_in_turn:
            said, mend = f"sizes_in_turn has {ways} ways", f"use {c.ways} there"
        else:
            said, mend = f"ways is {ways}", "leave it at 0"
        raise ConfigError(
            f"config.optimizer.{said}, but {method.name} can only learn for {c.ways} ways, because "
            f"the shapes of its parameters depend on the number; {mend}"
        )
    return other


def share_parameters(c: Any, method: Method, other: Method) -> bool:
    """Whether two methods that read the same have parameters of the same shapes."""
    shape = (c.crop, c.crop, 3) if method.reads == "images" else (64,)
    one, two = (parameter_shapes(of, shape, 8) for of in (method, other))
    return bool(one == two)


def method_of(c: Any, ways: int | None = None) -> Method:
    """The method that the config of a head names, for `ways` or as many ways as it says."""
    entry = METHODS[c.method]
    settings = sib_settings(c) if c.method == "sib" else entry.settings(**c.get(c.method, {}))
    try:
        # A user's code may be another in the next job of a notebook, also what it calls.
        make = entry.make if is_own(c.method) else functools.partial(_made, entry.make)
        method = make(settings, ways or c.ways)
    except ValueError as error:
        raise ConfigError(f"config.{c.method}: {error}") from error
    contract.check_method(c.method, method)
    return method


@functools.lru_cache(maxsize=256)
def _made(make: Callable[[Any, int], Method], settings: Any, ways: int) -> Method:
    """Always the same for equal settings, so that several runs in one process compile it once."""
    return make(settings, ways)


def sib_settings(c: Any) -> SibSettings:
    """SIB's own fields, which are at the top level of a config."""
    return SibSettings(
        inner=Inner(beta=c.elbo.beta, base_summary=c.base_summary, **c.inner.to_dict()),
        posterior=c.posterior,
        prior=None if c.prior == "none" else c.prior,
        learn_prior=c.learn_prior,
        classifier=c.classifier,
        initial_std=c.initial_std,
        prior_std=c.prior_std,
    )
