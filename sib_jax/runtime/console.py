"""The one writer of the terminal: log lines, and a progress line that they do not break."""

import contextlib
import io
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator

import absl.logging
import tqdm

_SECONDS_BETWEEN_LINES = 15.0

log = logging.getLogger("sib_jax")


def start() -> None:
    """Sends the log lines of this package, and nobody else's chatter, to standard output."""
    write_any_character()
    log.handlers[:] = [_Output()]
    log.setLevel(logging.INFO)
    log.propagate = False
    # Orbax reports every file there, and the traceback of each error that it raises as well.
    absl.logging.set_verbosity(absl.logging.FATAL)


def write_any_character() -> None:
    """Standard output escapes what its encoding lacks, which for a pipe on Windows is much."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def only_warnings() -> None:
    """From here on shows only warnings: no other log lines, and no progress."""
    log.setLevel(logging.WARNING)


def close_output() -> None:
    """Drops what is still written to standard output, without an error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Output(logging.Handler):
    """Lines on standard output. If that takes no more, work goes on: its results are files."""

    lost = False

    def emit(self, record: logging.LogRecord) -> None:
        stream = sys.stderr if self.lost else sys.stdout
        try:
            tqdm.tqdm.write(f"{record.getMessage()}\n", file=stream, end="")
            stream.flush()
        except BrokenPipeError:  # whoever reads the output has read enough
            close_output()
        except OSError as error:
            if not self.lost:
                told = f"sib_jax: the output cannot be written ({error.strerror}); work goes on"
                print(told, file=sys.stderr)
            self.lost = True
            self.setLevel(logging.WARNING)


def output_lost() -> bool:
    """Whether log lines could not be written, other than to a reader that has read enough."""
    return any(isinstance(handler, _Output) and handler.lost for handler in log.handlers)


@contextlib.contextmanager
def progress(name: str, total: int, unit: str, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Shows how far a loop is: one moving line on a terminal, a log line now and then elsewhere.

    Args:
      name: of the stage.
      total: units of work in all.
      unit: what is counted, such as "episodes".
      done: units done before, by a run that is resumed.

    Yields:
      advance(count): counts `count` further units.
    """
    shown = tqdm.tqdm(
        desc=name,
        total=total,
        initial=done,
        unit=f" {unit}",
        disable=not (sys.stderr.isatty() and log.isEnabledFor(logging.INFO)),
        dynamic_ncols=True,
        leave=False,
    )
    last = time.monotonic()
    finished = done
    start = None  # when the first units were done, and how many: they wait for compilation

    def advance(count: int) -> None:
        nonlocal last, finished, start
        finished += count
        shown.update(count)
        now = time.monotonic()
        if shown.disable and (now - last > _SECONDS_BETWEEN_LINES) and finished < total:
            last = now
            speed = ""
            if start is not None:
                rate = (finished - start[1]) / (now - start[0])
                digits = 0 if rate >= 1 else 2
                speed = f", {rate:.{digits}f}/s, {(total - finished) / rate:.0f} s left"
            log.info("%s: %d of %d %s%s", name, finished, total, unit, speed)
        start = start or (now, finished)

    with shown:
        yield advance
