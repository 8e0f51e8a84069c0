"""Fixed episodes in the official code's JSON files, such as val1000Episode_5_way_1_shot.json.

A file is a list of episodes, each {"Support": classes, "Query": classes}, where classes is a list,
for each class of the episode, of image files `<class>/<file>` below the folder of the split.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sib_jax.data.errors import DataError
from sib_jax.data.reading import files
from sib_jax.runtime.files import shown, write_text


class EpisodeRows(NamedTuple):
    """Episodes as rows of a split, each class after class.

    Attributes:
      support: int32 [tasks, ways * shots].
      support_labels: int32 [ways * shots], in 0..ways-1, the same for every task.
      query: int32 [tasks, ways * queries].
      query_labels: int32 [ways * queries], likewise.
    """

    support: np.ndarray
    support_labels: np.ndarray
    query: np.ndarray
    query_labels: np.ndarray


def read(path: str | os.PathLike[str], file_names: Sequence[str]) -> EpisodeRows:
    """The episodes of a file.

    Args:
      path: the JSON file.
      file_names: `Split.file_names` of the split that it was made for. A file may name images by
        longer paths; their ends must be these.

    Returns:
      The rows of its images in that split.

    Raises:
      DataError: the file is no such list, its episodes differ in size, it names an image that the
        split lacks, or mixes images of several classes in one; or the split has no file names.
    """
    _check_named(file_names)
    content = files.content(Path(path))
    path = shown(path)
    try:
        episodes = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no JSON file ({error})") from error
    if not isinstance(episodes, list) or not episodes:
        raise DataError(f"{path} is no list of episodes")
    row_of = {name: row for row, name in enumerate(file_names)}
    depth = file_names[0].count("/") + 1
    rows: dict[str, list[np.ndarray]] = {"Support": [], "Query": []}
    for number, episode in enumerate(episodes):
        where = f"{path}, episode {number}"
        for part, of_part in rows.items():
            names = _names(episode, part, where)
            ends = [["/".join(n.split("/")[-depth:]) for n in of_class] for of_class in names]
            _check_classes(ends, row_of, f"{where}, {part}")
            of_part.append(np.array([[row_of[n] for n in of_class] for of_class in ends], np.int32))
            if of_part[-1].shape != of_part[0].shape or len(names) != len(episode["Support"]):
                raise DataError(f"{where}: {part} has not the shape of the first episode")
    support, query = (np.stack(of_part) for of_part in rows.values())
    return EpisodeRows(
        support.reshape(len(support), -1),
        _labels(*support.shape[1:]),
        query.reshape(len(query), -1),
        _labels(*query.shape[1:]),
    )


def write(path: str | os.PathLike[str], episodes: EpisodeRows, file_names: Sequence[str]) -> None:
    """Writes episodes for `read` and for the official code.

    Args:
      path: the JSON file.
      episodes: rows of a split, class after class.
      file_names: `Split.file_names` of that split.

    Raises:
      DataError: the split has no file names.
      FileError: the file cannot be written.
    """
    _check_named(file_names)
    ways = int(episodes.support_labels[-1]) + 1
    parts = {
        "Support": (episodes.support, episodes.support_labels),
        "Query": (episodes.query, episodes.query_labels),
    }
    for part, (rows, labels) in parts.items():
        if not np.array_equal(labels, _labels(ways, rows.shape[1] // ways)):
            raise ValueError(f"{part}: each class must have as many images, class after class")
    content = [
        {
            part: [[file_names[row] for row in of_class] for of_class in rows[i].reshape(ways, -1)]
            for part, (rows, _) in parts.items()
        }
        for i in range(len(episodes.support))
    ]
    write_text(path, json.dumps(content))


def _labels(ways: int, images: int) -> np.ndarray:
    return np.repeat(np.arange(ways, dtype=np.int32), images)


def _check_named(file_names: Sequence[str]) -> None:
    if not file_names:
        raise DataError(
            "fixed episodes name image files, but this copy of the data holds images without "
            "names; use one of class folders or lists"
        )


def _names(episode: object, part: str, where: str) -> list[list[str]]:
    """The image files of each class, after a check of their form."""
    classes = episode.get(part) if isinstance(episode, dict) else None
    if (
        not isinstance(classes, list)
        or not classes
        or not all(isinstance(c, list) and len(c) == len(classes[0]) > 0 for c in classes)
        or not all(isinstance(name, str) for c in classes for name in c)
    ):
        raise DataError(f"{where}: {part} is no list of equally long lists of image files")
    return classes


def _check_classes(classes: list[list[str]], row_of: dict[str, int], where: str) -> None:
    for names in classes:
        for name in names:
            if name not in row_of:
                raise DataError(f"{where} names {name}, which is no image of the split")
        folders = {name.rsplit("/", 1)[0] for name in names}
        if len(folders) > 1:
            raise DataError(f"{where} has images of {', '.join(sorted(folders))} in one class")
