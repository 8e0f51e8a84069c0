"""Images that are in two splits or classes: they make accuracy look better than it is."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np


def digests(images: np.ndarray) -> np.ndarray:
    """A digest of each image, uint64 [n].

    Args:
      images: [n, ...]; equal ones, as they are stored, have equal digests.
    """
    found = np.empty(len(images), np.uint64)
    for row, image in enumerate(images):
        digest = hashlib.blake2b(image.tobytes(), digest_size=8).digest()
        found[row] = int.from_bytes(digest, "little")
    return found


def describe(
    digests: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
    class_names: Mapping[str, Sequence[str]],
    file_names: Mapping[str, Sequence[str]],
) -> str:
    """What to say about images in more than one split or class; "" where there are none.

    Args:
      digests: split -> [n], see `digests`.
      labels: split -> int [n].
      class_names: split -> in label order.
      file_names: split -> of each image, or empty.
    """
    # Where each image is, as one number: its split, then its class.
    places = [number << 32 | labels[split].astype(np.int64) for number, split in enumerate(digests)]
    place = np.concatenate([np.zeros(0, np.int64), *places])
    every = np.concatenate([np.zeros(0, np.uint64), *digests.values()])
    _, first, group = np.unique(every, return_index=True, return_inverse=True)
    first_alike = first[group.ravel()]
    again = np.flatnonzero(place != place[first_alike])
    if not len(again):
        return ""
    splits, starts = list(digests), np.cumsum([0, *map(len, digests.values())])

    def name(image: int) -> str:
        split = splits[place[image] >> 32]
        row = image - starts[place[image] >> 32]
        of_class = class_names[split][labels[split][row]]
        return f"{split}/{file_names[split][row] if file_names[split] else of_class}"

    across = np.sum(place[again] >> 32 != place[first_alike[again]] >> 32)
    return (
        f"{len(again)} image{'s are' if len(again) > 1 else ' is'} the same as one of another "
        f"class or split ({across} of another split), such as {name(first_alike[again[0]])} and "
        f"{name(again[0])}; accuracy counts them as different"
    )
