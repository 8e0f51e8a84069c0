"""What fuzz tests share: how many cases, the bounds that each keeps, and their report.

SIB_JAX_FUZZ=10000 runs so many cases of each kind, or a tenth of the cheaper ones, in place of the
few of every day; SIB_JAX_FUZZ_REPORT=FILE writes what came of them as JSON, added to what is there.
"""

import contextlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np

from sib_jax.errors import UserError

CASES = int(os.environ.get("SIB_JAX_FUZZ", "0"))
REFUSED = object()
SECONDS = 5  # of processor time, for one file of some kilobytes
MEMORY = 200_000  # kilobytes, beside 4 times the file

_tallies: dict[str, dict[str, Any]] = {}


def cases(short: int = 75, share: float = 1.0) -> hypothesis.settings:
    """Settings of a test: `short` cases, or where it is set a share of $SIB_JAX_FUZZ."""
    count = max(1, int(CASES * share)) if CASES else short
    return hypothesis.settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=True,
        # A long run stops at its first failure; the few cases of every day find the smallest one.
        phases=[hypothesis.Phase.generate] if CASES else list(hypothesis.Phase),
        suppress_health_check=list(hypothesis.HealthCheck),
    )


def bounded(kind: str, read: Callable[..., Any], *arguments: Any, size: int = 0) -> Any:
    """What `read` gives, or `REFUSED`: only errors of ours, of one line, in time and in memory.

    Args:
      kind: of the case, in the report.
      read: what is tested.
      *arguments: of it.
      size: of what it reads, in bytes.
    """
    tally = _tallies.setdefault(
        kind, {"cases": 0, "refused": 0, "slowest_s": 0.0, "most_memory_kb": 0}
    )
    before, start = _restart_peak(), time.process_time()
    try:
        found = read(*arguments)
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017
        assert len(str(error)) < 1000  # noqa: PT017
        found = REFUSED
    seconds = time.process_time() - start
    memory = _peak() - before
    assert seconds < SECONDS
    assert memory <= MEMORY + 4 * size / 1000
    tally["cases"] += 1
    tally["refused"] += found is REFUSED
    tally["slowest_s"] = max(tally["slowest_s"], round(seconds, 3))
    tally["most_memory_kb"] = max(tally["most_memory_kb"], memory)
    return found


def same(a: Any, b: Any) -> bool:
    """Whether two trees of plain values and arrays are equal; NaN is equal to itself."""
    if isinstance(a, np.ndarray | np.generic) or isinstance(b, np.ndarray | np.generic):
        a, b = np.asarray(a), np.asarray(b)
        alike = a.dtype.newbyteorder("=") == b.dtype.newbyteorder("=") and a.shape == b.shape
        return (
            alike
            and a.astype(a.dtype.newbyteorder("=")).tobytes()
            == b.astype(b.dtype.newbyteorder("=")).tobytes()
        )
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(
            same(x, y) for x, y in zip(a.values(), b.values(), strict=True)
        )
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or (a != a and b != b))


def write_report() -> None:
    """Adds the tallies so far to the file that $SIB_JAX_FUZZ_REPORT names, if it names one."""
    if not (name := os.environ.get("SIB_JAX_FUZZ_REPORT")):
        return
    rows: dict[str, Any] = {}
    with contextlib.suppress(FileNotFoundError):
        rows = json.loads(Path(name).read_text())
    for kind, tally in _tallies.items():
        rows[kind] = {**tally, "accepted": tally["cases"] - tally["refused"]}
    Path(name).write_text(json.dumps(rows, indent=1) + "\n")


def _restart_peak() -> int:
    """The memory now, in kilobytes; where the system can, the peak is counted anew from here."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    """In kilobytes; macOS tells bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak
