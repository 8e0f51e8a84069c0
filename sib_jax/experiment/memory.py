"""Checks, before any work, that the batches of a config can fit into memory."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

from sib_jax.backbones import Backbone
from sib_jax.config import ConfigError, default, flat
from sib_jax.experiment import settings
from sib_jax.experiment.settings import Experiment
from sib_jax.tasks.setting import Setting


def check(
    experiment: Experiment,
    features: int | None = None,
    available: Callable[[], int | None] | None = None,
) -> None:
    """Compares the least memory that batches need with what is free; a default is never refused.

    Args:
      experiment: on images, unless `features` is given.
      features: length of a feature, where the data are features already.
      available: returns free bytes, or None where they are unknown.

    Raises:
      ConfigError: a batch needs more than there is.
    """
    room = (available or free_bytes)()
    if room is None:
        return
    usual = flat(default(experiment.data.name))
    for field, (batch, each) in _needs(experiment, features, usual).items():
        need = batch * each
        most = max(usual[field], room // each)
        if need > room:
            raise ConfigError(
                f"config.{field} is {batch}, which needs at least {need / 1e9:,.1f} GB of memory, "
                f"but only {room / 1e9:,.1f} GB are available; choose at most {most}"
            )


def free_bytes(*, of_one: bool = False) -> int | None:
    """Memory for arrays: of the accelerators, or what the system can give; None if not known.

    Args:
      of_one: of the first accelerator alone, not of those of all processes, which are alike.
    """
    if jax.default_backend() != "cpu":
        found = [device.memory_stats() or {} for device in jax.local_devices()]
        free = [stats.get("bytes_limit", 0) - stats.get("bytes_in_use", 0) for stats in found]
        return (free[0] if of_one else jax.process_count() * sum(free)) or None
    known = []
    with contextlib.suppress(OSError, ValueError, IndexError):
        text = Path("/proc/meminfo").read_text()
        known.append(1024 * int(text.split("MemAvailable:")[1].split()[0]))
    with contextlib.suppress(OSError, ValueError, AttributeError):
        known.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with contextlib.suppress(OSError, ValueError):  # "max" where a container has no limit
        known.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(known, default=None)


def _needs(
    experiment: Experiment, features: int | None, usual: dict[str, Any]
) -> dict[str, tuple[int, int]]:
    """For each field above its default: the batch, and the least bytes that one item needs."""
    found: dict[str, tuple[int, int]] = {}
    image = 3 * experiment.data.image_size**2
    if features is None:
        backbone = settings.before_data(experiment.backbone)
        features = backbone.features
        batch = experiment.pretraining.batch
        if batch > usual["pretrain.batch"] and not experiment.backbone.file:
            found["pretrain.batch"] = batch, _of_convolutions(backbone, experiment.backbone.crop)
    for head in experiment.heads:
        size = image if head.method.reads == "images" else 4 * features
        batches = {"eval.batch": (experiment.evaluation.batch, head.setting)}
        if head.method.trained:
            largest = max((lesson.setting for lesson in head.learns_from), key=_images)
            batches["optimizer.batch"] = head.training.batch, largest
        for field, (batch, setting) in batches.items():
            one = batch, _images(setting) * size
            if batch > usual[field]:
                found[field] = max(found.get(field, one), one, key=lambda pair: pair[0] * pair[1])
    return found


def _images(setting: Setting) -> int:
    """Images of an episode: support and queries, those of base classes included."""
    task = setting.task
    return task.ways * task.shots + task.all_queries * (2 if setting.has_base else 1)


def _of_convolutions(backbone: Backbone, crop: int) -> int:
    """Bytes of what the convolutions give for one image: the backward pass needs all of it."""
    variables = jax.eval_shape(backbone.init, jax.random.key(0))
    image = jax.ShapeDtypeStruct((1, crop, crop, backbone.channels), jnp.float32)
    equations = _equations(jax.make_jaxpr(backbone.apply_train)(variables, image).jaxpr)
    convolutions = (e for e in equations if e.primitive.name == "conv_general_dilated")
    return sum(_bytes(v) for equation in convolutions for v in equation.outvars)


def of_largest(function: Callable[..., Any], *arguments: Any) -> int:
    """Bytes of the largest array that `function` makes of such arguments; nothing is computed."""
    equations = _equations(jax.make_jaxpr(function)(*arguments).jaxpr)
    return max((_bytes(v) for equation in equations for v in equation.outvars), default=0)


def _bytes(variable: Any) -> int:
    # PRNG keys have no itemsize, and are small.
    return getattr(variable.aval, "size", 0) * getattr(variable.aval.dtype, "itemsize", 0)


def _equations(jaxpr: Any) -> Iterator[Any]:
    """All equations, including nested ones."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.tree.leaves(
            list(equation.params.values()),
            is_leaf=lambda x: isinstance(x, core.Jaxpr | core.ClosedJaxpr),
        ):
            if isinstance(inner, core.ClosedJaxpr):
                yield from _equations(inner.jaxpr)
            elif isinstance(inner, core.Jaxpr):
                yield from _equations(inner)
