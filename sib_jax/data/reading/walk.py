"""The files below some folders, each real file once, however links lead through them."""

import os
import stat
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple


class Walked(NamedTuple):
    """What was found.

    Attributes:
      names: folder -> names of its files, below the root and sorted.
      outside: links that lead out of the root, where these are not followed.
      again: links to files and folders that are counted elsewhere, or that hold the link.
      broken: links that lead nowhere.
    """

    names: dict[str, list[str]]
    outside: list[str]
    again: list[str]
    broken: list[str]


def walk(root: Path, folders: Iterable[str], *, leave: bool) -> Walked:
    """Lists the regular files below folders.

    Files themselves come before what links lead to, so a link never takes a file away from the
    folder it is in.

    Args:
      root: the directory that names are below.
      folders: below it, none within another; "" for the root itself.
      leave: whether links that lead out of the root are followed.

    Raises:
      OSError: a folder cannot be read.
    """
    found = _Walk(root, leave)
    found.real([(folder, folder) for folder in folders])
    found.links()
    for names in found.walked.names.values():
        names.sort()
    return found.walked


class _Walk:
    def __init__(self, root: Path, leave: bool):
        self._root, self._leave = str(root), leave
        self._real_root = os.path.realpath(root)
        self._seen: set[str] = set()  # real paths of files and folders
        self._links: deque[tuple[str, str]] = deque()
        self.walked = Walked({}, [], [], [])

    def real(self, waiting: Sequence[tuple[str, str]]) -> None:
        """Goes through folders, each with the user's folder that it belongs to."""
        stack = list(reversed(waiting))
        while stack:
            folder, name = stack.pop()
            self.walked.names.setdefault(folder, [])
            path = self._path(name)
            if name and os.path.islink(path):
                self._links.append((folder, name))
                continue
            self._folder(folder, name, os.path.realpath(path), stack)

    def _folder(self, folder: str, name: str, real: str, stack: list[tuple[str, str]]) -> None:
        if real in self._seen:
            self.walked.again.append(name)
            return
        self._seen.add(real)
        with os.scandir(self._path(name)) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                inner = f"{name}/{entry.name}" if name else entry.name
                if entry.is_symlink():
                    self._links.append((folder, inner))
                elif entry.is_dir():
                    stack.append((folder, inner))
                elif entry.is_file():
                    self._file(folder, inner, os.path.join(real, entry.name))

    def _file(self, folder: str, name: str, real: str) -> None:
        if real in self._seen:
            self.walked.again.append(name)
        else:
            self._seen.add(real)
            self.walked.names[folder].append(name)

    def links(self) -> None:
        """Follows the links that were met, and those met on the way."""
        while self._links:
            folder, name = self._links.popleft()
            real = os.path.realpath(self._path(name))
            try:
                mode = os.stat(real).st_mode
            except OSError:
                self.walked.broken.append(name)
                continue
            if not self._leave and not _holds(self._real_root, real):
                self.walked.outside.append(name)
            elif stat.S_ISREG(mode):
                self._file(folder, name, real)
            elif stat.S_ISDIR(mode):
                self._linked_folder(folder, name, real)

    def _linked_folder(self, folder: str, name: str, real: str) -> None:
        if _holds(real, os.path.realpath(os.path.dirname(self._path(name)))):
            self.walked.again.append(name)
            return
        stack: list[tuple[str, str]] = []
        self._folder(folder, name, real, stack)
        self.real(stack)

    def _path(self, name: str) -> str:
        return os.path.join(self._root, name)


def _holds(folder: str, path: str) -> bool:
    """Whether the real path `path` is `folder` or below it."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
