"""Which classes go to train, val and test where a copy does not say; what every split needs."""

from collections.abc import Collection, Mapping

import numpy as np

from sib_jax.data.errors import DataError
from sib_jax.data.split import SPLITS


def by_ratio(
    names: Collection[str], ratios: tuple[float, float, float], seed: int, where: str, found: str
) -> dict[str, list[str]]:
    """Splits classes by a shuffle of their sorted names.

    Args:
      names: of the classes.
      ratios: shares of the classes for train, val and test; every split gets a class.
      seed: of the shuffle.
      where: the path, for messages.
      found: what classes are there and what is wanted, for messages: "class folders (...), but".

    Returns:
      Each split -> its classes, sorted.

    Raises:
      DataError: there are fewer than 3 classes, or the ratios are not three numbers above 0.
    """
    if len(names) < len(SPLITS):
        few = ", ".join(sorted(names)) or "none"
        raise DataError(
            f"{where} holds {len(names)} {found} ({few}), but needs at least 3 to split into "
            "train, val and test"
        )
    if len(ratios) != 3 or not all(0 < ratio < np.inf for ratio in ratios):
        raise DataError(f"the split ratios must be three numbers above 0, got {tuple(ratios)}")
    in_order = sorted(names)
    order = np.random.default_rng(seed).permutation(len(in_order))
    return {
        split: sorted(in_order[i] for i in order[part])
        for split, part in zip(SPLITS, parts(len(in_order), ratios), strict=True)
    }


def parts(count: int, ratios: tuple[float, float, float]) -> tuple[slice, slice, slice]:
    """The slices of train, val and test among `count` classes (3 or more), none of them empty."""
    train, val, _ = np.round(np.cumsum(ratios) / sum(ratios) * count).astype(int)
    train = int(np.clip(train, 1, count - 2))
    val = int(np.clip(val, train + 1, count - 1))
    return slice(0, train), slice(train, val), slice(val, count)


def check(counts: Mapping[str, Mapping[str, int]], where: str, unit: str, remedy: str) -> None:
    """Checks that the classes of the splits are disjoint and large enough for an episode.

    Args:
      counts: split -> class -> number of examples.
      where: the path, for messages.
      unit: what an example is called: "image".
      remedy: what to do about a class that is too small: a clause without a full stop.

    Raises:
      DataError: a class is in two splits or has fewer than 2 examples; or a split has none.
    """
    owner: dict[str, str] = {}
    for split, classes in counts.items():
        if not any(classes.values()):
            raise DataError(f"{where}: no {unit}s found for {split}; {remedy}")
        for name in classes:
            if name in owner:
                raise DataError(
                    f"{where}: class {name!r} is in both {owner[name]} and {split}; the classes of "
                    "the splits must be disjoint, or accuracy on them means nothing"
                )
            owner[name] = split
    for split, classes in counts.items():
        for name, count in classes.items():
            if count < 2:
                raise DataError(
                    f"{where}: class {name!r} of {split} has {count} {unit}{'' if count else 's'}, "
                    f"but an episode needs at least 2 (a support example and a query); {remedy}"
                )
