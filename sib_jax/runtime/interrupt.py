"""SIGTERM and Ctrl-C: the running stage saves a checkpoint and stops; nothing is lost.

In a process of the command (`watch`) they are answered in seconds at any moment: a thread reads
them, since Python calls its handlers between two of its own instructions, and so not while XLA
compiles. Only the standard library is used: this is imported before anything that takes long.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any, NoReturn

_SIGNALS = (signal.SIGINT, signal.SIGTERM)  # in this order: Python has a handler of the first
_PATIENCE = 4.0  # seconds for a checkpoint: what is lost without it is computed again
_PATIENCE_TOGETHER = 20.0  # several processes save together: each must have come to the same step


class Interrupted(Exception):
    """The run was asked to stop; what it had done is saved."""


_requested = False
_watching = False
_number: int = signal.SIGTERM  # the signal that came first
_asked = 0  # how often
_stage = False  # one is at work that saves a checkpoint when it is asked to stop
_patience = _PATIENCE
_place = "the start"
_telling = threading.Lock()


def requested() -> bool:
    """Whether this process was asked to stop; `devices.anywhere` says whether any was."""
    return _requested


def status() -> int:
    """The exit status of an interrupted command: 130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + _number


def watch() -> None:
    """From here on a signal ends this process with one line, within a stage after a checkpoint.

    For the command only, in its main thread, and as early as can be; a second call does nothing.
    """
    global _watching
    if not _watching:
        _watching = True
        # Held back until all is set, where no other thread takes them: Python's own handler of
        # SIGINT would end this in a traceback. The thread, which inherits it, takes none either: a
        # signal that `held` holds back must not end there.
        _hold(True)
        reading, writing = os.pipe()  # not inherited: gone where the process restarts
        if hasattr(os, "set_blocking"):  # Windows needs it for sockets only
            os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, _nothing)
        threading.Thread(target=_watch, args=(reading,), daemon=True).start()
    _hold(False)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Signals that come within are answered after it, or by `watch` of a program started in it."""
    _hold(True)
    try:
        yield
    finally:
        _hold(False)


def goes_on_from(place: str, *, together: bool = False) -> None:
    """Sets where, by the last line, the same command goes on from.

    Args:
      place: a folder, in words.
      together: several processes run the job, and save and stop at the same step.
    """
    global _place, _patience
    _place, _patience = place, _PATIENCE_TOGETHER if together else _PATIENCE


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Within, the first SIGTERM or Ctrl-C only sets `requested`; a second Ctrl-C stops at once.

    Outside the main thread signals stay as they are: Python allows no change there.
    """
    global _requested, _stage
    _requested, _stage = False, True
    before: dict[int, Any] = {}

    def request(number: int, _frame: object) -> None:
        global _number, _requested
        if not (_requested or _asked):  # the thread of `watch` may come after the end
            _number = number
        _requested = True
        signal.signal(number, before[number])

    in_main = threading.current_thread() is threading.main_thread()
    for number in _SIGNALS if in_main else ():
        before[number] = signal.signal(number, request)
    try:
        yield
    finally:
        _stage = False
        for signal_number, handler in before.items():
            signal.signal(signal_number, handler)


def tell() -> None:
    """Says once that the command was interrupted, and that nothing is lost."""
    if _telling.acquire(blocking=False):
        line = f"sib_jax: interrupted; the same command goes on from {_place}\n"
        with contextlib.suppress(OSError):
            os.write(2, line.encode(errors="replace"))


def _watch(reading: int) -> None:
    """Reads signals, one byte each, as they come."""
    global _asked, _number, _requested
    while True:
        for number in os.read(reading, 64):
            if number not in _SIGNALS:
                continue
            _asked += 1
            if _asked == 1:
                _number = number
            if not _stage or (_asked > 1 and number == signal.SIGINT):
                _end()
            _requested = True
            timer = threading.Timer(_patience, _end)
            timer.daemon = True
            timer.start()


def _end() -> NoReturn:
    tell()
    os._exit(status())


def _nothing(_number: int, _frame: object) -> None:
    """Python's own part of a signal; the thread does the rest."""


def _hold(back: bool) -> None:
    """Blocks signals, or lets them come again; on Windows they always do."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK if back else signal.SIG_UNBLOCK, _SIGNALS)
