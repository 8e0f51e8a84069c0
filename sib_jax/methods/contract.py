"""Checks what a user's own method is and gives, before anything is trained with it."""

import functools
import hashlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sib_jax.errors import UserError
from sib_jax.methods.method import Classes, Method
from sib_jax.runtime import programs
from sib_jax.runtime.where import where
from sib_jax.runtime.words import one_line
from sib_jax.tasks.episode import Episode
from sib_jax.tasks.setting import SETTINGS, Task, has_base

_READS = ("features", "images")
_BASE = 3  # base classes for each way, when a method is tried


class MethodError(UserError):
    """A method is malformed, or gives what no job can use; the message says what is wanted."""


def check_settings(name: str, settings: Any, make: Any) -> None:
    """Checks that a method can be an entry of the registry.

    Raises:
      MethodError: it cannot.
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise MethodError(f"a method's name must be a word such as my_method, got {name!r}")
    defaults = getattr(settings, "_field_defaults", None)
    if not isinstance(settings, type) or not issubclass(settings, tuple) or defaults is None:
        raise MethodError(
            f"settings of {name} must be a class of typing.NamedTuple, got {settings!r}"
        )
    if lacking := sorted(set(getattr(settings, "_fields", ())) - set(defaults)):
        raise MethodError(f"settings of {name} must all have defaults; {lacking[0]} has none")
    if not callable(make):
        raise MethodError(f"make of {name} must be a function (settings, ways), got {make!r}")


def check_method(name: str, method: Any) -> None:
    """Checks that `make` gave a method that reads and serves what there is.

    Raises:
      MethodError: it did not.
    """
    if not isinstance(method, Method):
        raise MethodError(f"make of {name} must give a sib_jax.methods.Method, got {_kind(method)}")
    if method.reads not in _READS:
        raise MethodError(f"{name}: reads is {method.reads!r}, but must be {' or '.join(_READS)}")
    served = method.serves
    if not isinstance(served, tuple) or not served or set(served) - set(SETTINGS):
        known = ", ".join(SETTINGS)
        raise MethodError(f"{name}: serves is {served!r}, but must be a tuple of some of {known}")


def check(
    name: str, method: Method, task: Task, setting: str, *, features: int, size: int = 80
) -> None:
    """Traces a method on an episode of zeros; nothing is compiled or computed.

    Args:
      name: of the method, for messages.
      method: for `task.ways`.
      task: the size of the episode.
      setting: whether it has base classes.
      features: their length.
      size: pixels of images, if it reads images.

    Raises:
      MethodError: it fails there, or gives what no job can use; the message says what and where.
    """
    try:
        shape = (size, size, 3) if method.reads == "images" else (features,)
        jax.eval_shape(functools.partial(_program, name, method, task, setting, shape))
    except MethodError:
        raise
    except Exception as error:  # the user's code can fail in any way
        raise MethodError(f"{name} cannot work: {one_line(error)}{where(error)}") from error


def digest(method: Method, task: Task, setting: str, shape: tuple[int, ...]) -> str:
    """Digest of what a method computes: it changes where a user's code does.

    Args:
      method: for `task.ways`; `check` passes it.
      task: the size of the episode.
      setting: whether it has base classes.
      shape: of one input.
    """
    program = functools.partial(_program, method.name, method, task, setting, shape)
    return hashlib.sha256(programs.text(program)).hexdigest()


def _program(
    name: str, method: Method, task: Task, setting: str, shape: tuple[int, ...]
) -> tuple[Any, ...]:
    """What jobs ask of it, in their order."""
    images = method.reads == "images"
    base = 2 * task.ways if has_base(setting) else 0
    dtype = jnp.uint8 if images else jnp.float32

    def examples(count: int) -> tuple[jax.Array, jax.Array]:
        return jnp.zeros((count, *shape), dtype), jnp.arange(count) % task.ways

    queries = task.all_queries * (2 if base else 1)
    episode = Episode(
        *examples(task.ways * task.shots),
        *examples(queries),
        jnp.arange(base) if base else None,
    )
    classes = Classes(shape, _BASE * task.ways)
    if not images:
        weights, mean = jnp.zeros((classes.base, *shape)), jnp.zeros(shape)
        classes = classes._replace(base_weights=weights, base_mean=mean)
    key = jax.random.key(0)
    params = method.init(key, classes)
    _check_params(name, method, params)
    found = method.logits(params, episode, key)
    wanted = (queries, task.ways + base)
    if getattr(found, "shape", None) != wanted:
        columns = "a column for each class" + (", those of base classes last" if base else "")
        raise MethodError(
            f"{name}: logits of {queries} queries among {wanted[1]} classes must be an array of "
            f"shape {list(wanted)}, a row for each query and {columns}; got {_kind(found)}"
        )
    if method.loss is None:
        return params, found
    computed = (params, found, _checked_loss(name, method.loss, params, episode, key))
    frozen = method.frozen and _checked_frozen(name, method.frozen, params)
    return computed if not any(jax.tree.leaves(frozen)) else (*computed, frozen)


def _check_params(name: str, method: Method, params: Any) -> None:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    for path, leaf in leaves:
        is_array = isinstance(leaf, jax.Array | np.ndarray)
        if not is_array or leaf.dtype.kind != "f":  # bfloat16 is none: no .npz can hold it
            raise MethodError(
                f"{name}: init must give a pytree of float arrays, but "
                f"{jax.tree_util.keystr(path) or 'it'} is {_kind(leaf)}; jnp.asarray(x, "
                "jnp.float32) makes one"
            )
    if leaves and not method.keeps:
        raise MethodError(
            f"{name} has parameters, but neither a loss that trains them nor fitted=True, which "
            "keeps what init computes from the base classes"
        )
    if method.trained and not leaves:
        raise MethodError(f"{name} has a loss, but init gives no parameters for it to train")


def _checked_frozen(name: str, frozen: Callable[[Any], Any], params: Any) -> Any:
    """A flag for each array."""
    found = frozen(params)
    try:  # one flag may be for many arrays
        whole = jax.tree.map(lambda flag, of: jax.tree.map(lambda _: flag, of), found, params)
        fits = all(isinstance(flag, bool | np.bool_) for flag in jax.tree.leaves(found))
    except (ValueError, TypeError):
        fits = False
    if not fits:
        raise MethodError(
            f"{name}: frozen must give a pytree like the parameters, with True or False for each "
            f"array; got {found!r:.200}"
        )
    return whole


def _checked_loss(
    name: str, loss: Callable[..., Any], params: Any, episode: Episode, key: jax.Array
) -> Any:
    found = loss(params, episode, key)
    if not isinstance(found, tuple) or len(found) != 2 or not isinstance(found[1], dict):
        raise MethodError(
            f"{name}: loss must give (loss, {{name: scalar}}), got {_kind(found)}; "
            "sib_jax.methods.method.cross_entropy(logits) makes one"
        )
    if "accuracy" not in found[1]:
        raise MethodError(f"{name}: what loss gives to log must include 'accuracy', 0 to 1")
    for what, value in {"loss": found[0], **found[1]}.items():
        if np.shape(value) != ():
            raise MethodError(f"{name}: loss must give scalars, but {what} is {_kind(value)}")
    return found


def _kind(value: Any) -> str:
    shape = getattr(value, "shape", None)
    if shape is None or value is None:
        return "None" if value is None else f"a {type(value).__name__}"
    return f"{value.dtype} {list(shape)}"
