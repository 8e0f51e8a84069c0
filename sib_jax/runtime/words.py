"""Words of messages: paths, lists, counts and errors in one line.

Only the standard library is used: anything may import this.
"""

import os
from collections.abc import Sequence
from pathlib import Path

_NAMED = 5  # names in a message


def shown(path: str | os.PathLike[str]) -> str:
    """A path in one line of reasonable length, whatever its name."""
    text = os.fsdecode(path)
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return text if len(text) <= 400 else f"{text[:200]}...{text[-197:]}"


def listed(names: Sequence[str | os.PathLike[str]]) -> str:
    """The first of many names, for a message."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(shown(name) for name in names[:_NAMED]) + more


def counted(count: int, noun: str) -> str:
    """Such as "1 image" and "2 images"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def why_lacking(folder: Path, lacks: str) -> str:
    """In words, why a file is not in a folder: the folder `lacks` it, or is not one."""
    if folder.is_dir():
        return lacks
    return "is a file" if folder.exists() else "does not exist"


def one_line(error: BaseException) -> str:
    """What an error of another library says, in one line of reasonable length."""
    lines = (str(error) or type(error).__name__).splitlines()
    return shown(lines[0] if len(lines[0]) <= 200 else f"{lines[0][:197]}...")
