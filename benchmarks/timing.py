"""What every benchmark shares: rounds, ratios, what it ran on, and the official code's process.

Only the standard library is used here, so that `official_worker.py` can run where jax is not.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

Work = Callable[[], Any]  # does something once and returns when it is finished


def seconds(work: Work) -> float:
    """How long `work` takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def fastest(work: Work, times: int) -> float:
    """The shortest of several runs, after one that compiles and warms up.

    A run is slowed down by what else the machine does, never sped up.
    """
    work()
    return min(seconds(work) for _ in range(times))


def compare(
    work: str,
    amount: float,
    unit: str,
    ours: Callable[[], float],
    official: Callable[[], float],
    rounds: int,
    **extra: Any,
) -> dict[str, Any]:
    """Measures both in alternating rounds, so that what slows the machine down slows both.

    Args:
      work: the row's name.
      amount: units of work that one call does.
      unit: what is counted, a second.
      ours: does it once and returns the seconds it took.
      official: the same.
      rounds: pairs of measurements.
      **extra: further fields of the row.

    Returns:
      A row: units a second of both (medians) and their ratio; the extremes of the ratio in a round.
    """
    pairs = [(ours(), official()) for _ in range(rounds)]
    medians = [statistics.median(column) for column in zip(*pairs, strict=True)]
    ratios = [theirs / our for our, theirs in pairs]
    return {
        "work": work,
        "unit": f"{unit}/s",
        "ours": amount / medians[0],
        "official": amount / medians[1],
        "ratio": medians[1] / medians[0],
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        **extra,
    }


def peak_memory() -> int:
    """The most memory that this process has had resident, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


THREADS = tuple(sorted({1, cores()}))  # numbers of threads that the official code is tried with


class Official:
    """The official code in a process of its own, in its own Python; asleep while ours is measured.

    Use it as a context manager.
    """

    def __init__(self, checkout: str, python: str = sys.executable):
        """Starts it; `checkout` is a folder with the official repository."""
        if not (Path(checkout) / "sib.py").is_file():
            sys.exit(f"--official={checkout} holds no sib.py: give a checkout of sib_meta_learn")
        self._start(python, "official_worker.py", str(Path(checkout).absolute()))

    def _start(self, python: str, worker: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [python, str(Path(__file__).with_name(worker)), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.stdin.close()  # type: ignore[union-attr]
        self._process.wait()

    def ask(self, work: str, **request: Any) -> dict[str, Any]:
        """The answer of `official_worker.py` to a request."""
        print(json.dumps({"work": work, **request}), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()  # type: ignore[union-attr]
        if not line:
            sys.exit("the other code's process ended; its message stands above")
        return json.loads(line)

    def seconds(self, work: str, **request: Any) -> float:
        """How long a piece of work takes it, warm-up excluded."""
        return self.ask(work, **request)["seconds"]

    def best_threads(self, work: str, **request: Any) -> int:
        """Whether it is faster on one thread or on one for each core."""
        return min(THREADS, key=lambda threads: self.seconds(work, threads=threads, **request))


def parser(doc: str | None, official: bool | None = None) -> argparse.ArgumentParser:
    """The flags that benchmarks share.

    Args:
      doc: the script's docstring.
      official: whether the official code is required, optional (False), or no part of it (None).
    """
    flags = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("--json", help="file that the rows are written to")
    if official is not None:
        flags.add_argument(
            "--official", required=official, help="a checkout of github.com/hushell/sib_meta_learn"
        )
        flags.add_argument(
            "--official_python", default=sys.executable, help="a Python that has torch"
        )
    return flags


def numbers(text: str) -> tuple[int, ...]:
    """A flag such as 1,8,64."""
    return tuple(int(part) for part in text.split(","))


def describe(official: Official | None = None) -> dict[str, Any]:
    """Hardware, versions and date; printed as the header."""
    about = {
        "cpu": _cpu(),
        "cores": cores(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in ("sib_jax", "jax", "jaxlib")},
        **({} if official is None else official.ask("about")),
        "date": datetime.datetime.now().isoformat(" ", "minutes"),
    }
    print(", ".join(f"{name} {value}" for name, value in about.items()), flush=True)
    return about


def report(rows: Sequence[dict[str, Any]], about: dict[str, Any], path: str | None) -> None:
    """Prints rows as a table and writes them to `path`, each with what it was measured on."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, *([_cell(row.get(name)) for name in names] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))
    write(rows, about, path)


def write(rows: Sequence[dict[str, Any]], about: dict[str, Any], path: str | None) -> None:
    """Writes rows to `path`, if there is one; also those so far, of a long benchmark."""
    if path:
        text = json.dumps([{**row, "about": about} for row in rows], indent=1)
        Path(path).write_text(text + "\n")


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)


def _cpu() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
