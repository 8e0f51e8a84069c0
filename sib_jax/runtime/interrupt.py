"""SIGTERM and Ctrl-C: the stage at work saves a checkpoint and stops, and loses nothing."""

import contextlib
import signal
from collections.abc import Iterator
from typing import Any


class Interrupted(Exception):
    """The run was asked to stop; what it had done is saved."""


_requested = False


def requested() -> bool:
    """Whether this process was asked to stop; `devices.anywhere` says whether any was."""
    return _requested


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Within, the first SIGTERM or Ctrl-C only sets `requested`; a second Ctrl-C stops at once."""
    global _requested
    _requested = False
    before: dict[int, Any] = {}

    def request(number: int, _frame: object) -> None:
        global _requested
        _requested = True
        signal.signal(number, before[number])

    for number in (signal.SIGTERM, signal.SIGINT):
        before[number] = signal.signal(number, request)
    try:
        yield
    finally:
        for signal_number, handler in before.items():
            signal.signal(signal_number, handler)
