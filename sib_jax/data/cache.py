"""Decode once, then memory-map: prepared data sets on disk, one folder per content key."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from sib_jax.data.split import SPLITS, DataSet, Split

BASE_SPLITS = ("base_val", "base_test")  # where a `Writer` puts `DataSet.base`

_DONE = "dataset.json"


def cache_dir() -> Path:
    """Folder of all that is prepared once: $SIB_JAX_CACHE, else sib_jax in the user's cache."""
    own = os.environ.get("SIB_JAX_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "sib_jax"


def digest(*parts: object) -> str:
    """A short hex key of `parts` (their repr); what a cached thing was made from."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


class Writer:
    """Handed to a data set's build function, which fills the splits.

    Splits are train, val and test; and base_val and base_test where there are further images of
    the training classes.
    """

    def __init__(self, directory: Path):
        """Writes below `directory`, which exists."""
        self._directory = directory
        self._described: dict[str, dict] = {}

    def allocate(self, split: str, shape: tuple[int, int, int, int]) -> np.ndarray:
        """A writable, memory-mapped uint8 array [n, height, width, channels] to put images into."""
        path = self._directory / f"{split}_images.npy"
        return np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)

    def describe(
        self,
        split: str,
        labels: np.ndarray,
        class_names: Sequence[str],
        file_names: Sequence[str] = (),
    ) -> None:
        """Closes a split, whose images must be in place.

        Args:
          split: its name.
          labels: int [n], ascending.
          class_names: in label order.
          file_names: of each image, or empty.
        """
        labels = np.asarray(labels, np.int32)
        images = np.load(self._directory / f"{split}_images.npy", mmap_mode="r")
        if len(images) != len(labels):
            raise ValueError(f"{split}: {len(images)} images but {len(labels)} labels")
        if len(file_names) not in (0, len(labels)):
            raise ValueError(f"{split}: {len(file_names)} file names but {len(labels)} labels")
        if np.any(np.diff(labels) < 0) or sorted(set(labels.tolist())) != list(
            range(len(class_names))
        ):
            raise ValueError(f"{split}: labels must ascend and use every class once or more")
        np.save(self._directory / f"{split}_labels.npy", labels)
        self._described[split] = {
            "class_names": list(class_names),
            "fingerprint": _fingerprint(images, labels, class_names),
            "file_names": list(file_names),
        }

    def finish(self) -> None:
        """Marks the folder complete; train, val and test must have been described."""
        missing = [s for s in SPLITS if s not in self._described]
        if missing:
            raise ValueError(f"splits not described: {', '.join(missing)}")
        for base in self._described.keys() - set(SPLITS):
            if base not in BASE_SPLITS:
                raise ValueError(f"unknown split {base!r}")
            if self._described[base]["class_names"] != self._described["train"]["class_names"]:
                raise ValueError(f"{base}: the classes must be those of train, in their order")
        (self._directory / _DONE).write_text(json.dumps(self._described))


def load_or_build(name: str, key: str, build: Callable[[Writer], None]) -> DataSet:
    """The prepared data set `name`, from the cache or made now by `build`.

    Args:
      name: the data set's name.
      key: digest of everything the content depends on, so a cached copy is never stale.
      build: fills a `Writer`. It works in a temporary folder that is renamed when complete, so an
        interrupted build leaves nothing behind that could be taken for a data set, and two
        processes may build at once.

    Returns:
      The data set; its images are memory-mapped read-only.
    """
    final = cache_dir() / "datasets" / f"{name}-{key}"
    if not (final / _DONE).exists():
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=final.parent))
        try:
            writer = Writer(temporary)
            build(writer)
            writer.finish()
            try:
                temporary.rename(final)
            except OSError:
                if not (final / _DONE).exists():  # else: another process was first, with the same
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    described = json.loads((final / _DONE).read_text())
    splits = {split: _read(final, split, **described[split]) for split in described}
    base = {split.removeprefix("base_"): splits[split] for split in BASE_SPLITS if split in splits}
    return DataSet(name, **{split: splits[split] for split in SPLITS}, base=base)


def _read(
    directory: Path,
    split: str,
    class_names: Sequence[str],
    fingerprint: str,
    file_names: Sequence[str] = (),
) -> Split:
    return Split(
        images=np.load(directory / f"{split}_images.npy", mmap_mode="r"),
        labels=np.load(directory / f"{split}_labels.npy"),
        class_names=tuple(class_names),
        fingerprint=fingerprint,
        file_names=tuple(file_names),
    )


def _fingerprint(images: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> str:
    sha = hashlib.sha256(repr((images.shape, tuple(class_names))).encode())
    sha.update(labels.tobytes())
    for start in range(0, len(images), 1024):
        sha.update(images[start : start + 1024].tobytes())
    return sha.hexdigest()
