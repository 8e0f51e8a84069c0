"""Every hyper-parameter with its default, and the check that rejects a wrong config early."""

import difflib
import fnmatch
import functools
import re
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections
from flax.traverse_util import flatten_dict, unflatten_dict

from sib_jax.backbones import by_name
from sib_jax.data import own
from sib_jax.errors import UserError
from sib_jax.field import (
    Field,
    Kind,
    choice,
    each,
    flag,
    matching,
    meanings,
    number,
    of_type,
    several,
    text,
    whole,
)
from sib_jax.methods import METHODS
from sib_jax.runtime import seeds
from sib_jax.runtime.words import shown
from sib_jax.tasks import proportions
from sib_jax.tasks.setting import SETTINGS, has_base

DATASETS = ("glyphs", "mini_imagenet", "cifar_fs", "omniglot", "folder", "features")
_OF_A_FILE = "that a file of yours adds (--import=FILE.py)"
_BACKBONES = f"conv4_64, conv4_128, wrn_<depth>_<width> such as wrn_28_10, or one {_OF_A_FILE}"
_SPLITS = several(
    choice("val", "test"), "a tuple of val, test or both, each once", least=1, distinct=True
)
_EPOCHS = several(whole(0, 10**6), "a tuple of epochs, each 0 or more")
_RATIOS = several(number(0, 1e6, above=True), "a tuple of three numbers above 0", least=3, most=3)
_SIZES = several(
    each(whole(2, 10**4), whole(1, 10**5), whole(1, 10**5)),
    "a tuple of triples: ways (2 or more), shots and queries in all (1 or more)",
)
_COUNT = whole(1, 10**6)
_PIXELS = whole(1, 4096)
_SMALLER = whole(16, 4096)  # Conv4 halves an image four times
_GROWTH = several(
    each(_SMALLER, number(0, 1, above=True)),
    "a tuple of pairs: pixels (16 or more) and a share of the epochs",
)
_TASKS = whole(2, 10**7)
_POSITIVE = number(0, 1e6, above=True)
_NOT_NEGATIVE = number(0, 1e6)
_SHARE = Kind("at least 0 and below 1", lambda v: number(0, 1).fits(v) and v < 1)
_HEADS = several(
    Kind("", lambda v: isinstance(v, list | tuple) and len(v) == 2),
    "a tuple of pairs ('name', {'field': value, ...})",
)

# What all heads of an experiment share.
EXPERIMENT: dict[str, Field] = {
    "seed": Field(
        0, whole(0, seeds.LARGEST), "decides every random choice but that of `split_seed`"
    ),
    "dataset": Field(
        "glyphs",
        # Here and for backbones and methods asked anew each time: a user may add one.
        Kind(f"{', '.join(DATASETS)}, or one {_OF_A_FILE}", lambda v: v in _datasets()),
        "the data set",
    ),
    "data_dir": Field("", text(), "where the user's data are; the flag --data_dir sets it"),
    "image_size": Field(84, _PIXELS, "pixels; images are stored as squares of this size"),
    "crop": Field(
        80,
        _PIXELS,
        "pixels of the backbone's input: a random crop in training, else the central one",
    ),
    "split_ratios": Field(
        (0.64, 0.16, 0.20),
        _RATIOS,
        "shares of classes in train, val, test, for data without splits",
    ),
    "split_seed": Field(
        0, whole(0, seeds.LARGEST), "chooses those classes; no other seed changes them"
    ),
    "base_holdout": Field(
        0.0, _SHARE, "share of each training class's images kept as queries of base classes"
    ),
    "backbone": Field(
        "conv4_64",
        Kind(_BACKBONES, lambda v: isinstance(v, str) and by_name.is_known(v)),
        _BACKBONES,
    ),
    "final_relu": Field(
        False, flag(), "end the backbone in a ReLU, as in the official code but not Gidaris's Conv4"
    ),
    "dtype": Field(
        "float32",
        choice("float32", "bfloat16"),
        "type of the backbone's computation; bfloat16 is for accelerators",
    ),
    "mirror_features": Field(
        False, flag(), "average the features of an image and of its mirror image"
    ),
    "backbone_file": Field(
        "", text(), "a backbone .npz of ours or an official .pth: skips pretraining"
    ),
    "pretrain.epochs": Field(16, _COUNT, "epochs of pretraining"),
    "pretrain.start": Field(
        "", text(), "a backbone .npz of ours that training starts from, perhaps of smaller images"
    ),
    "pretrain.growth": Field(
        (),
        _GROWTH,
        "pairs (pixels, share): a first share of the epochs on images smaller than crop",
    ),
    "pretrain.average": Field(
        0.0, _SHARE, "share of a running average of the weights that each step keeps; 0 for none"
    ),
    "pretrain.batch": Field(128, whole(2, 10**5), "images a step"),
    "pretrain.lr": Field(0.1, _POSITIVE, "peak of the one-cycle schedule"),
    "pretrain.momentum": Field(0.9, _SHARE, "Nesterov momentum"),
    "pretrain.weight_decay": Field(5e-4, _NOT_NEGATIVE, "added to the gradient"),
    "pretrain.padding": Field(4, whole(0, 4096), "pixels around the image before the crop"),
    "pretrain.flip": Field(True, flag(), "mirror half of the images"),
    "pretrain.jitter": Field(0.2, number(0, 10), "+- share of brightness, contrast and saturation"),
    "pretrain.val_images": Field(
        100, whole(2, 10**6), "images of each validation class that choose the epoch"
    ),
    "pretrain.val_tasks": Field(
        500, _TASKS, "5-way 1-shot tasks of validation classes that choose the epoch"
    ),
    "eval.splits": Field(("val", "test"), _SPLITS, "what is evaluated"),
    "eval.val_tasks": Field(2000, _TASKS, "tasks of validation classes"),
    "eval.test_tasks": Field(600, _TASKS, "tasks of test classes"),
    "eval.batch": Field(50, whole(1, 10**5), "tasks evaluated at once"),
    "tensorboard": Field(
        False, flag(), "also write TensorBoard files (needs the extra of that name)"
    ),
    # Each is trained and evaluated, on the same tasks; none means one head, of the fields below.
    "heads": Field(
        (), _HEADS, "pairs of a head's name and a dict of the fields below that it changes"
    ),
}

# What each head may set for itself. Settings of methods other than SIB are in `of_methods`.
HEAD: dict[str, Field] = {
    "method": Field(
        "sib",
        Kind(f"one of {', '.join(METHODS)}", lambda v: isinstance(v, str) and v in METHODS),
        "what is trained and evaluated",
    ),
    "setting": Field(
        "standard",
        choice(*SETTINGS),
        "k novel classes; or lwof: k novel classes beside the training classes",
    ),
    "ways": Field(5, whole(2, 10**4), "classes of an episode"),
    "shots": Field(1, whole(1, 10**5), "support examples of each class"),
    "queries": Field(15, whole(1, 10**5), "unlabelled queries of each class"),
    "query_classes": Field(
        "balanced",
        matching(proportions.PATTERN, proportions.WANTED),
        "shares of the classes among all queries: equal, one class missing, or from a Dirichlet",
    ),
    "total_queries": Field(0, whole(0, 10**6), "queries of a task in all; 0 for ways * queries"),
    "support_classes": Field(
        "balanced",
        choice(proportions.BALANCED, proportions.UNEVEN),
        "balanced: shots of each class; uneven: ways * shots in all, at least one of each",
    ),
    "posterior": Field("point", choice("gaussian", "point"), "q(w): point is a point mass"),
    "prior": Field(
        "none",
        choice("gaussian", "none", "mixture"),
        "p(w): none for no KL term, or gaussian; lwof: a mixture of the base classes",
    ),
    "learn_prior": Field(True, flag(), "False keeps the prior as it starts"),
    "classifier": Field("cosine", choice("cosine", "dot"), "form of the likelihood"),
    "initial_std": Field(0.01, _POSITIVE, "std of a Gaussian posterior, before training"),
    "prior_std": Field(1.0, _POSITIVE, "std of the prior, before training"),
    "base_summary": Field(
        "none", choice("none", "max", "logsumexp"), "lwof: what xi gets of the base logits"
    ),
    "inner.steps": Field(3, whole(0, 10**5), "T of eq. 9"),
    "inner.step_size": Field(1e-3, _POSITIVE, "eta, the size of a step"),
    "inner.samples": Field(1, whole(1, 10**4), "S, samples of a Gaussian posterior in each step"),
    "inner.checkpoint": Field(
        False, flag(), "recompute each step in the backward pass: for large T"
    ),
    "elbo.beta": Field(
        1e-4, _NOT_NEGATIVE, "weight of the KL term where there is a prior; 1 is the paper's bound"
    ),
    "optimizer.name": Field("adam", choice("adam", "sgd"), "adam, or sgd for SGD-Nesterov"),
    "optimizer.lr": Field(1e-3, _POSITIVE, "learning rate"),
    "optimizer.momentum": Field(0.9, _SHARE, "momentum of sgd"),
    "optimizer.weight_decay": Field(0.0, _NOT_NEGATIVE, "added to the gradient"),
    "optimizer.batch": Field(8, whole(1, 10**5), "episodes a step"),
    "optimizer.ways": Field(
        0,
        Kind("0, or a whole number from 2 to 10,000", lambda v: v == 0 or whole(2, 10**4).fits(v)),
        "classes of training episodes, for methods that work with any number; 0 for ways",
    ),
    "optimizer.query_classes": Field(
        "same",
        matching(f"same|{proportions.PATTERN}", f"same, {proportions.WANTED}"),
        "query_classes of training episodes; same for those of evaluation",
    ),
    "optimizer.total_queries": Field(
        0, whole(0, 10**6), "total_queries of training episodes; 0 for those of evaluation"
    ),
    "optimizer.sizes_in_turn": Field(
        (), _SIZES, "triples of ways, shots and total_queries, which training steps take in turn"
    ),
    "optimizer.epochs": Field(60, _COUNT, "epochs of meta-training"),
    "optimizer.steps_per_epoch": Field(1000, _COUNT, "steps of an epoch"),
    "optimizer.drop_epochs": Field((10, 25, 50), _EPOCHS, "epochs at which lr drops"),
    "optimizer.drop_factor": Field(
        0.1, _POSITIVE, "what lr is multiplied by at each of drop_epochs"
    ),
    "optimizer.val_tasks": Field(500, _TASKS, "tasks of validation classes that choose the epoch"),
}

# What differs between data sets: the size of their images and how long training takes on them.
_DRAWINGS: dict[str, Any] = {
    "image_size": 32,
    "crop": 32,
    "final_relu": True,
    "pretrain.epochs": 8,
    "pretrain.batch": 64,
    "pretrain.padding": 2,
    "pretrain.flip": False,
    "optimizer.epochs": 12,
    "optimizer.steps_per_epoch": 250,
    "optimizer.drop_epochs": (4, 8, 11),
}
_OF_DATASET: dict[str, dict[str, Any]] = {
    "glyphs": _DRAWINGS,
    "omniglot": _DRAWINGS,
    "cifar_fs": {
        "image_size": 32,
        "crop": 32,
        "pretrain.epochs": 40,
        "pretrain.average": 0.999,
        "pretrain.jitter": 0.1,
    },
    # The paper's backbone; the shipped one grew in three such cycles (results/backbone_training).
    "mini_imagenet": {
        "backbone": "conv4_128",
        "pretrain.epochs": 36,
        "pretrain.growth": ((48, 0.5), (64, 0.3)),
        "pretrain.average": 0.999,
        "pretrain.lr": 0.08,
        "pretrain.padding": 8,
        "pretrain.jitter": 0.1,
    },
}

# Learning without forgetting. results/formulation.md has what was tried.
WITHOUT_FORGETTING: dict[str, Any] = {
    "setting": "lwof",
    "prior": "mixture",
    "base_summary": "none",
    "elbo.beta": 0.0,
}
BASE_HOLDOUT = 1 / 6  # 100 of mini-ImageNet's 600

# The recipe of the official code, whatever the data set; see experiments/official_5w1s.py.
OFFICIAL: dict[str, Any] = {
    "backbone": "conv4_64",
    "final_relu": True,
    "posterior": "point",
    "prior": "none",
    "elbo.beta": 0.0,
    "inner.steps": 3,
    "inner.step_size": 1e-3,
    "optimizer.name": "sgd",
    "optimizer.lr": 1e-3,
    "optimizer.momentum": 0.9,
    "optimizer.weight_decay": 5e-4,
    "optimizer.batch": 1,
    "optimizer.epochs": 50,
    "optimizer.steps_per_epoch": 1000,
    "optimizer.drop_epochs": (),
    "optimizer.val_tasks": 1000,
}

# Heads of three methods as their papers have them: centred by the mean of the base classes.
CENTRED_BY_BASE: dict[str, dict[str, Any]] = {
    "simple_shot_base": {
        "method": "simple_shot",
        "simple_shot.normalization": "CL2N",
        "simple_shot.centre": "base",
    },
    "bd_cspn_base": {"method": "bd_cspn", "bd_cspn.centre": "base"},
    "laplacian_shot_base": {"method": "laplacian_shot", "laplacian_shot.centre": "base"},
}

# Names of pretraining's stages: the last one, and those before it on smaller images.
PRETRAINING = re.compile(r"pretrain(_\d+_\d+px)?")
_NAME = re.compile(rf"(?!{PRETRAINING.pattern}$)[A-Za-z0-9_=+-][A-Za-z0-9._=+-]{{0,99}}")


class ConfigError(UserError):
    """A config that cannot run; the message names the field, what was got and what is wanted."""


def default(dataset: str = "glyphs", setting: str = "standard") -> ml_collections.ConfigDict:
    """Every field at its default, the schedules scaled to the data set.

    Args:
      dataset: one of `DATASETS`, or one that was registered.
      setting: "standard", or "lwof" for learning without forgetting.

    Returns:
      A config that `check` accepts; experiments change a few of its fields.

    Raises:
      ConfigError: `dataset` or `setting` is not one of these.
    """
    if setting not in SETTINGS:
        raise ConfigError(f"unknown setting {setting!r}; known are {', '.join(SETTINGS)}")
    if dataset not in _datasets():
        known = ", ".join(_datasets())
        raise ConfigError(f"unknown data set {dataset!r}; known are {known}; {own.ONCE_IMPORTED}")
    values = {name: field.default for name, field in fields().items()}
    of_own = own.OWN[dataset].defaults if dataset in own.OWN else {}
    values |= {"dataset": dataset, **_OF_DATASET.get(dataset, {}), **of_own}
    if has_base(setting):
        values |= {**WITHOUT_FORGETTING, "base_holdout": BASE_HOLDOUT}
    return ml_collections.ConfigDict(unflatten_dict(values, sep="."))


def _datasets() -> tuple[str, ...]:
    return (*DATASETS, *own.OWN)


def check_fields(values: Mapping[str, Any], what: str) -> None:
    """Checks values of fields that are named as "pretrain.epochs".

    Raises:
      ConfigError: there is no such field, or it cannot have that value; the message begins with
        `what`.
    """
    known = fields()
    for name, value in values.items():
        if name not in known:
            raise ConfigError(f"{what}: {_unknown(str(name))}")
        if not known[name].kind.fits(value):
            raise ConfigError(f"{what}: {describe(name, value, known[name].kind.wanted)}")


def fields() -> dict[str, Field]:
    """Every field by its name, such as "inner.steps"."""
    return EXPERIMENT | HEAD | of_methods()


def steps(*values: int) -> tuple[tuple[str, dict[str, Any]], ...]:
    """Heads of SIB that differ only in T, named T0, T1, ..."""
    return tuple((f"T{t}", {"inner.steps": t}) for t in values)


def heads(config: ml_collections.ConfigDict) -> dict[str, ml_collections.ConfigDict]:
    """The config of each head: the shared one, with the fields that the head changes."""
    if not config.heads:
        return {config.method: config}
    known, shared = fields(), config.copy_and_resolve_references()
    with shared.unlocked():
        shared.heads = ()
    found: dict[str, ml_collections.ConfigDict] = {}
    for name, changes in config.heads:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ConfigError(
                f"config.heads has a head named {_brief(name)}; a name is letters, "
                "digits and ._=+-, does not begin with a dot and is not pretrain"
            )
        if name in found:
            raise ConfigError(f"config.heads has two heads named {name!r}")
        if twins := [other for other in found if other.casefold() == name.casefold()]:
            raise ConfigError(
                f"config.heads has heads named {twins[0]!r} and {name!r}: on some disks these are "
                "one file; give them names that differ in more than capitals"
            )
        if not isinstance(changes, Mapping):
            raise ConfigError(
                f"config.heads: {name} must have a dict of fields, got {_brief(changes)}"
            )
        found[name] = shared.copy_and_resolve_references()
        for field, value in _flat_fields(name, changes).items():
            if field in EXPERIMENT and field != "seed":
                raise ConfigError(
                    f"config.heads: {name} changes {field}, which all heads of an experiment share"
                )
            if field not in known:
                raise ConfigError(f"config.heads: {name} has {_unknown(field)}")
            try:
                found[name].update_from_flattened_dict({field: value})
            except (TypeError, ValueError, OverflowError):
                raise ConfigError(
                    f"config.heads: {name}: {describe(field, value, known[field].kind.wanted)}"
                ) from None
    return found


def named(config: ml_collections.ConfigDict, wanted: Sequence[str]) -> list[str]:
    """The heads that patterns name, in the config's order.

    Args:
      config: one that `check` accepts.
      wanted: names of heads; in them * stands for any characters.

    Raises:
      ConfigError: there are none, or one fits no head.
    """
    names, wanted = list(heads(config)), [pattern for pattern in wanted if pattern]
    if not wanted:
        raise ConfigError("heads is empty: name at least one, or leave it out for all")
    for pattern in wanted:
        if not any(fnmatch.fnmatchcase(name, pattern) for name in names):
            raise ConfigError(
                f"heads: none is named {_brief(pattern)}; this experiment has {', '.join(names)}"
            )
    return [n for n in names if any(fnmatch.fnmatchcase(n, pattern) for pattern in wanted)]


def _flat_fields(head: str, changes: Mapping[Any, Any]) -> dict[str, Any]:
    try:
        return flatten_dict(dict(changes), sep=".")
    except TypeError:
        raise ConfigError(
            f"config.heads: {head} has a field that is not a name: {_brief(dict(changes))}"
        ) from None


def check(config: ml_collections.ConfigDict) -> None:
    """Raises `ConfigError` for the first field whose value cannot work."""
    known = fields()
    _check_values(config, known)
    for name, head in heads(config).items():
        where = f"head {name}: " if config.heads else ""
        try:
            _check_values(head, known)
            _check_together(head)
        except ConfigError as error:
            raise ConfigError(f"{where}{error}") from None


def describe(field: str, value: object, wanted: str) -> str:
    """The one form of message for a wrong field."""
    return f"config.{field} is {_brief(value)}, but must be {wanted}"


def _brief(value: object) -> str:
    """A value in one line of reasonable length."""
    try:
        text = shown(repr(value))
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= 200 else f"{text[:197]}..."


def flat(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Every value by the name of its field, such as "inner.steps"."""
    return flatten_dict(config.to_dict(), sep=".")


def _check_values(config: ml_collections.ConfigDict, known: Mapping[str, Field]) -> None:
    got = flat(config)
    for name in sorted(got.keys() - known.keys()):
        raise ConfigError(_unknown(name))
    for name, field in known.items():
        if name not in got:
            raise ConfigError(f"config.{name} is missing")
        if not field.kind.fits(got[name]):
            raise ConfigError(describe(name, got[name], field.kind.wanted))


def _check_together(c: ml_collections.ConfigDict) -> None:
    base = has_base(c.setting)
    if sum(share for _, share in c.pretrain.growth) >= 1 - 1e-6:
        wanted = "shares that sum to less than 1: the last epochs use whole crops"
        raise ConfigError(describe("pretrain.growth", c.pretrain.growth, wanted))
    if c.dataset == "glyphs" and c.image_size != 32:
        raise ConfigError(describe("image_size", c.image_size, "32: glyphs are drawn in that size"))
    if c.crop > c.image_size + 2 * c.pretrain.padding:
        wanted = f"no larger than image_size={c.image_size} and its padding"
        raise ConfigError(describe("crop", c.crop, wanted))
    if base and not c.base_holdout:
        wanted = f"above 0 where setting={c.setting}, to keep base images out of training"
        raise ConfigError(describe("base_holdout", c.base_holdout, wanted))
    if c.optimizer.sizes_in_turn and c.optimizer.ways:
        raise ConfigError(describe("optimizer.ways", c.optimizer.ways, "0 with sizes_in_turn"))
    if c.method != "sib":
        return
    if base != (c.prior == "mixture"):
        wanted = "mixture" if base else "gaussian or none"
        raise ConfigError(describe("prior", c.prior, f"{wanted} where setting={c.setting}"))
    if c.base_summary != "none" and c.prior != "mixture":
        wanted = "none where there are no base classes (setting=standard)"
        raise ConfigError(describe("base_summary", c.base_summary, wanted))
    if c.prior == "none" and c.posterior == "gaussian":
        wanted = "gaussian where posterior=gaussian: without a KL term it collapses"
        raise ConfigError(describe("prior", c.prior, wanted))


def of_methods() -> dict[str, Field]:
    """The fields of methods other than SIB, with their meaning, from their own files.

    Their types say what they may be; the method checks the rest when it is made, see
    `experiment.settings`.
    """
    return {
        f"{name}.{field}": known
        for name, entry in METHODS.items()
        if name != "sib"
        for field, known in _of_settings(entry.settings).items()
    }


@functools.cache
def _of_settings(settings: Any) -> dict[str, Field]:
    """The fields of a method's settings, with their meaning."""
    try:
        types = typing.get_type_hints(settings)
    except Exception:  # a name in quotes that is imported only for type checkers, or wrong
        types = dict(settings.__annotations__)
    meant = meanings(settings)
    return {
        field: Field(value, of_type(types.get(field), value), meant.get(field, ""))
        for field, value in settings()._asdict().items()
    }


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, fields(), 3) or [
        known for known in fields() if known.split(".")[0] == name.split(".")[0]
    ]
    hint = f"; similar: {', '.join(near)}" if near else ""
    if "." in name and not near:
        once = "; fields of a method of your own are known once the file that adds it is imported"
        hint = f"{once}: by the config file, or by --import=FILE.py"
    return f"unknown field config.{shown(name)}{hint}"
