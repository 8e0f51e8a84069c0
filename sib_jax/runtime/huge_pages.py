"""Memory in huge pages, on Linux: a third less time for a training step of a backbone on the CPU.

XLA on the CPU allocates its arrays anew in every step. The kernel hands such memory out in pages
of 4 KiB, each zeroed when it is first touched: for Conv4 on 128 images of mini-ImageNet these are
160,000 page faults and 0.36 s of system time in a step of 0.72 s. In pages of 2 MiB there are 1,300
faults, and a step takes 0.48 s. glibc's malloc asks for those where it maps memory (transparent
huge pages) if it finds `glibc.malloc.hugetlb=1` in the environment as the process starts, and no
later.
"""

import contextlib
import os
import sys
from pathlib import Path

from sib_jax.runtime import interrupt

_VARIABLE, _VALUE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"
_WITH_VALUE = ("-W", "-X", "--check-hash-based-pycs")  # options of Python with a word after them
_KERNEL = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def restart_with(name: str, *, script: bool = False) -> None:
    """Restarts this process with that setting, where it helps and nobody has chosen another.

    It keeps its number, its streams and its arguments. Nothing happens where `GLIBC_TUNABLES` is
    set, where the kernel gives huge pages to everyone or to no one, without glibc 2.35 or newer, or
    where Python was not started as `python -m name`: a debugger, say, would be restarted too.

    Args:
      name: the module that is run.
      script: whether this process is a console script of the module, which goes on as the module.
    """
    wanted = _VARIABLE not in os.environ and _on_request() and _glibc() >= (2, 35)
    if wanted and (script or module(sys.orig_argv[1:]) == name):
        sys.stdout.flush()
        environment = {**os.environ, _VARIABLE: _VALUE}
        words = ["-m", name, *sys.argv[1:]] if script else sys.orig_argv[1:]
        # Signals wait until the new program can answer them.
        with contextlib.suppress(OSError), interrupt.held():  # else slower, but it runs
            os.execve(sys.executable, [sys.executable, *words], environment)


def module(arguments: list[str]) -> str | None:
    """What Python's own -m names among its arguments; None where it was given code or a script."""
    words = iter(arguments)
    for word in words:
        if word == "-m":
            return next(words, None)
        if word in _WITH_VALUE:
            next(words, None)
        elif word == "-c" or not word.startswith("-"):
            return None
    return None


def _on_request() -> bool:
    return _KERNEL.exists() and "[madvise]" in _KERNEL.read_text()


def _glibc() -> tuple[int, ...]:
    """Its version; empty where the C library is another."""
    try:
        name, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
    except (AttributeError, ValueError):
        return ()
    return tuple(int(part) for part in version.split(".")) if name == "glibc" else ()
