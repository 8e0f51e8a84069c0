"""What the commands share: a mistake of the user ends one with a line, not with a traceback."""

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import NoReturn

from sib_jax.errors import UserError


class Parser(argparse.ArgumentParser):
    """Options of `python -m <prog>`, described by the docstring of its module."""

    def __init__(self, prog: str, doc: str | None):  # noqa: D107
        super().__init__(
            prog=f"python -m {prog}",
            description=doc,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Ends the process."""
        fail(f"{message}; --help tells more")


def start(run: Callable[[argparse.Namespace], object], options: argparse.Namespace) -> None:
    """Runs a command whose log is shown; a mistake of the user ends it with one line."""
    from sib_jax.report import console

    console.start()
    with mistakes_told():
        run(options)


@contextlib.contextmanager
def mistakes_told() -> Iterator[None]:
    """A `UserError` within it ends the process with its message."""
    try:
        yield
    except UserError as error:
        fail(str(error))


def fail(message: str) -> NoReturn:
    """Ends the process with status 1 and a line."""
    sys.exit(f"sib_jax: {message}")
