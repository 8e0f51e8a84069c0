"""Every hyper-parameter with its default, and the check that ends a mistaken config early."""

import copy
from typing import Any

import ml_collections

from sib_jax.errors import UserError

DATASETS = ("glyphs", "mini_imagenet", "cifar_fs", "omniglot", "folder")

# What differs between data sets: the size of their images and how long training takes on them.
_GLYPHS: dict[str, Any] = {
    "image_size": 32,
    "crop": 32,
    "final_relu": True,
    "pretrain": {"epochs": 8, "batch": 64, "lr": 0.1, "padding": 2, "flip": False, "jitter": 0.2},
    "optimizer": {"epochs": 12, "steps_per_epoch": 250, "drop_epochs": (4, 8, 11)},
}
_PHOTOGRAPHS: dict[str, Any] = {
    "image_size": 84,
    "crop": 80,
    "final_relu": False,
    "pretrain": {"epochs": 16, "batch": 128, "lr": 0.1, "padding": 4, "flip": True, "jitter": 0.2},
    "optimizer": {"epochs": 60, "steps_per_epoch": 1000, "drop_epochs": (10, 25, 50)},
}
_RECIPES: dict[str, dict[str, Any]] = {
    "glyphs": _GLYPHS,
    "mini_imagenet": _PHOTOGRAPHS,
    "cifar_fs": {**_PHOTOGRAPHS, "image_size": 32, "crop": 32},
    "omniglot": _GLYPHS,
    "folder": _PHOTOGRAPHS,
}


# The setting "lwof": k novel classes beside the training classes. RESULTS.md has what was tried.
WITHOUT_FORGETTING: dict[str, Any] = {
    "setting": "lwof",
    "prior": "mixture",
    "base_summary": "none",
    "base_holdout": 1 / 6,  # 100 of mini-ImageNet's 600
    "elbo": {"beta": 0.0},
}


class ConfigError(UserError):
    """A config that cannot run; the message names the field, what was got and what is wanted."""


def default(dataset: str = "glyphs", setting: str = "standard") -> ml_collections.ConfigDict:
    """The paper's recipe, its schedules scaled to the data set.

    Args:
      dataset: one of `DATASETS`.
      setting: "standard", or "lwof" for learning without forgetting.

    Returns:
      A config that `check` accepts; experiments change a few of its fields.
    """
    if dataset not in DATASETS:
        raise ConfigError(f"unknown data set {dataset!r}; known are {', '.join(DATASETS)}")
    recipe = _RECIPES[dataset]
    c = ml_collections.ConfigDict()

    c.seed = 0  # every random choice is a function of it
    c.dataset = dataset
    c.data_dir = ""  # where the user's data lie; the flag --data_dir fills it
    c.image_size = recipe["image_size"]  # pixels; images are stored as squares of this size
    c.crop = recipe["crop"]  # pixels that the backbone sees: random in training, else central
    c.split_ratios = (0.64, 0.16, 0.20)  # train, val, test by class, for a folder without splits

    c.setting = "standard"  # k novel classes; or lwof: k novel classes beside the training classes
    c.base_holdout = 0.0  # share of each training class's images kept for base queries
    c.base_summary = "logsumexp"  # what xi sees of the base logits: logsumexp, max, none
    c.ways = 5  # classes of an episode
    c.shots = 1  # support examples of each class
    c.queries = 15  # unlabelled queries of each class

    c.backbone = "conv4_64"  # conv4_64, conv4_128, wrn_28_10
    c.final_relu = recipe["final_relu"]  # of Conv4: the official code has it, Gidaris's does not
    c.dtype = "float32"  # of the backbone's computation; bfloat16 on accelerators
    c.backbone_file = ""  # a backbone .npz of ours or an official .pth: skips pretraining

    c.pretrain = ml_collections.ConfigDict()
    c.pretrain.epochs = recipe["pretrain"]["epochs"]
    c.pretrain.batch = recipe["pretrain"]["batch"]  # images a step
    c.pretrain.lr = recipe["pretrain"]["lr"]  # peak of the one-cycle schedule
    c.pretrain.momentum = 0.9  # Nesterov
    c.pretrain.weight_decay = 5e-4
    c.pretrain.padding = recipe["pretrain"]["padding"]  # pixels around the image before the crop
    c.pretrain.flip = recipe["pretrain"]["flip"]  # mirror half of the images
    c.pretrain.jitter = recipe["pretrain"]["jitter"]  # +- share of brightness, contrast, saturation
    c.pretrain.val_images = 100  # images of each validation class that choose the epoch
    c.pretrain.val_tasks = 500  # 5-way 1-shot tasks of validation classes that choose the epoch

    c.posterior = "point"  # q(w): point for a point mass, or gaussian (RESULTS.md compares them)
    c.prior = "none"  # p(w): none for no KL term, gaussian; lwof: mixture of the base classes
    c.learn_prior = True  # False keeps the prior as it starts
    c.init_net = "support"  # theta^0 from: support, query, global
    c.classifier = "cosine"  # cosine, dot
    c.initial_std = 0.01  # of a Gaussian posterior, before training
    c.prior_std = 1.0  # of the prior, before training

    c.inner = ml_collections.ConfigDict()
    c.inner.steps = 3  # T of eq. 9
    c.inner.step_size = 1e-3  # eta
    c.inner.samples = 1  # S, samples of a Gaussian posterior in each step
    c.inner.checkpoint = False  # recompute each step in the backward pass: for large T

    # A whole table: pairs of a run's name and a dict of the fields in which it differs.
    c.runs = ()

    c.compare_steps = (0,)  # further values of T, each meta-trained and evaluated for itself

    c.elbo = ml_collections.ConfigDict()
    c.elbo.beta = 1e-4  # weight of the KL term where there is a prior; 1 is the paper's bound

    c.optimizer = ml_collections.ConfigDict()
    c.optimizer.name = "adam"  # adam, or sgd for SGD-Nesterov
    c.optimizer.lr = 1e-3
    c.optimizer.momentum = 0.9  # of sgd
    c.optimizer.weight_decay = 0.0  # added to the gradient
    c.optimizer.batch = 8  # episodes a step
    c.optimizer.epochs = recipe["optimizer"]["epochs"]
    c.optimizer.steps_per_epoch = recipe["optimizer"]["steps_per_epoch"]
    c.optimizer.drop_epochs = recipe["optimizer"]["drop_epochs"]  # where lr is multiplied ...
    c.optimizer.drop_factor = 0.1  # ... by this
    c.optimizer.val_tasks = 500  # tasks of validation classes that choose the epoch

    c.eval = ml_collections.ConfigDict()
    c.eval.splits = ("val", "test")
    c.eval.val_tasks = 2000
    c.eval.test_tasks = 600
    c.eval.batch = 50  # tasks evaluated at once

    c.tensorboard = False  # also write TensorBoard files (needs the extra of that name)
    if setting == "lwof":
        c.update(WITHOUT_FORGETTING)
    return c


def of_runs(config: ml_collections.ConfigDict) -> dict[str, ml_collections.ConfigDict]:
    """The config of each of `config.runs`: the shared one, with the fields that the run changes."""
    configs = {}
    for name, changes in config.runs:
        configs[name] = copy.deepcopy(config)
        with configs[name].unlocked():
            configs[name].update(changes)
            configs[name].runs = ()
    return configs


_CHOICES = {
    "dataset": DATASETS,
    "setting": ("standard", "lwof"),
    "posterior": ("gaussian", "point"),
    "prior": ("gaussian", "none", "mixture"),
    "base_summary": ("logsumexp", "max", "none"),
    "init_net": ("support", "query", "global"),
    "classifier": ("cosine", "dot"),
    "dtype": ("float32", "bfloat16"),
    "optimizer.name": ("adam", "sgd"),
}
_AT_LEAST = {
    "image_size": 1,
    "crop": 1,
    "ways": 2,
    "shots": 1,
    "queries": 1,
    "pretrain.epochs": 1,
    "pretrain.batch": 2,
    "pretrain.padding": 0,
    "pretrain.val_images": 2,
    "pretrain.val_tasks": 2,
    "inner.steps": 0,
    "inner.samples": 1,
    "optimizer.batch": 1,
    "optimizer.epochs": 1,
    "optimizer.steps_per_epoch": 1,
    "optimizer.val_tasks": 2,
    "eval.val_tasks": 2,
    "eval.test_tasks": 2,
    "eval.batch": 1,
}
_ABOVE_ZERO = (
    "pretrain.lr",
    "inner.step_size",
    "initial_std",
    "prior_std",
    "optimizer.lr",
    "optimizer.drop_factor",
)
_NOT_NEGATIVE = ("pretrain.weight_decay", "pretrain.jitter", "elbo.beta", "optimizer.weight_decay")


def check(config: ml_collections.ConfigDict) -> None:
    """Raises `ConfigError` for the first field whose value cannot work."""
    for one in of_runs(config).values():
        check(one)
    _check_fields(config.to_dict(), default().to_dict(), "")
    for field, choices in _CHOICES.items():
        if _get(config, field) not in choices:
            _fail(config, field, f"one of {', '.join(choices)}")
    for field, least in _AT_LEAST.items():
        if _get(config, field) < least:
            _fail(config, field, f"{least} or more")
    for field in _ABOVE_ZERO:
        if not _get(config, field) > 0:
            _fail(config, field, "above 0")
    for field in _NOT_NEGATIVE:
        if not _get(config, field) >= 0:
            _fail(config, field, "0 or more")
    if any(not isinstance(t, int) or t < 0 for t in config.compare_steps):
        _fail(config, "compare_steps", "values of T, each 0 or more")
    if not config.eval.splits or not set(config.eval.splits) <= {"val", "test"}:
        _fail(config, "eval.splits", "val, test or both")
    if config.crop > config.image_size + 2 * config.pretrain.padding:
        _fail(config, "crop", f"no larger than image_size={config.image_size} and its padding")
    if (config.setting == "lwof") != (config.prior == "mixture"):
        wanted = "mixture" if config.setting == "lwof" else "gaussian or none"
        _fail(config, "prior", f"{wanted} where setting={config.setting}")
    if not 0 <= config.base_holdout < 1 or (config.setting == "lwof" and not config.base_holdout):
        _fail(config, "base_holdout", "at least 0 and below 1, and above 0 where setting=lwof")
    if config.prior == "none" and config.posterior == "gaussian":
        _fail(config, "prior", "gaussian where posterior=gaussian: without a KL term it collapses")


def describe(field: str, value: object, wanted: str) -> str:
    """The one form of message for a mistaken field."""
    return f"config.{field} is {value!r}, but must be {wanted}"


def _get(config: ml_collections.ConfigDict, field: str) -> Any:
    value: Any = config
    for part in field.split("."):
        value = value[part]
    return value


def _fail(config: ml_collections.ConfigDict, field: str, wanted: str) -> None:
    raise ConfigError(describe(field, _get(config, field), wanted))


def _check_fields(got: dict[str, Any], known: dict[str, Any], prefix: str) -> None:
    for name in sorted(got.keys() | known.keys()):
        if name not in known:
            raise ConfigError(
                f"unknown field config.{prefix}{name}; known there are {', '.join(sorted(known))}"
            )
        if name not in got:
            raise ConfigError(f"config.{prefix}{name} is missing")
        if isinstance(known[name], dict):
            _check_fields(got[name], known[name], f"{prefix}{name}.")
