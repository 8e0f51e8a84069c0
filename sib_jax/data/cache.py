"""Decode once, then memory-map: prepared data sets on disk, one folder per content key."""

import contextlib
import hashlib
import io
import json
import logging
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sib_jax.data import identical
from sib_jax.data.split import SPLITS, DataSet, Split
from sib_jax.runtime import files
from sib_jax.runtime.cache_dir import CacheError, cache_dir
from sib_jax.runtime.words import shown

BASE_SPLITS = ("base_val", "base_test")  # where a `Writer` puts `DataSet.base`

_DONE = "dataset.json"


log = logging.getLogger(__name__)


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
        self._digests: dict[str, np.ndarray] = {}

    def allocate(self, split: str, shape: tuple[int, int, int, int]) -> np.ndarray:
        """A writable, memory-mapped uint8 array [n, height, width, channels] to put images into.

        Raises:
          CacheError: there is no room for it.
        """
        path = self._directory / f"{split}_images.npy"
        header = {"descr": "|u1", "fortran_order": False, "shape": tuple(map(int, shape))}
        size = int(np.prod(shape, dtype=object))
        with _writing(path, f"{size:,} bytes for the images of {split}"), path.open("wb") as file:
            np.lib.format.write_array_header_2_0(file, header)
            file.flush()
            files.reserve(file, file.tell() + size)
        return np.load(path, mmap_mode="r+")

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
        path = self._directory / f"{split}_labels.npy"
        with _writing(path, f"{labels.nbytes:,} bytes for the labels of {split}"):
            content = io.BytesIO()  # numpy's own error for a full disk has no number
            np.save(content, labels)
            path.write_bytes(content.getvalue())
        self._digests[split] = identical.digests(images)
        self._described[split] = {
            "class_names": list(class_names),
            "fingerprint": fingerprint(images, labels, class_names),
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
        about: dict[str, Any] = {
            "splits": self._described,
            "identical": self._identical(),
            "files": {},
        }
        for path in sorted(self._directory.glob("*.npy")):
            with _writing(path, f"{path.stat().st_size:,} bytes"):
                files.sync(path)
                about["files"][path.name] = files.size_and_checksum(path)
        path = self._directory / _DONE
        content = _with_checksum(about)
        with _writing(path, f"{len(content):,} bytes for its description"):
            files.write_bytes(path, content)

    def _identical(self) -> str:
        labels = {
            split: np.load(self._directory / f"{split}_labels.npy") for split in self._digests
        }
        return identical.describe(
            self._digests,
            labels,
            {split: about["class_names"] for split, about in self._described.items()},
            {split: about["file_names"] for split, about in self._described.items()},
        )


def load_or_build(name: str, key: str, build: Callable[[Writer], None]) -> DataSet:
    """The prepared data set `name`, from the cache or made now by `build`.

    What is in the cache is verified, once per process: a file that is missing, damaged or
    unreadable is reported in the log, and the data set is prepared again.

    Args:
      name: the data set's name.
      key: digest of everything the content depends on, so a cached copy is never stale.
      build: fills a `Writer`. It works in a temporary folder that is renamed when complete, so an
        interrupted build leaves nothing behind that could be taken for a data set, and two
        processes may build at once.

    Returns:
      The data set; its images are memory-mapped read-only.

    Raises:
      CacheError: the cache cannot be written; the message says why and how to mend it.
    """
    final = cache_dir() / "datasets" / f"{name}-{key}"
    files.sweep(final.parent)  # what a killed process had begun may have gigabytes
    try:
        about = _verified(final)
    except _Damage as damage:
        if damage.args:
            log.warning("%s %s: preparing it again", final, damage)
        _build(final, build)
        about = _verified(final)
    if about["identical"]:
        log.warning("%s: %s", name, about["identical"])
    splits = {split: _read(final, split, **of_split) for split, of_split in about["splits"].items()}
    base = {split.removeprefix("base_"): splits[split] for split in BASE_SPLITS if split in splits}
    return DataSet(name, **{split: splits[split] for split in SPLITS}, base=base)


class _Damage(Exception):
    """Why a cached data set is not used; without words where there is none."""


def _build(final: Path, build: Callable[[Writer], None]) -> None:
    with contextlib.ExitStack() as stack:
        with _writing(final, "a data set"):
            temporary = stack.enter_context(files.temporary_folder(final))
        writer = Writer(temporary)
        build(writer)
        writer.finish()
        with _writing(final, "a data set"):
            _put(temporary, final)


def _put(made: Path, final: Path) -> None:
    for attempt in range(3):
        try:
            made.rename(final)
            files.sync_folder(final.parent)
            return
        except OSError:
            if attempt == 2:
                raise
        try:
            _verified(final)
            return  # another process was first, with the same
        except _Damage:
            with contextlib.suppress(FileNotFoundError):  # another one put it aside
                files.put_aside(final)


def _verified(final: Path) -> dict[str, Any]:
    """What `dataset.json` says of a data set whose files are as they were written.

    Raises:
      _Damage: they are not, or there are none.
    """
    if not os.path.lexists(final):
        raise _Damage
    try:
        about = _without_checksum((final / _DONE).read_bytes())
        for name, (size, crc) in about["files"].items():
            if reason := files.damage(final / name, size, crc):
                raise _Damage(f"is damaged ({reason})")
    except OSError as error:
        name = Path(error.filename or "a file").name
        raise _Damage(f"is damaged ({name}: {error.strerror or error})") from error
    return about


def _with_checksum(about: dict[str, Any]) -> bytes:
    text = json.dumps(about)
    return f'{{"crc32": {zlib.crc32(text.encode())}, "about": {text}}}'.encode()


def _without_checksum(content: bytes) -> dict[str, Any]:
    try:
        stored = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _Damage(f"is damaged ({_DONE} is not JSON: {error})") from error
    if not isinstance(stored, dict) or not {"crc32", "about"} <= stored.keys():
        raise _Damage(f"is damaged ({_DONE} has no checksum)")
    if zlib.crc32(json.dumps(stored["about"]).encode()) != stored["crc32"]:
        raise _Damage(f"is damaged ({_DONE} has a different checksum than when it was written)")
    return stored["about"]


@contextlib.contextmanager
def _writing(path: Path, what: str) -> Iterator[None]:
    """Errors of the disk while preparing a data set, in one line that says what to do."""
    try:
        with files.writing(path, "set SIB_JAX_CACHE to a folder that can be written to"):
            yield
    except files.DiskFullError as error:
        raise CacheError(
            f"no room in the cache for {what}: {files.free_bytes(path):,} bytes are free in "
            f"{shown(cache_dir())}; free some there, or set SIB_JAX_CACHE to a folder on "
            "another disk"
        ) from error
    except files.FileError as error:
        raise CacheError(str(error)) from error


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


def fingerprint(images: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> str:
    """Hex digest of images [n, ...], labels int32 [n] and names of a `Split`."""
    sha = hashlib.sha256(repr((images.shape, tuple(class_names))).encode())
    sha.update(labels.tobytes())
    for start in range(0, len(images), 1024):
        sha.update(images[start : start + 1024].tobytes())
    return sha.hexdigest()
