"""Official PyTorch checkpoints, read and written without torch; nothing stored in them is run.

`netFeat*.pth` is the state_dict of a backbone; `netSIB*.pth` holds a backbone (`netFeat`) and a
head (`SIB`). Each function takes its part.

References:
  github.com/hushell/sib_meta_learn: `networks.py` (names), `algorithm.py` (what is saved).
"""

import itertools
import os
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sib_jax.backbones import Backbone
from sib_jax.official import checkpoint, torch_file, torch_write
from sib_jax.official import names as official_names
from sib_jax.official.checkpoint import StateDict
from sib_jax.official.names import StateDictError
from sib_jax.sib.classifier import Cosine
from sib_jax.sib.gradient_net import GradientNet, Layer, Normalization
from sib_jax.sib.init_net import FromSupport
from sib_jax.sib.inner_loop import Inner
from sib_jax.sib.params import Params


def load_backbone(
    path: str | os.PathLike[str], *, image_size: int = 80
) -> tuple[Callable[[Any, jax.Array], jax.Array], Any]:
    """A backbone in evaluation mode: ConvNet_4_64 or WideResNet, found by the names in the file.

    Args:
      path: a `netFeat*.pth` or `netSIB*.pth`.
      image_size: height of the images it was trained on. A WideResNet for 32 pixels has other
        strides than one for 80, with the same parameters, so the file cannot tell.

    Returns:
      apply, variables: `apply(variables, images [b, h, w, 3]) -> [b, d]`, images normalised as in
      training; d in the official (C, H, W) order.

    Raises:
      UnsafeFileError: the file wants to run something; the message names it.
      TorchFileError: it cannot be read, or is not a file of torch.
      StateDictError: the file does not hold a backbone, or parameters are missing or misshapen.
    """
    backbone, variables = checkpoint.read_backbone(path, image_size=image_size)
    return backbone.apply, variables


def load_head(source: str | os.PathLike[str] | StateDict) -> Params:
    """The official head (ClassifierSIB): a point-mass posterior from the support set, no prior.

    Args:
      source: path of a `netSIB*.pth`, or a mapping of official names to arrays.

    Returns:
      Params for `initial_posterior`, `adapt`, `logits` and `negative_elbo`.

    Raises:
      UnsafeFileError: the file wants to run something; the message names it.
      TorchFileError: it cannot be read, or is not a file of torch.
      StateDictError: the source holds no head, or a name is missing.
    """
    if not isinstance(source, Mapping):
        part = checkpoint.part(source, "SIB")
        with checkpoint.naming(source):
            return load_head(part)
    state = {name.removeprefix("module."): value for name, value in source.items()}
    missing = [name for name in _HEAD_NAMES if name not in state]
    if missing:
        raise StateDictError(
            f"this is not an official head (ClassifierSIB): {', '.join(missing)} missing; "
            f"got {', '.join(sorted(state)[:8]) or 'nothing'}"
        )

    def array(name: str) -> jax.Array:
        return jnp.asarray(state[name], jnp.float32)

    def number(name: str) -> jax.Array:
        if (found := array(name)).size != 1:
            raise StateDictError(f"{name} must be one number, got shape {found.shape}")
        return found.reshape(())

    def layer(name: str) -> Layer:
        return Layer(array(f"{name}.weight").T, array(f"{name}.bias"))

    def normalization(name: str) -> Normalization:
        return Normalization(array(f"{name}.weight"), array(f"{name}.bias"))

    found = Params(
        init_net=FromSupport(array("wnLayerFavg.weight"), None),
        gradient_net=GradientNet(
            (layer("dni.layer1.0"), layer("dni.layer2.0"), layer("dni.layer3")),
            (normalization("dni.layer1.2"), normalization("dni.layer2.2")),
        ),
        prior=None,
        classifier=Cosine(number("scale_cls"), number("bias")),
    )
    _check_shapes(found)
    return found


def load_inner(path: str | os.PathLike[str]) -> Inner:
    """T and step size in a `netSIB*.pth`; 3 and 1e-3, as in the official configs, if it has none.

    Args:
      path: of the file.

    Raises:
      UnsafeFileError, TorchFileError: as above.
      StateDictError: they are not numbers.
    """
    content = torch_file.read(path)
    known = content if isinstance(content, Mapping) else {}
    steps, step_size = known.get("nbStep", 3), known.get("lr", 1e-3)
    with checkpoint.naming(path):
        if np.size(steps) != 1 or np.size(step_size) != 1:
            raise ValueError("nbStep and lr must be numbers")
        return Inner(int(steps), float(step_size), beta=0.0)


def save_backbone(path: str | os.PathLike[str], backbone: Backbone, variables: Any) -> None:
    """Writes a backbone as the official code saves one: `netFeat*.pth`, its --resumeFeatPth.

    Args:
      path: of the file.
      backbone: a conv4_64 or wrn_* with `final_relu`, which the official code always has.
      variables: {"params", "batch_stats"}.

    Raises:
      ValueError: the official code has no such backbone.
      FileError: the file cannot be written.
    """
    torch_write.write(path, _backbone_state(backbone, variables))


def save_head(
    path: str | os.PathLike[str],
    params: Params,
    backbone: Backbone | None = None,
    variables: Any = None,
    *,
    steps: int = 3,
    step_size: float = 1e-3,
) -> None:
    """Writes a head as the official code saves one; with the backbone, a whole `netSIB*.pth`.

    Args:
      path: of the file.
      params: a point-mass posterior from the support set, a cosine classifier, no prior.
      backbone: for the part `netFeat`, without which the official main.py loads no checkpoint.
      variables: of the backbone.
      steps: T, for the record: the official main.py takes it from its own config.
      step_size: eta, which is the learning rate of the official code.

    Raises:
      ValueError: the official code has no such head or backbone.
      FileError: the file cannot be written.
    """
    content: dict[str, Any] = {"lr": float(step_size)}
    if backbone is not None:
        content["netFeat"] = _backbone_state(backbone, variables)
    torch_write.write(path, {**content, "SIB": _head_state(params), "nbStep": steps})


def _backbone_state(backbone: Backbone, variables: Any) -> dict[str, np.ndarray]:
    if backbone.final_relu is False:
        raise ValueError(
            f"the official code's backbones end in a ReLU, but this {backbone.name} was trained "
            "with final_relu=False: its features would differ there"
        )
    state = official_names.official_from_variables(variables)
    official_names.infer_backbone(state)  # raises where the official code has none like it
    return state


def _head_state(params: Params) -> dict[str, np.ndarray]:
    """Official name -> array."""
    start, net, cosine = params.init_net, params.gradient_net, params.classifier
    fits = isinstance(start, FromSupport) and start.log_std is None and isinstance(cosine, Cosine)
    if not fits or params.prior is not None or net.normalizations is None or net.summary_size:
        raise ValueError(
            "the official code's head (ClassifierSIB) is a point mass from the support set under a "
            "cosine classifier, without a prior; these parameters have another form"
        )
    assert isinstance(start, FromSupport)
    state: dict[str, Any] = {
        "bias": cosine.bias.reshape(1),
        "scale_cls": cosine.scale.reshape(1),
        "wnLayerFavg.weight": start.coefficient,
    }
    for name, layer in zip(("layer1.0", "layer2.0", "layer3"), net.layers, strict=True):
        state |= {f"dni.{name}.weight": layer.kernel.T, f"dni.{name}.bias": layer.bias}
    for name, norm in zip(("layer1.2", "layer2.2"), net.normalizations, strict=True):
        state |= {f"dni.{name}.weight": norm.scale, f"dni.{name}.bias": norm.shift}
        # Kept there but never used: statistics are those of the episode, in evaluation too.
        zeros = np.zeros(norm.scale.shape)
        state |= {f"dni.{name}.running_mean": zeros, f"dni.{name}.running_var": zeros + 1}
    counters = {
        f"dni.{name}.num_batches_tracked": np.zeros((), np.int64)
        for name in ("layer1.2", "layer2.2")
    }
    return {name: np.asarray(array, np.float32) for name, array in state.items()} | counters


_HEAD_NAMES = (
    "bias",
    "scale_cls",
    "wnLayerFavg.weight",
    *(
        f"dni.{layer}.{part}"
        for layer in ("layer1.0", "layer1.2", "layer2.0", "layer2.2", "layer3")
        for part in ("weight", "bias")
    ),
)


def _check_shapes(params: Params) -> None:
    """Checks that each layer of the gradient network fits the one before; both ends have k."""
    net = params.gradient_net
    assert isinstance(params.init_net, FromSupport)
    shapes = [layer.kernel.shape for layer in net.layers]
    assert net.normalizations is not None
    fits = (
        params.init_net.coefficient.ndim == 1
        and all(len(shape) == 2 for shape in shapes)
        and all(a[1] == b[0] for a, b in itertools.pairwise(shapes))
        and shapes[0][0] == shapes[-1][1]
        and all(layer.bias.shape == layer.kernel.shape[1:] for layer in net.layers)
        and all(
            part.shape == layer.kernel.shape[1:]
            for layer, norm in zip(net.layers, net.normalizations, strict=False)
            for part in (norm.scale, norm.shift)
        )
    )
    if not fits:
        raise StateDictError(
            "the arrays of this head do not fit each other: layers of shapes "
            f"{', '.join(map(str, shapes))} (in, out), but biases and normalizations of others"
        )
