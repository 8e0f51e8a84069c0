"""Writes below a folder that fail: each in turn, one in every run of the same command."""

import builtins
import contextlib
import errno
import io
import os
import re
import threading
from collections import Counter
from pathlib import Path

KINDS = ("ENOSPC", "EIO", "stops half-way")
_RANDOM = re.compile(r"\.[0-9a-f]{8}\.[0-9a-f]{12}\.tmp|-tmp(-\d+)?|(?<=-)[0-9a-f]{16}")
_NAMED = ("replace", "rename", "mkdir")  # by their first argument, a path
_OPENED = ("fsync", "posix_fallocate", "write", "ftruncate")  # by a number of an open file


class Died(BaseException):
    """The process ended here; nothing that it would do afterwards reaches the disk."""


class Writes:
    """Fails the first write that has not failed yet, once in each `failing`.

    Attributes:
      failed: the writes that have failed, as (what, path).
    """

    def __init__(self, below, kind, each=1):
        """Those below the folder `below`; of a file's many writes the first `each`."""
        self.failed, self._below, self._kind, self._each = [], str(below), kind, each
        self._struck = self._dead = False

    @contextlib.contextmanager
    def failing(self, monkeypatch):
        """Within, one write fails; gives a function for whether it has."""
        self._struck = self._dead = False
        with monkeypatch.context() as patch:
            opened = io.open

            def open_(path, mode="r", *args, **kwargs):
                file = opened(path, mode, *args, **kwargs)
                number = isinstance(path, int)
                return file if number or not set(mode) & set("wxa+") else _File(file, self, path)

            for name in _NAMED + _OPENED:
                patch.setattr(os, name, self._checked(name, getattr(os, name)))
            for name in ("unlink", "rmdir"):
                patch.setattr(os, name, self._undone_by_death(getattr(os, name)))
            patch.setattr(io, "open", open_)
            patch.setattr(builtins, "open", open_)
            yield lambda: self._struck
        self._dead = False

    def check(self, what, path, write_half=lambda: None):
        """Fails where this is a write whose turn it is."""
        with contextlib.suppress(OSError):
            path = os.readlink(f"/proc/self/fd/{path}") if isinstance(path, int) else path
        place = os.path.abspath(os.fsdecode(path))
        if not place.startswith(self._below):
            return
        if self._dead:
            self._end()
        # A thread that dies alone is no dead process.
        alone = threading.current_thread() is not threading.main_thread()
        key = what, _RANDOM.sub("~", place[len(self._below) :])
        if self._struck or key in self.failed or (alone and self._kind == KINDS[2]):
            return
        self._struck = True
        self.failed.append(key)
        if self._kind == "stops half-way":
            write_half()
            self._dead = True
            self._end()
        number = getattr(errno, self._kind)
        raise OSError(number, os.strerror(number), place)

    def within(self, index):
        """Whether the write of this index of a file is one of those that fail."""
        return index < self._each

    def _end(self):
        if threading.current_thread() is threading.main_thread():
            raise Died
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def _checked(self, name, real):
        def call(path, *args, **kwargs):
            self.check(name, path)
            return real(path, *args, **kwargs)

        return call

    def _undone_by_death(self, real):
        def call(path, *args, **kwargs):
            return None if self._dead else real(path, *args, **kwargs)

        return call


class _File:
    """An open file whose writes are checked."""

    def __init__(self, file, writes, path):
        self._file, self._writes, self._path, self._count = file, writes, path, Counter()

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def __iter__(self):
        return iter(self._file)

    def write(self, data):
        def half():
            self._file.write(data[: len(data) // 2])
            self._file.flush()

        if self._writes.within(index := self._count["write"]):
            self._writes.check(f"write {index}", Path(self._path), half)
        self._count["write"] += 1
        return self._file.write(data)
