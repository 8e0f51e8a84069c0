"""Where in a user's own code an error came from: in a config, an own method, an imported file."""

import sysconfig
from pathlib import Path
from traceback import extract_tb

_PACKAGE = f"{Path(__file__).resolve().parents[1]}/"


def where(error: BaseException) -> str:
    """The last line outside libraries that an error came through: " (file.py, line 3)", or ""."""
    libraries = tuple(sysconfig.get_paths()[key] for key in ("stdlib", "purelib", "platlib"))
    frames = [f for f in extract_tb(error.__traceback__) if not f.filename.startswith("<frozen")]
    own = [f for f in frames if not f.filename.startswith((*libraries, _PACKAGE))]
    return f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
