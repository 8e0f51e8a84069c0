"""`sib_jax.load`: a predictor from the files of a run, or from a backbone and a method.

sib_jax.load("runs/5w1s-glyphs-seed0")
sib_jax.load(backbone="mini_imagenet-conv4_128", method="soft_kmeans")
"""

import contextlib
import functools
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ml_collections
from flax.traverse_util import flatten_dict, unflatten_dict

from sib_jax import config as configs
from sib_jax import number
from sib_jax.backbones import Backbone, own, pretrained
from sib_jax.backbones.encoder import Encode, Encoder, open_encoder
from sib_jax.backbones.pretrained import Pretrained
from sib_jax.config import ConfigError
from sib_jax.errors import UserError
from sib_jax.experiment import head_file, run_files, settings
from sib_jax.experiment.predictor import Predictor, TrainedHead
from sib_jax.methods import METHODS, Method, contract, is_own, sib_plus
from sib_jax.methods.method import parameter_shapes
from sib_jax.report import results
from sib_jax.runtime import shipped, weights
from sib_jax.runtime.where import where
from sib_jax.runtime.words import one_line, shown, why_lacking
from sib_jax.sib.params import Params
from sib_jax.tasks.setting import has_base

_DEFAULT = "soft_kmeans"
_CENTRED = ("soft_kmeans", "sinkhorn_kmeans")  # where features are of another model than ours
_SHIPPED = "sib_plus"  # the method of the heads that ship with backbones
_FOR_PHOTOGRAPHS = "mini_imagenet-conv4_128"
_MOST_WAYS = 20  # of such a head: it learned from 2 to 20
_OFFICIAL_SIZES = (32, 80)  # what the official code's backbones see
_STORED = {80: 84}  # crop -> pixels of the stored images, where a backbone's file does not say


def load(
    workdir: str | os.PathLike[str] | None = None,
    head: str | None = None,
    *,
    steps: int | None = None,
    backbone: str | os.PathLike[str] | None = None,
    method: str | None = None,
    image_size: int | None = None,
    ways: int | None = None,
    encoder: str | os.PathLike[str] | Encode | None = None,
) -> Predictor:
    """A predictor from a finished run, from just a backbone or an encoder, or for features.

    Args:
      workdir: of a run, by `python -m sib_jax.main`.
      head: which of its heads; by default the one with the best Novel accuracy on validation.
      steps: T, which chooses among heads of SIB in place of `head`.
      backbone: without a run: the name of a shipped backbone, such as "mini_imagenet-conv4_128", an
        .npz of ours or an official .pth. Of an official netSIB*.pth, `method="sib"` takes the head.
      method: without a run: one that needs no training, or "sib_plus", for which some shipped
        backbones have a head for up to 20 classes. By default "sib_plus" where there is such a head
        and `ways` is at most 20, and "soft_kmeans" otherwise. Without a run, a backbone or an
        encoder, the predictor takes features of any model, which k-means then centres.
      image_size: without a run: pixels that images are scaled to before the backbone's crop.
      ways: how many classes there will be; a head that serves them is preferred.
      encoder: in place of a backbone, without a run or with one on features that it made: a
        function from a list of Pillow images in RGB to features [n, d]; a Python file that defines
        it as `encode`; or "timm:MODEL".

    Returns:
      `predictor(support_images, support_labels, query_images)` -> probabilities [n, k], see
      `Predictor`.

    Raises:
      UserError: there is no such run, head, backbone, encoder or method; the message says what
        there is.

    Examples:
      >>> predictor = load(backbone="mini_imagenet-conv4_128")
      >>> predictor.classes(["cat", "dog", "cat"])
      ('cat', 'dog')
    """
    for name, value in {"steps": steps, "image_size": image_size, "ways": ways}.items():
        if value is not None and not number.is_whole(value):
            raise ConfigError(f"{name} must be a whole number, got {value!r}")
    if ways is not None and ways < 2:
        raise ConfigError(f"ways must be 2 or more, got {ways}")
    if workdir is None and backbone is None and encoder is None and method is None:
        raise ConfigError(
            "there is nothing to load: give a workdir, backbone=NAME_OR_FILE, encoder=, or, for "
            "features, method="
        )
    if backbone is not None and encoder is not None:
        raise ConfigError("encoder takes the place of backbone: give only one of them")
    if workdir is not None:
        if backbone is not None or method is not None or image_size is not None:
            raise ConfigError(
                "backbone, method and image_size are for use without a run, which has its own: "
                "leave them out"
            )
        return _of_run(Path(os.path.expanduser(workdir)), head, steps, ways, encoder)
    if head is not None:
        raise ConfigError("head chooses among the heads of a run: give the run")
    if backbone is not None:
        return _of_backbone(backbone, method, steps, image_size, ways)
    if image_size is not None:
        raise ConfigError("image_size is only for use with a backbone")
    untrained = _untrained(method or _DEFAULT, steps, foreign=True)
    return Predictor(untrained, None, 0, encoder=_opened(encoder))


def _opened(encoder: str | os.PathLike[str] | Encode | None) -> Encoder | None:
    return None if encoder is None else open_encoder(encoder)


def _of_run(
    workdir: Path,
    name: str | None,
    steps: int | None,
    ways: int | None,
    encoder: str | os.PathLike[str] | Encode | None,
) -> Predictor:
    own.forget()
    config = read_config(workdir)
    heads = configs.heads(config)
    names = _eligible(workdir, heads, name, steps)
    found = backbone_of(workdir, config)
    if found is not None and encoder is not None:
        raise ConfigError(
            f"{shown(workdir)} has its own backbone: leave encoder out, or give a run on features "
            "that the encoder made"
        )
    names = [n for n in names if _is_ready(workdir, n, heads[n])] or names
    name = best = _best(workdir, names)
    notes = []
    if ways is not None:
        name = _best(workdir, [n for n in names if _ways_of(heads[n]) in (None, ways)] or names)
    if name != best:
        notes.append(
            f"head {best} would come first, but it is only for {_ways_of(heads[best])} classes; "
            f"here are {ways}"
        )
    if config.dataset == "glyphs":
        notes.append(
            "this run's backbone learned from drawn characters (glyphs); for photographs give "
            f"--backbone={_FOR_PHOTOGRAPHS} in place of --run"
        )
    head = _head(name, heads[name], workdir, found.backbone.program if found else "")
    remedy = functools.partial(_remedy, workdir, heads, found)
    return Predictor(head, found, config.image_size, remedy, _opened(encoder), tuple(notes))


def read_config(workdir: Path) -> ml_collections.ConfigDict:
    """The config of a run; fields that its version did not know have their defaults.

    Raises:
      ConfigError: there is no run, or its version had other fields.
    """
    path = workdir / run_files.CONFIG
    if not path.is_file():
        what = why_lacking(workdir, f"holds no run: it has no {run_files.CONFIG}")
        raise ConfigError(f"{shown(workdir)} {what}; give the --workdir of a finished run")
    try:
        stored = run_files.completed(json.loads(path.read_text()))
        heads = tuple((name, changes) for name, changes in stored["heads"])
        named = {stored["method"], *(changes.get("method") for _, changes in heads)}
        groups = {field.split(".")[0] for field in configs.fields()} | named
        flat = flatten_dict(stored, sep=".").items()
        # Methods of the user's own that were known then and are not needed need not be known now.
        values = {k: _tuples(v) for k, v in flat if "." not in k or k.split(".")[0] in groups}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{shown(path)} is not the config of a run ({shown(str(error))})"
        ) from error
    config = ml_collections.ConfigDict(unflatten_dict(values | {"heads": heads}, sep="."))
    checked = config.copy_and_resolve_references()
    if str(config.dataset).isidentifier():  # one of the user's own need not be known to predict
        checked.dataset = "folder"
    configs.check(checked)
    return config


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _eligible(
    workdir: Path, heads: dict[str, Any], name: str | None, steps: int | None
) -> list[str]:
    """The names of the heads that were asked for; all of them where none was."""
    if name is not None and steps is not None:
        raise ConfigError("head and steps both choose the head: give only one of them")
    if name is not None:
        if name not in heads:
            raise ConfigError(f"{shown(workdir)} has no head {name!r}; it has {', '.join(heads)}")
        return [name]
    names = list(heads)
    if steps is not None:
        of_sib = {n: c.inner.steps for n, c in heads.items() if c.method == "sib"}
        names = [n for n, t in of_sib.items() if t == steps]
        if not names:
            there = ", ".join(f"T = {t} ({n})" for n, t in of_sib.items()) or "none"
            raise ConfigError(
                f"{shown(workdir)} has no head of SIB with T = {steps}; there is {there}"
            )
    return names


def _best(workdir: Path, names: Sequence[str]) -> str:
    """The head with the best Novel accuracy on validation; the last head where none is known."""
    try:
        rows = json.loads((workdir / results.FILE).read_text())
        of_val = {r["head"]: r["novel"]["mean"] for r in rows if r["split"] == "val"}
    except (OSError, ValueError, KeyError, TypeError):
        of_val = {}
    return max(reversed(names), key=lambda name: of_val.get(name, -1.0))


def _is_ready(workdir: Path, name: str, config: Any) -> bool:
    return not settings.method_of(config).keeps or run_files.params_file(workdir, name).is_file()


def backbone_of(workdir: Path, config: Any) -> Pretrained | None:
    """The backbone of a finished run; None where the run is on features.

    Raises:
      ConfigError: the run has none yet.
    """
    if config.dataset == "features":
        return None
    path = workdir / run_files.BACKBONE
    if all(settings.method_of(c).reads == "images" for c in configs.heads(config).values()):
        raise ConfigError(
            f"all heads of {shown(workdir)} learn from images, but predictions and features need a "
            "head on features; give a run that has one"
        )
    if not path.is_file():
        raise ConfigError(
            f"{shown(workdir)} has no {run_files.BACKBONE}: the run has not finished; start it "
            "again with the same command"
        )
    channels = len(weights.about(path)["preprocessing"]["mean"])
    of = settings.BackboneSettings(
        config.backbone, config.crop, config.final_relu, config.dtype, "", config.mirror_features
    )
    return pretrained.load(path, settings.make_backbone(of, channels))


def _head(name: str, config: Any, workdir: Path, of_backbone: str) -> TrainedHead:
    method = settings.method_of(config)
    path = run_files.params_file(workdir, name)
    if method.keeps and not path.is_file():
        raise ConfigError(
            f"head {name} of {shown(workdir)} is not {'trained' if method.trained else 'fitted'} "
            "yet; start the run again with the same command"
        )
    make = functools.partial(settings.method_of, config)
    if not method.keeps:
        return TrainedHead(name, make, {}, ways=None)
    stored = head_file.load(path, method)
    if is_own(config.method) or of_backbone:
        head = settings.head(name, config)
        program = head_file.program(head, stored.input_shape, of_backbone)
        head_file.tell_of_other_code(path, method.name, program)
    return TrainedHead(
        name=name,
        make=make,
        params=stored.params,
        ways=_ways_of(config),
        features=_length(method, stored.input_shape),
        base=stored.base_classes if has_base(config.setting) else (),
        input_shape=stored.input_shape,
    )


def _length(method: Method, shape: tuple[int, ...]) -> int | None:
    """Length of the features that the parameters are for; None where they serve any length."""
    if method.reads == "images":
        return None
    length = shape[0]
    one, other = (parameter_shapes(method, (d,), 1) for d in (length, length + 1))
    return None if one == other else length


def _ways_of(config: Any) -> int | None:
    """The number of classes that the parameters are for; None for any."""
    if config.method == "sib" and config.inner.steps == 0:
        return None
    one, other = (settings.method_of(config, ways) for ways in (config.ways, config.ways + 1))
    return None if settings.share_parameters(config, one, other) else config.ways


def _remedy(workdir: Path, heads: dict[str, Any], found: Pretrained | None) -> str:
    """What to do for other numbers of classes, in words."""
    any_ways = []
    for name, config in heads.items():
        if _is_ready(workdir, name, config) and _ways_of(config) is None:
            any_ways.append(name)
    choices = [f"choose head {' or '.join(any_ways)}"] if any_ways else []
    choices.append("train one with --config.ways")
    if found is not None:
        choices.append(
            f"use just the backbone, {shown(workdir / run_files.BACKBONE)}, with a method that "
            f"serves any number, such as {_DEFAULT}"
        )
    return f"; {', or '.join(choices)}"


def open_backbone(
    backbone: str | os.PathLike[str], size: int | None = None
) -> tuple[Pretrained, int]:
    """A backbone without its run, and the pixels that images are scaled to before its crop.

    Args:
      backbone: see `load`.
      size: those pixels; by default what suits the backbone's crop.

    Raises:
      UserError: there is no such backbone, or its crop is larger than `size`.
    """
    found = pretrained.open_file(backbone, image_size=min(size or 80, 80))
    crop = found.preprocessing.crop
    if size is not None and size < crop:
        raise ConfigError(
            f"the backbone takes images of {crop} pixels, but image_size is {size}; give {crop} or "
            "more"
        )
    return found, size or _STORED.get(crop, crop)


def _of_backbone(
    backbone: str | os.PathLike[str],
    method: str | None,
    steps: int | None,
    size: int | None,
    ways: int | None,
) -> Predictor:
    found, size = open_backbone(backbone, size)
    shipped_head = _shipped_head(backbone)
    few = ways is not None and ways <= _MOST_WAYS
    method = method or (_SHIPPED if shipped_head and few else _DEFAULT)
    if method == "sib":
        remedy = f"; use {backbone} with a method that serves any number, such as {_DEFAULT}"
        return Predictor(_official_head(backbone, steps, found), found, size, lambda: remedy)
    if method == _SHIPPED and shipped_head:
        _check_no_steps(method, steps)
        remedy = f"; choose a method that serves any number, such as {_DEFAULT}"
        return Predictor(_sib_plus_head(shipped_head, found), found, size, lambda: remedy)
    beside = (_SHIPPED,) if shipped_head else ()
    return Predictor(_untrained(method, steps, beside), found, size)


def untrained() -> tuple[str, ...]:
    """The methods that need no training, only features, including those that the user has added."""
    found = []
    for name in METHODS:
        with contextlib.suppress(UserError):  # of a user's method: raised where that is asked for
            found += [name] if _is_untrained(name) else []
    return tuple(found)


def _is_untrained(name: str) -> bool:
    """Whether a method needs no training; raises `UserError` where a user's cannot be made."""
    if name not in METHODS or name == "sib":
        return False
    try:
        method = METHODS[name].make(METHODS[name].settings(), 2)
    except Exception as error:
        if not is_own(name):
            raise
        said = f"{one_line(error)}{where(error)}"
        raise ConfigError(f"method {name!r} cannot be made for 2 classes: {said}") from error
    contract.check_method(name, method)
    return not method.keeps and method.reads == "features"


def _untrained(
    method: str, steps: int | None, beside: tuple[str, ...] = (), *, foreign: bool = False
) -> TrainedHead:
    """One of the methods that need no training.

    Args:
      method: its name.
      steps: what the user gave.
      beside: what else there is, for a message.
      foreign: whether the features are of a model other than ours; k-means centres these.
    """
    if not _is_untrained(method):
        known = "unknown" if method not in METHODS else "trained, so it needs a run"
        if method == _SHIPPED:
            known += f", or a backbone that ships with a head, {' or '.join(shipped.heads())}"
        there = ", ".join((*beside, *untrained()))
        hint = "" if method in METHODS else "; one of your own is known once its file is imported"
        raise ConfigError(f"method {method!r} is {known}; without a run there are {there}{hint}")
    _check_no_steps(method, steps)
    entry = METHODS[method]
    settings = entry.settings(**({"centre": True} if foreign and method in _CENTRED else {}))
    return TrainedHead(method, functools.partial(entry.make, settings), {}, None)


def _check_no_steps(method: str, steps: int | None) -> None:
    if steps is not None:
        raise ConfigError(f"steps chooses T of SIB, but the method is {method}: leave steps out")


def _shipped_head(backbone: str | os.PathLike[str]) -> Path | None:
    """The file of the head that ships with a shipped backbone, if one does."""
    file = Path(pretrained.located(backbone)).resolve()
    name = next((n for n, path in shipped.weights().items() if path == file), "")
    return shipped.heads().get(name)


def _sib_plus_head(path: Path, found: Pretrained) -> TrainedHead:
    settings = sib_plus.Settings(steps=weights.about(path)["steps"])
    make, length = functools.partial(sib_plus.make, settings), found.backbone.features
    params = weights.load(path, parameter_shapes(make(2), (length,), 0))
    return TrainedHead(_SHIPPED, make, params, None, features=length, most_ways=_MOST_WAYS)


def check_official_size(path: str | os.PathLike[str], params: Params, backbone: Backbone) -> None:
    """Raises `ConfigError` where the head is not for features of images of this size."""
    if params.features != backbone.features:
        sizes = [s for s in _OFFICIAL_SIZES if backbone.at(s).features == params.features]
        raise ConfigError(
            f"{path} has a head for features of length {params.features}, but for images of "
            f"{backbone.image_size} pixels its backbone gives {backbone.features}"
            + (f"; give image_size={sizes[0]}" if sizes else "")
        )


def _official_head(
    path: str | os.PathLike[str], steps: int | None, found: Pretrained
) -> TrainedHead:
    """The head of a netSIB*.pth, with its own T unless another is given."""
    from sib_jax import pytorch
    from sib_jax.methods import sib

    if not str(path).endswith(".pth"):
        raise ConfigError(
            f"method 'sib' is trained: it needs a run, or an official netSIB*.pth, not {path}"
        )
    if steps is not None and steps < 0:
        raise ConfigError(f"steps must be 0 or more, got {steps}")
    params = pytorch.load_head(path)
    check_official_size(path, params, found.backbone)
    inner = pytorch.load_inner(path)
    inner = inner if steps is None else inner._replace(steps=steps)
    ways = params.ways if inner.steps else None
    make = functools.partial(sib.make, sib.Settings(inner))
    return TrainedHead("official", make, params, ways, params.features)
