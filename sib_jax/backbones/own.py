"""Backbones of the user's own: a name for a Flax module, and checks of what it gives."""

import dataclasses
import functools
import hashlib
import inspect
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.errors import InvalidRngError

from sib_jax import number
from sib_jax.backbones import conv4
from sib_jax.backbones.backbone import Backbone
from sib_jax.errors import UserError
from sib_jax.runtime import programs
from sib_jax.runtime.where import where
from sib_jax.runtime.words import one_line


class BackboneError(UserError):
    """A backbone is malformed, or gives what no job can use; the message says what is wanted."""


class Own(NamedTuple):
    """What `register` was given, and its number among all calls: a name may be given anew."""

    module: Callable[..., nn.Module]
    stride: int | None
    number: int


OWN: dict[str, Own] = {}
_NUMBERS = itertools.count()


def register(name: str, module: Callable[..., nn.Module], *, stride: int | None = None) -> None:
    """Adds a backbone of one's own, for `config.backbone` and `backbones.make` to name.

    Args:
      name: a word such as `conv2`.
      module: gives a Flax module from images [b, h, w, c], already normalised, to features [b, d];
        its `__call__` takes `train`, which says whether batch normalization uses the statistics of
        the batch. Called with those of the keywords `dtype` and `final_relu` that it has: a class
        of modules, or a function; not with those that a `functools.partial` has set.
      stride: pixels of a side of the image for each cell of the feature map, where the features are
        all its cells, in the order (channel, row, column); None where they are averages over it.

    Raises:
      BackboneError: one of these is not as above, or the name is taken; the message says what is
        wanted.
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise BackboneError(f"a backbone's name must be a word such as my_net, got {name!r}")
    if name in conv4.FILTERS or name.startswith("wrn_"):
        raise BackboneError(f"{name} is a name that sib_jax uses itself: give yours another")
    if not callable(module) or isinstance(module, nn.Module):
        raise BackboneError(
            f"module of {name} must be a class of flax.linen.Module, or a function that makes a "
            f"module, got {type(module).__name__}"
        )
    if stride is not None and not (number.is_whole(stride) and stride > 0):
        raise BackboneError(f"stride of {name} must be a whole number above 0, got {stride!r}")
    OWN[name] = Own(module, stride, next(_NUMBERS))


def make(
    name: str, image_size: int, channels: int, dtype: jnp.dtype, final_relu: bool | None
) -> Backbone:
    """The backbone that was registered as `name`; see `backbones.make`.

    Raises:
      BackboneError: it fails, or gives what no job can use; the message says what and where.
    """
    return _made(OWN[name].number, name, image_size, channels, dtype, final_relu)


def forget() -> None:
    """Backbones are made anew when they are asked for next: what they call may be another now."""
    _made.cache_clear()


@functools.lru_cache(maxsize=64)  # a job asks several times
def _made(
    number: int, name: str, image_size: int, channels: int, dtype: jnp.dtype, relu: bool | None
) -> Backbone:
    del number  # what is registered anew is made anew
    try:
        module = _module(name, dtype, relu)
        return _checked(module, name, image_size, channels)
    except BackboneError:
        raise
    except Exception as error:  # the user's code can fail in any way
        said = f"{name} cannot work: {one_line(error)}{where(error)}"
        if isinstance(error, InvalidRngError):
            said += "; no random numbers are given in training: leave dropout out"
        if "keyword argument 'train'" in str(error):
            said += "; its __call__ must take train"
        raise BackboneError(said) from error


def _module(name: str, dtype: jnp.dtype, final_relu: bool | None) -> nn.Module:
    make = OWN[name].module
    bound = make.keywords if isinstance(make, functools.partial) else {}
    takes = inspect.signature(make).parameters.keys() - bound.keys()
    given = {"dtype": dtype, "final_relu": final_relu}
    module = make(**{key: given[key] for key in takes & given.keys()})
    if not isinstance(module, nn.Module):
        raise BackboneError(
            f"module of {name} must give a flax.linen.Module, got a {type(module).__name__}"
        )
    if dtype != jnp.float32 and "dtype" not in takes:
        raise BackboneError(f"{name} takes no dtype: leave config.dtype at float32")
    try:
        hash(module)
    except TypeError as error:
        raise BackboneError(
            f"the fields of {name} must be hashable, such as tuples for lists: {one_line(error)}"
        ) from error
    return module


def _checked(module: nn.Module, name: str, image_size: int, channels: int) -> Backbone:
    own = OWN[name]
    # Two modules may be equal and compute different things: what jit has kept is not for both.
    backbone = Backbone(name, image_size, channels, 0, module, own.stride, str(next(_NUMBERS)))
    images = jax.ShapeDtypeStruct((2, image_size, image_size, channels), jnp.float32)
    key = jax.random.key(0, impl="threefry2x32")
    variables = jax.eval_shape(backbone.init, key)
    if others := sorted(variables.keys() - {"params", "batch_stats"}):
        raise BackboneError(
            f"{name} has variables {others[0]!r}, but only params and batch_stats are trained here"
        )
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        if leaf.dtype != jnp.float32:
            raise BackboneError(
                f"{name}: {jax.tree_util.keystr(path)} is {leaf.dtype}, but parameters and "
                "statistics must be float32 (dtype is of the computation, param_dtype of these)"
            )
    features = _features(
        backbone, jax.eval_shape(functools.partial(module.apply, train=False), variables, images)
    )
    learned, _ = jax.eval_shape(backbone.apply_train, variables, images)
    if learned.shape != (2, features):
        raise BackboneError(
            f"{name} gives {features} features in evaluation, but {list(learned.shape)} for 2 "
            "images in training (train=True)"
        )
    program = hashlib.sha256()
    given = (variables, images)
    for compute, of in (
        (backbone.init, (key,)),
        (backbone.apply, given),
        (backbone.apply_train, given),
    ):
        program.update(programs.text(compute, *of))
    return dataclasses.replace(backbone, features=features, program=program.hexdigest())


def _features(backbone: Backbone, found: Any) -> int:
    """How many features there are, from what the module gives for two images."""
    name, size = backbone.name, backbone.image_size
    shape = getattr(found, "shape", None)
    if shape is None or len(shape) != 2 or shape[0] != 2:
        given = f"a {type(found).__name__}" if shape is None else list(shape)
        raise BackboneError(
            f"{name} gives {given} for 2 images of {size} pixels, but must give [2, features]"
        )
    if not jnp.issubdtype(found.dtype, jnp.floating):
        raise BackboneError(f"{name} gives features of type {found.dtype}, but must give floats")
    if not shape[1]:
        raise BackboneError(
            f"{name} gives no features for images of {size} pixels: use larger ones"
        )
    if backbone.stride is not None:
        cells = (size // backbone.stride) ** 2
        if not cells or shape[1] % cells:
            raise BackboneError(
                f"{name} gives {shape[1]} features for images of {size} pixels, which is no "
                f"multiple of the {cells} cells that a stride of {backbone.stride} leaves: mend "
                "the stride (a side's cells are size // stride), or leave it out, which is for "
                "averages over the map and, without growth, for any features"
            )
    return int(shape[1])
