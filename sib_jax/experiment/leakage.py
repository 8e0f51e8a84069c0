"""Checks whether a backbone trained elsewhere has seen what its accuracy is measured on."""

from sib_jax.backbones.pretrained import Pretrained
from sib_jax.config import ConfigError
from sib_jax.data.holdout import held_out
from sib_jax.data.split import AnySplit, DataSet
from sib_jax.experiment.settings import Experiment
from sib_jax.runtime.console import log


def check(found: Pretrained, file: str, data: DataSet, experiment: Experiment) -> None:
    """Warns of what it may have seen, and refuses what it has.

    Args:
      found: the backbone.
      file: that it was read from.
      data: what heads are evaluated on.
      experiment: with the share of base images that are for base queries.

    Raises:
      ConfigError: base queries would be images that it was trained on.
    """
    tell_of_classes(found, data)
    if data.base or not any(head.setting.has_base for head in experiment.heads):
        return
    names = tuple(data.train.class_names)
    if found.dataset not in (None, data.name) or found.class_names not in (None, names):
        return  # of other classes
    if found.base_holdout is None:
        log.warning(
            "%s does not say which images of the base classes it was trained on: if on all of "
            "them, it has seen the base queries, and the Base and Both accuracies are too high",
            file,
        )
        return
    counts = data.train.class_counts
    kept, left_out = (
        held_out(counts, share) for share in (experiment.base_holdout, found.base_holdout)
    )
    if (kept & ~left_out).any():
        raise ConfigError(
            f"{file} was trained with base_holdout={found.base_holdout:g}, so base queries "
            f"(config.base_holdout={experiment.base_holdout:g}) would be images that it has seen; "
            f"use a backbone trained with base_holdout={experiment.base_holdout:g}"
        )


def tell_of_classes(found: Pretrained, data: DataSet[AnySplit]) -> None:
    """Warns where validation or test classes have the names of training classes."""
    new = [name for split in ("val", "test") for name in data.split(split).class_names]
    if seen := found.seen(new):
        log.warning(
            "%d of the %d validation and test classes have the name of a class that the backbone "
            "was trained on, such as %s: accuracies on these say nothing about new classes",
            len(seen),
            len(new),
            seen[0],
        )
