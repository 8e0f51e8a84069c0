"""Memory in huge pages, on Linux: a third less time for a training step of a backbone on the CPU.

XLA on the CPU allocates its arrays anew in every step. The kernel hands such memory out in pages
of 4 KiB, each zeroed when it is first touched: for Conv4 on 128 images of mini-ImageNet these are
160,000 page faults a step, and half of its time. In pages of 2 MiB there are 1,300. glibc's malloc
asks for those if it finds `glibc.malloc.hugetlb=1` (transparent huge pages where it maps memory) in
the environment as the process starts, and no later.
"""

import os
import sys
from pathlib import Path

_VARIABLE, _VALUE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"
_KERNEL = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def restart_with(module: str) -> None:
    """Starts this process anew with that setting, where it helps and nobody has chosen another.

    It keeps its number, its streams and its arguments. Nothing happens where `GLIBC_TUNABLES` is
    set, where the kernel gives huge pages to everyone or to no one, without glibc 2.35 or newer, or
    where Python was not started as `python -m module`: a debugger, say, would be started anew too.

    Args:
      module: what is run.
    """
    command = sys.orig_argv[1:]
    started = "-m" in command and command[command.index("-m") :][1:2] == [module]
    if started and _VARIABLE not in os.environ and _on_request() and _glibc() >= (2, 35):
        sys.stdout.flush()
        environment = {**os.environ, _VARIABLE: _VALUE}
        os.execve(sys.executable, [sys.executable, *command], environment)


def _on_request() -> bool:
    return _KERNEL.exists() and "[madvise]" in _KERNEL.read_text()


def _glibc() -> tuple[int, ...]:
    """Its version; empty where the C library is another."""
    try:
        name, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
    except (AttributeError, ValueError):
        return ()
    return tuple(int(part) for part in version.split(".")) if name == "glibc" else ()
