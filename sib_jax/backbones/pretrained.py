"""A backbone with its weights and the preprocessing they were trained with, and its file."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sib_jax import backbones
from sib_jax.backbones import Backbone, preprocess
from sib_jax.backbones.preprocess import Preprocessing
from sib_jax.official import checkpoint
from sib_jax.runtime import shipped
from sib_jax.runtime import weights as weights_file
from sib_jax.runtime.console import log

# Mean and std that the official code normalises images with (its dataset.py): those of CIFAR, of 32
# pixels, and those of mini-ImageNet; in 0..255.
_OFFICIAL_CIFAR = (
    (129.37731888, 124.10583864, 112.47758569),
    (68.20947949, 65.43124043, 70.45866994),
)
_OFFICIAL = ((120.39586422, 115.59361427, 104.54012653), (70.68188272, 68.27635443, 72.54505529))


class SettingError(weights_file.WeightsError):
    """Weights that were trained with a setting other than the config's."""


class Pretrained(NamedTuple):
    """A backbone ready to compute features.

    Attributes:
      backbone: its pure functions.
      variables: {"params", "batch_stats"}.
      preprocessing: what turns stored images into its input.
      weights: of the cosine classifier it was trained under, [classes, d]: the base classes of
        learning without forgetting. None where the file has none (official checkpoints).
      mirror: whether features are the mean of those of an image and of its mirror image.
      dataset: the data set whose classes it was trained on; None where that is not known.
      class_names: of these, in the order of `weights`; likewise.
      base_holdout: share of each of these classes that training did not see; likewise.
    """

    backbone: Backbone
    variables: Any
    preprocessing: Preprocessing
    weights: jax.Array | None = None
    mirror: bool = False
    dataset: str | None = None
    class_names: tuple[str, ...] | None = None
    base_holdout: float | None = None

    def seen(self, class_names: Iterable[str]) -> list[str]:
        """Those of some classes whose names are among the ones it was trained on."""
        return sorted({*(self.class_names or ())} & {*class_names})

    def weights_of(self, dataset: str, class_names: Sequence[str]) -> jax.Array | None:
        """`weights` where they belong to these classes; None where they belong to others."""
        if self.weights is None or len(self.weights) != len(class_names):
            return None
        same = self.dataset in (None, dataset)
        return self.weights if same and self.class_names in (None, tuple(class_names)) else None

    @property
    def extractor(self) -> "Extractor":
        """All of it that is not an array."""
        return Extractor(self.backbone, self.preprocessing, self.mirror)

    def fingerprint(self) -> str:
        """Hex digest of all that its features depend on, except the images.

        Of a backbone of the user's own not its code, see `Backbone.program`; nor its module, in
        whose repr there may be an address.
        """
        backbone: Any = self.backbone
        if backbone.program:
            backbone = backbone.name, backbone.image_size, backbone.channels, backbone.features
        sha = hashlib.sha256(repr((backbone, self.preprocessing)).encode())
        sha.update(b"mirror" if self.mirror else b"")
        for leaf in jax.tree.leaves(self.variables):
            sha.update(np.asarray(leaf).tobytes())
        return sha.hexdigest()


class Extractor(NamedTuple):
    """How features are computed, as a key of compiled programs; see `Pretrained`."""

    backbone: Backbone
    preprocessing: Preprocessing
    mirror: bool = False

    def __call__(self, variables: Any, images: jax.Array) -> jax.Array:
        """Features of the central crops, in evaluation mode: uint8 [b, h, w, c] -> [b, d]."""
        inputs = preprocess.central_crop(images, self.preprocessing)
        found = self.backbone.apply(variables, inputs)
        if not self.mirror:
            return found
        return (found + self.backbone.apply(variables, inputs[:, :, ::-1])) / 2


def save(path: Any, pretrained: Pretrained, **about: Any) -> None:
    """Writes one .npz that `load` reads; `about` says how it was trained."""
    weights = pretrained.weights
    weights_file.save(
        path,
        {**pretrained.variables, **({} if weights is None else {"base_weights": weights})},
        {
            **about,
            "backbone": pretrained.backbone.name,
            "final_relu": pretrained.backbone.final_relu,
            "program": [pretrained.backbone.program, jax.__version__],
            "classes": None if weights is None else len(weights),
            "preprocessing": pretrained.preprocessing._asdict(),
            "mirror": pretrained.mirror,
            "dataset": pretrained.dataset,
            "class_names": pretrained.class_names,
            "base_holdout": pretrained.base_holdout,
        },
    )


def load(path: str | os.PathLike[str], backbone: Backbone) -> Pretrained:
    """Reads the weights of `backbone`.

    Args:
      path: an .npz of ours, or an official .pth (then with the official normalisation).
      backbone: what the config asks for.

    Raises:
      ValueError: the file holds another backbone, was trained with other settings than the config
        has, or is not readable.
    """
    if str(path).endswith(".pth"):
        _, variables = checkpoint.read_backbone(path, image_size=backbone.image_size)
        of = _OFFICIAL_CIFAR if backbone.image_size == 32 else _OFFICIAL
        mean, std = (tuple(value / 255 for value in values) for values in of)
        preprocessing = Preprocessing(backbone.image_size, mean, std)
        _check_same(path, variables, backbone)
        _check_setting(path, "final_relu", True, backbone.final_relu)
        return Pretrained(backbone, variables, preprocessing)
    about, preprocessing = check(path, backbone)
    _tell_of_other_code(path, about, backbone)
    like = jax.eval_shape(backbone.init, jax.random.key(0))
    classes = about.get("classes")
    if isinstance(classes, int) and classes > 0:
        like["base_weights"] = jax.ShapeDtypeStruct((classes, backbone.features), jnp.float32)
    variables = weights_file.load(path, like)
    weights = variables.pop("base_weights", None)
    mirror = about.get("mirror") is True
    dataset, names, share = (about.get(n) for n in ("dataset", "class_names", "base_holdout"))
    return Pretrained(
        backbone,
        variables,
        preprocessing,
        weights,
        mirror,
        dataset if isinstance(dataset, str) else None,
        tuple(map(str, names)) if isinstance(names, list) else None,
        float(share) if isinstance(share, int | float) else None,
    )


def check(path: str | os.PathLike[str], backbone: Backbone) -> tuple[dict[str, Any], Preprocessing]:
    """What an .npz of ours says about itself, checked against what a config asks for.

    Args:
      path: of the file.
      backbone: what the config asks for; its channels are not checked.

    Raises:
      UserError: the file holds another backbone, was trained with other settings, or is not
        readable.
    """
    about = weights_file.about(path)
    _check_setting(path, "backbone", about.get("backbone", backbone.name), backbone.name)
    try:
        stored, final_relu = about["preprocessing"], about["final_relu"]
        preprocessing = Preprocessing(stored["crop"], tuple(stored["mean"]), tuple(stored["std"]))
    except (KeyError, TypeError) as error:
        raise weights_file.WeightsError(
            f"{path} does not say what preprocessing it was trained with"
        ) from error
    _check_setting(path, "final_relu", final_relu, backbone.final_relu)
    crop, wanted = preprocessing.crop, backbone.image_size
    hint = f", and --config.image_size={crop} if it saw whole images"
    _check_setting(path, "crop", crop, wanted, hint if crop < wanted else "")
    return about, preprocessing


def located(file: str | os.PathLike[str], dataset: str = "") -> str:
    """The path of a file, or of the shipped backbone of that name; anything else is kept as it is.

    The name may omit its data set, as "conv4_128" does: it is that of `dataset`, or of the only
    file whose name ends so.
    """
    name = os.path.expanduser(file)
    if os.path.isfile(name):
        return name
    meant = _meant(name)
    of_dataset = [path for whole, path in meant.items() if whole.startswith(f"{dataset}-")]
    found = of_dataset if dataset and of_dataset else list(meant.values())
    return str(found[0]) if len(found) == 1 else name


def _meant(name: str) -> dict[str, Path]:
    """The shipped backbones that a name stands for; it may omit its data set."""
    stem = name.removesuffix(".npz")
    return {
        whole: path
        for whole, path in shipped.weights().items()
        if whole == stem or whole.endswith(f"-{stem}")
    }


def open_file(file: str | os.PathLike[str], *, image_size: int = 80) -> Pretrained:
    """Reads a backbone whose name and settings are in its own file.

    Args:
      file: an .npz of ours, an official .pth, or the name of a shipped backbone.
      image_size: height of the images that an official backbone was trained on, which its file
        does not say; one of ours knows its own.

    Raises:
      UserError: there is no such file or name, or it holds no backbone.
    """
    path = located(file)
    if not os.path.isfile(path):
        if several := _meant(path):
            raise weights_file.WeightsError(f"{file} may be {' or '.join(several)}: say which one")
        raise weights_file.WeightsError(
            f"{file} is neither a file nor a shipped backbone; shipped backbones: "
            f"{', '.join(shipped.weights()) or 'none'}"
        )
    if path.endswith(".pth"):
        return load(path, checkpoint.read_backbone(path, image_size=image_size)[0])
    about = weights_file.about(path)
    try:
        backbone = backbones.make(
            about["backbone"],
            image_size=about["preprocessing"]["crop"],
            channels=len(about["preprocessing"]["mean"]),
            final_relu=about["final_relu"],
        )
    except KeyError as error:
        raise weights_file.WeightsError(
            f"{path} holds weights, but does not say of which backbone ({error.args[0]} missing)"
        ) from error
    except (TypeError, ValueError) as error:
        raise weights_file.WeightsError(f"{path}: not a backbone of ours: {error}") from error
    return load(path, backbone)


def _tell_of_other_code(path: object, about: dict[str, Any], backbone: Backbone) -> None:
    """Says so where a user's own backbone computes something else than when it was trained."""
    now = [backbone.program, jax.__version__]
    if backbone.program and about.get("program", now) != now:
        log.warning(
            "%s was trained with other code of %s, or another version of jax: these weights may "
            "not be for what it computes now; to train it anew, use another --workdir",
            path,
            backbone.name,
        )


def _check_same(path: object, variables: Any, backbone: Backbone) -> None:
    like = jax.eval_shape(backbone.init, jax.random.key(0))
    shapes = jax.tree.map(jnp.shape, variables)
    if shapes != jax.tree.map(jnp.shape, like):
        raise weights_file.WeightsError(
            f"{path} does not hold a {backbone.name} for {backbone.channels} channels"
        )


def _check_setting(
    path: object, field: str, stored: object, wanted: object, hint: str = ""
) -> None:
    """Checks what weights do not show: otherwise features would differ from those of training."""
    if stored != wanted:
        raise SettingError(
            f"{path} was trained with config.{field} = {stored}, not {wanted}; "
            f"add --config.{field}={stored}{hint}"
        )
