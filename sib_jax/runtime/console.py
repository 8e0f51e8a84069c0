"""The one writer of the terminal: log lines, and a progress line that they do not break."""

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator

import absl.logging
import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

_SECONDS_BETWEEN_LINES = 15.0

log = logging.getLogger("sib_jax")


def start() -> None:
    """Sends the log lines of this package, and nobody else's chatter, to standard output."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False
    # Orbax tells of every file there, and gives the traceback of each error that it raises too.
    absl.logging.set_verbosity(absl.logging.FATAL)


def only_warnings() -> None:
    """From here on neither log lines nor progress, but warnings."""
    log.setLevel(logging.WARNING)


@contextlib.contextmanager
def progress(name: str, total: int, unit: str, done: int = 0) -> Iterator[Callable[..., None]]:
    """Shows how far a loop is: one moving line on a terminal, a log line now and then elsewhere.

    Args:
      name: of the stage.
      total: units of work in all.
      unit: what is counted, such as "episodes".
      done: units done before, by a run that is resumed.

    Yields:
      advance(count, **values): counts `count` further units and shows `values` beside the rate and
      the time left.
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
    begun = last = time.monotonic()
    finished = done

    def advance(count: int, **values: float) -> None:
        nonlocal last, finished
        finished += count
        text = ", ".join(f"{key} {value:.3f}" for key, value in values.items())
        shown.set_postfix_str(text, refresh=False)
        shown.update(count)
        now = time.monotonic()
        if shown.disable and (now - last > _SECONDS_BETWEEN_LINES) and finished < total:
            last = now
            rate = (finished - done) / (now - begun)
            left = (total - finished) / rate
            log.info(
                "%s: %d of %d %s, %.0f/s, %.0f s left%s",
                *(name, finished, total, unit, rate, left, f", {text}" if text else ""),
            )

    with shown, logging_redirect_tqdm([log]) if not shown.disable else contextlib.nullcontext():
        yield advance
