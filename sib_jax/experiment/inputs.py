"""What methods read: the features of every image, computed once; or the images themselves."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from sib_jax.backbones.pretrained import Pretrained
from sib_jax.data import holdout
from sib_jax.data.split import SPLITS, DataSet, FeatureSplit, Split
from sib_jax.experiment import features
from sib_jax.methods.method import Classes
from sib_jax.runtime.console import progress
from sib_jax.tasks.setting import Sources
from sib_jax.tasks.table import FeatureTable, feature_table


class Inputs(NamedTuple):
    """What training, validation and test episodes are drawn from.

    Attributes:
      train: the training classes, without what is kept for base queries.
      evaluation: "val" and "test".
      classes: what methods make their parameters for.
      base_names: names of the training classes, which are the base classes.
      made_by: fingerprint of the backbone; empty where there is none.
      program: of the backbone, where it is the user's own; otherwise empty.
    """

    train: FeatureTable
    evaluation: dict[str, Sources]
    classes: Classes
    base_names: tuple[str, ...]
    made_by: str
    program: str = ""


def of_features(
    data: DataSet, found: Pretrained | None, base_holdout: float, stop: Callable[[], None]
) -> Inputs:
    """Features of every image, from the cache where they were computed before.

    Args:
      data: the data set, of images or of features.
      found: the backbone; None where the data are features.
      base_holdout: share of each training class kept as base queries.
      stop: called between batches; raises to end the work.
    """
    parts = _parts(data)
    total = sum(len(part.labels) for part in parts.values())
    with progress("features", total, "images") as advance:

        def done(count: int) -> None:
            advance(count)
            stop()

        arrays = {}
        for name, part in parts.items():
            if isinstance(part, FeatureSplit):
                double = part.features.dtype.itemsize > 4
                arrays[name] = part.features.astype(np.float32) if double else part.features
            else:
                assert found is not None
                arrays[name] = features.cached(found, part, done)
    made_by = found.fingerprint() if found else ""
    kept = found and found.weights_of(data.name, data.train.class_names)
    weights = None if kept is None else np.asarray(kept)
    found_inputs = _inputs(data, parts, arrays, base_holdout, weights, made_by)
    return found_inputs._replace(program=found.backbone.program if found else "")


def of_images(data: DataSet, base_holdout: float) -> Inputs:
    """Images, uint8 [.., height, width, channels], for methods with a backbone of their own."""
    parts = _parts(data)
    arrays = {n: part.images for n, part in parts.items() if isinstance(part, Split)}
    return _inputs(data, parts, arrays, base_holdout, None, "")


def _parts(data: DataSet) -> dict[str, Split | FeatureSplit]:
    parts: dict[str, Split | FeatureSplit] = {split: data.split(split) for split in SPLITS}
    return parts | {f"base {split}": part for split, part in data.base.items()}


def _inputs(
    data: DataSet,
    parts: dict[str, Split | FeatureSplit],
    arrays: dict[str, np.ndarray],
    base_holdout: float,
    weights: np.ndarray | None,
    made_by: str,
) -> Inputs:
    train = feature_table(arrays["train"], data.train.labels)
    held = holdout.of_training(data, base_holdout)
    base = None
    if held.any():  # both are parts of one array
        train, base = train.parted(np.bincount(data.train.labels[held], minlength=train.classes))

    def sources(split: str) -> Sources:
        novel = feature_table(arrays[split], parts[split].labels)
        if split in data.base:  # images of their own, which the data set keeps for this
            own = feature_table(arrays[f"base {split}"], data.base[split].labels)
            return Sources(novel, own)
        return Sources(novel, base)

    of_features = arrays["train"].ndim == 2
    blocks = _of_classes(arrays["train"], train) if of_features else []
    if weights is None and of_features:
        weights = _class_means(blocks)
    classes = Classes(
        shape=tuple(arrays["train"].shape[1:]),
        base=len(data.train.class_names),
        # Of unit length, like the features that theta^0 is a mean of.
        base_weights=None if weights is None else jnp.asarray(_unit(weights)),
        base_mean=jnp.asarray(_mean(blocks)) if of_features else None,
    )
    evaluation = {split: sources(split) for split in ("val", "test")}
    return Inputs(train, evaluation, classes, tuple(data.train.class_names), made_by)


def _of_classes(features: np.ndarray, table: FeatureTable) -> list[np.ndarray]:
    """The rows of each class of a table."""
    starts, counts = np.asarray(table.starts), np.asarray(table.counts)
    return [features[a : a + n] for a, n in zip(starts, counts, strict=True)]


def _class_means(blocks: Sequence[np.ndarray]) -> np.ndarray:
    """Means of normalised features, used where the base classes have no weights."""
    return np.stack([_unit(np.asarray(block, np.float32)).mean(0) for block in blocks])


def _mean(blocks: Sequence[np.ndarray]) -> np.ndarray:
    """In double precision: a single-precision sum of tens of thousands of rows loses small ones."""
    total = np.sum([np.sum(block, axis=0, dtype=np.float64) for block in blocks], axis=0)
    return np.asarray(total / sum(map(len, blocks)), np.float32)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
