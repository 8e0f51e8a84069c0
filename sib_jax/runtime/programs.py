"""Compiled programs: kept on disk between commands, not too many in memory, known by their text.

On Linux each maps some pages, and with more than `vm.max_map_count` mappings, 65,530 by default,
the next program that is loaded ends the process with a segmentation fault: a job of 75 heads came
that far.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from sib_jax.runtime.cache_dir import CacheError, cache_dir

_MAPPED = Path("/proc/self/maps")
_LIMIT = Path("/proc/sys/vm/max_map_count")


def keep() -> None:
    """Turns on JAX's compilation cache, unless the user has: the next command starts at once.

    Where nothing can be written to its folder, programs are compiled in every command.
    """
    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return
    try:
        folder = cache_dir() / "compiled"
        folder.mkdir(parents=True, exist_ok=True)
    except (CacheError, OSError):
        return
    if os.access(folder, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        # The many small programs too: together they take longer than the large one.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def make_room() -> None:
    """Drops all compiled programs once half of the mappings are used; they compile again.

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


def text(compute: Callable[..., Any], *of: Any) -> bytes:
    """What a function computes, as text that is the same in every process and on every machine.

    That of a jaxpr is not.

    Args:
      compute: to be traced; nothing is compiled.
      of: its arguments, or their `jax.ShapeDtypeStruct`s.
    """
    return jax.jit(compute).trace(*of).lower(lowering_platforms=("cpu",)).as_text().encode()
