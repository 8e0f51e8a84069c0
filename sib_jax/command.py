"""What the commands share: a user's mistake ends one with a line, not with a traceback."""

import argparse
import contextlib
import errno
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from sib_jax.errors import UserError
from sib_jax.runtime import console, interrupt, seeds
from sib_jax.runtime.where import where
from sib_jax.runtime.words import one_line

_LESS = (
    "smaller batches need less (config.pretrain.batch, config.optimizer.batch, config.eval.batch), "
    "as do fewer images at once, a smaller T or, for SIB, config.inner.checkpoint=True"
)

IMPORT = (
    "a Python file or package to run first, which registers methods, backbones or data sets of "
    "yours (docs/add_a_method.md); may be given several times"
)


class Parser(argparse.ArgumentParser):
    """Options of `python -m <prog>`, described by the docstring of its module."""

    def __init__(self, prog: str, doc: str | None):  # noqa: D107
        super().__init__(
            prog=f"python -m {prog}",
            description=doc,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def add_import(self) -> None:
        """Adds the option --import, whose value `imported` is meant for `import_files`."""
        self.add_argument(
            "--import",
            metavar="FILE.py",
            action="append",
            default=[],
            dest="imported",
            help=IMPORT,
        )

    def error(self, message: str) -> NoReturn:
        """Ends the process."""
        fail(f"{message}; see --help")


def path(given: str) -> str:
    """The path of a file or folder. ~ is the home folder: shells leave it as it is in --x=~/y."""
    if not given:
        raise argparse.ArgumentTypeError("is empty: is a shell variable unset?")
    return os.path.expanduser(given)


def seed(given: str) -> int:
    """A number that random keys can be made from."""
    if not given.isdecimal() or int(given) > seeds.LARGEST:
        raise argparse.ArgumentTypeError(
            f"must be a whole number from 0 to {seeds.LARGEST}, got {given}"
        )
    return int(given)


def import_files(files: Sequence[str]) -> None:
    """Runs a user's Python files, which register methods and more.

    Raises:
      UserError: there is no such file, or it fails; the message says where.
    """
    if files:
        from sib_jax.runtime import programs

        programs.keep()  # a file may compile some
    for file in files:
        _import(file)


def _import(file: str) -> None:
    place = Path(os.path.expanduser(file)).absolute()
    place = place / "__init__.py" if place.is_dir() else place
    name = f"_sib_jax_import_{place.stem}"  # no other module is imported by it
    spec = importlib.util.spec_from_file_location(name, place)
    if spec is None or spec.loader is None or not place.is_file():
        raise UserError(
            f"--import={file} is not an existing Python file, such as mine.py, nor a folder with "
            "an __init__.py"
        )
    sys.path.append(str(place.parent))  # what it imports may be beside it
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except UserError:
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {one_line(error)}"
        raise UserError(f"--import={file} fails: {said}{where(error)}") from error


def start(run: Callable[[argparse.Namespace], object], options: argparse.Namespace) -> None:
    """Runs a command whose log is shown; a user's mistake ends it with one line."""
    console.start()
    with mistakes_told():
        run(options)


@contextlib.contextmanager
def mistakes_told() -> Iterator[None]:
    """A `UserError` within it ends the process with its message."""
    try:
        yield
        if console.output_lost():  # that was reported when it happened
            sys.exit(1)
    except UserError as error:
        fail(str(error))
    except BrokenPipeError:  # whoever reads the output has read enough
        console.close_output()
    except OSError as error:  # a folder that may not be looked at, a name too long
        if error.errno == errno.ENOMEM:
            fail(f"memory ran out: {_LESS}")
        if error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            console.close_output()
            fail(f"the output cannot be written: {error.strerror}")
        if error.filename is None:
            raise
        fail(f"{error.filename} cannot be used: {error.strerror}")
    except MemoryError:
        fail(f"memory ran out: {_LESS}")
    except RuntimeError as error:  # of XLA
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        asked = re.search(r"allocat\w+ (\d+) bytes", str(error))
        said = f" ({int(asked[1]):,} more bytes were requested)" if asked else ""
        fail(f"memory ran out{said}: {_LESS}")
    except interrupt.Interrupted:
        interrupt.tell()
        sys.exit(interrupt.status())


def fail(message: str) -> NoReturn:
    """Ends the process with status 1 and a line."""
    sys.exit(f"sib_jax: {message}")
