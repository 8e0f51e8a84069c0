"""Compiled programs, of which a process can hold only so many on Linux.

Each maps some pages, and with more than `vm.max_map_count` mappings, 65,530 by default, the next
program that is loaded ends the process with a segmentation fault: a job of 75 heads came that far.
"""

from pathlib import Path

import jax

_MAPPED = Path("/proc/self/maps")
_LIMIT = Path("/proc/sys/vm/max_map_count")


def make_room() -> None:
    """Forgets all compiled programs where half of what may be mapped is; they compile anew.

    To be called where the programs so far have done their work. Nothing happens on other systems.
    """
    try:
        limit = int(_LIMIT.read_text())
        with _MAPPED.open("rb") as lines:
            mapped = sum(1 for _ in lines)
    except (OSError, ValueError):
        return
    if mapped > limit // 2:
        jax.clear_caches()
