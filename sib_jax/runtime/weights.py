"""Trained weights as .npz: one array a leaf, named by its path in the pytree; no pickle."""

import json
import os
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import jax
import numpy as np
from flax.traverse_util import unflatten_dict

from sib_jax.errors import UserError
from sib_jax.runtime import files, npz
from sib_jax.runtime.words import one_line

_ABOUT = "about.json"


class WeightsError(UserError):
    """A file of weights that is missing, unreadable or of another model."""


def save(path: Path, tree: Any, about: dict[str, Any] | None = None) -> None:
    """Writes the leaves of `tree`, and `about` (JSON), to `path`; replaces it as a whole."""
    arrays: dict[str, Any] = {name: np.asarray(leaf) for name, leaf in _named(tree)}
    arrays[_ABOUT] = np.frombuffer(json.dumps(about or {}).encode(), np.uint8)
    files.write_atomically(path, lambda file: _write(file, arrays))


def _write(file: BinaryIO, arrays: dict[str, np.ndarray]) -> None:
    """As np.savez, which takes names such as "file" for its own arguments."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


def about(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What was said of the file when it was saved."""
    return contents(path)[1]


def contents(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """All arrays of the file by their paths in the pytree, and what was said of it when saved."""
    arrays = _read(path)
    stored = arrays.pop(_ABOUT, None)
    if stored is None:  # always written, so its entry in the zip's list is damaged
        raise WeightsError(
            f"{path} is not a file of weights (.npz), or is damaged: {_ABOUT} is missing"
        )
    try:
        found = json.loads(stored.tobytes())
        if isinstance(found, dict):
            return arrays, found
        reason = f"it is a {type(found).__name__}"
    except ValueError as error:
        reason = one_line(error)
    raise WeightsError(f"{path} is damaged: {_ABOUT} in it is not a JSON object ({reason})")


def tree(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """As `contents`, the arrays in the nested dicts that their paths stand for."""
    arrays, said = contents(path)
    try:
        return unflatten_dict(arrays, sep="/"), said
    except (IndexError, TypeError, ValueError) as error:  # one name is the beginning of another
        raise WeightsError(f"{path} is damaged: {one_line(error)}") from error


def load(path: str | os.PathLike[str], like: Any) -> Any:
    """The pytree stored in `path`.

    Args:
      path: a file that `save` wrote.
      like: a pytree of the wanted structure and shapes, arrays or `jax.ShapeDtypeStruct`s.

    Raises:
      WeightsError: it is not such a file, or holds other names or shapes than wanted.
    """
    stored = _read(path)
    stored.pop(_ABOUT, None)
    wanted = dict(_named(like))
    odd = sorted(stored.keys() ^ wanted.keys())
    if odd:
        raise WeightsError(
            f"{path} does not hold what this config needs: {', '.join(odd[:6])} "
            f"{'is' if len(odd) == 1 else 'are'} in only one of the two"
        )
    for name, leaf in wanted.items():
        if stored[name].shape != leaf.shape:
            raise WeightsError(
                f"{path}: {name} has shape {stored[name].shape}, but this config needs {leaf.shape}"
            )
        if stored[name].dtype.kind not in "fiub":
            raise WeightsError(f"{path}: {name} holds {stored[name].dtype}, not numbers")
        if not np.isfinite(stored[name]).all():
            raise WeightsError(f"{path}: {name} has values that are not finite; use another file")
    # Not jnp.asarray, which compiles a program for each shape.
    leaves = jax.device_put([stored[name] for name in wanted])
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _named(tree: Any) -> list[tuple[str, Any]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(p, simple=True, separator="/"), leaf) for p, leaf in leaves]


def _read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    try:
        return npz.read(path)
    except FileNotFoundError:
        raise WeightsError(f"{path} does not exist") from None
    except Exception as error:  # a damaged file fails in any way there is
        raise WeightsError(
            f"{path} is not a file of weights (.npz), or is damaged: {one_line(error)}"
        ) from error
