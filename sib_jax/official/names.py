"""Backbone variables from arrays under the names of the official PyTorch code.

official                                   | here
-------------------------------------------|---------------------------------------
conv_blocks.I.layers.Conv                  | conv_I
conv_blocks.I.layers.BatchNorm             | batch_norm_I
conv1, bn1                                 | the same
blockG.layer.I.{bn1,conv1,bn2,conv2}       | blockG_I/{bn1,conv1,bn2,conv2}
blockG.layer.I.convShortcut                | blockG_I/shortcut
weight [out, in, 3, 3] of a convolution    | kernel [3, 3, in, out]
weight, bias of a batch normalization      | scale, bias
running_mean, running_var                  | mean, var in the collection batch_stats
"""

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from sib_jax import backbones
from sib_jax.backbones import conv4
from sib_jax.errors import UserError
from sib_jax.runtime.words import listed

State = Mapping[str, ArrayLike]

_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


class StateDictError(UserError):
    """The state dict is not one of the official code's; the message says what it lacks."""


def variables_from_official(backbone: backbones.Backbone, state: State) -> dict[str, Any]:
    """Variables of a backbone from a state dict of the official code.

    Args:
      backbone: what to fill.
      state: official name -> array. A prefix `module.` on all names (of `DataParallel`) is dropped,
        and the counters `num_batches_tracked` are ignored.

    Returns:
      {"params": ..., "batch_stats": ...}, all float32, as `backbone.init` gives them.

    Raises:
      StateDictError: names are missing or left over, or shapes differ; it lists them.
    """
    state = _plain(state)
    template = jax.eval_shape(backbone.init, jax.random.key(0))
    paths, structure = jax.tree_util.tree_flatten_with_path(template)
    wanted = {_official_name([key.key for key in path]): leaf.shape for path, leaf in paths}
    _check(backbone.name, wanted, state)
    leaves = [_to_channels_last(state[name]) for name in wanted]
    return jax.tree_util.tree_unflatten(structure, leaves)


def official_from_variables(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The other way: a state dict of the official code from variables.

    Args:
      variables: {"params": ..., "batch_stats": ...} of a backbone that the official code has.

    Returns:
      Official name -> array, sorted, with the counter `num_batches_tracked` of each batch
      normalization (0: they steer nothing at a fixed momentum).
    """
    paths = jax.tree_util.tree_leaves_with_path(variables)
    state = {_official_name([k.key for k in path]): _to_channels_first(a) for path, a in paths}
    counters = [name for name in state if name.endswith(".running_mean")]
    for name in counters:
        state[name.removesuffix("running_mean") + "num_batches_tracked"] = np.zeros((), np.int64)
    return dict(sorted(state.items()))


def infer_backbone(state: State) -> str:
    """Name of the backbone that a state dict of the official code holds, such as `wrn_28_10`.

    The 80-pixel and the 32-pixel form of a wide residual network have the same names and shapes:
    `first_stride` of `backbones.make` has to be known from elsewhere.

    Args:
      state: official name -> array; `module.` and `num_batches_tracked` as above.

    Returns:
      A name for `backbones.make`.

    Raises:
      StateDictError: it is not a backbone of the official code.
    """
    state = _plain(state)
    filters = tuple(
        state[name].shape[:1]
        for name in sorted(state)
        if re.fullmatch(r"conv_blocks\.\d\.layers\.Conv\.weight", name)
    )
    for name, known in conv4.FILTERS.items():
        if filters == tuple((number,) for number in known):
            return name
    blocks = sum(bool(re.fullmatch(r"block1\.layer\.\d+\.conv1\.weight", name)) for name in state)
    if blocks and "bn1.weight" in state and state["bn1.weight"].size % 64 == 0:
        return f"wrn_{6 * blocks + 4}_{state['bn1.weight'].size // 64}"
    raise StateDictError(
        "not a backbone of the official code: neither the convolutions conv_blocks.0 to 3 of "
        f"ConvNet_4_64 nor block1 and bn1 of WideResNet are among {listed(sorted(state))}"
    )


def _plain(state: State) -> dict[str, np.ndarray]:
    prefix = "module."
    if all(name.startswith(prefix) for name in state):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return {
        name: np.asarray(value)
        for name, value in state.items()
        if not name.endswith("num_batches_tracked")
    }


def _official_name(path: list[str]) -> str:
    """["params", "block1_0", "bn1", "scale"] -> "block1.layer.0.bn1.weight"."""
    _, *modules, leaf = path
    name = ".".join([*modules, _LEAVES[leaf]])
    name = re.sub(r"^conv_(\d)", r"conv_blocks.\1.layers.Conv", name)
    name = re.sub(r"^batch_norm_(\d)", r"conv_blocks.\1.layers.BatchNorm", name)
    name = re.sub(r"^(block\d)_(\d+)", r"\1.layer.\2", name)
    return name.replace("shortcut", "convShortcut")


def _check(
    backbone: str, wanted: Mapping[str, tuple[int, ...]], state: Mapping[str, np.ndarray]
) -> None:
    problems = []
    if missing := wanted.keys() - state.keys():
        problems.append(f"missing {listed(sorted(missing))}")
    if unexpected := state.keys() - wanted.keys():
        problems.append(f"unexpected {listed(sorted(unexpected))}")
    for name in sorted(wanted.keys() & state.keys()):
        shape = _channels_first(wanted[name])
        if state[name].shape != shape:
            problems.append(f"{name} has shape {state[name].shape}, wanted {shape}")
    if problems:
        raise StateDictError(f"the state dict does not fit {backbone}: {'; '.join(problems)}")


def _channels_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[3], shape[2], shape[0], shape[1]) if len(shape) == 4 else shape


def _to_channels_last(array: np.ndarray) -> jax.Array:
    array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
    return jnp.asarray(array, jnp.float32)


def _to_channels_first(array: ArrayLike) -> np.ndarray:
    array = np.asarray(array, np.float32)
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
