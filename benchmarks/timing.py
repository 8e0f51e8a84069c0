"""What benchmarks share: rounds, ratios, a description of the machine, and the official code.

This uses only the standard library, so that `official_worker.py` can run where jax is missing.
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

Work = Callable[[], Any]  # does something once, and returns when it is done


def seconds(work: Work) -> float:
    """How long `work` takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def fastest(work: Work, times: int) -> float:
    """How long the fastest of several runs takes, after one that compiles and warms up.

    Other work on the machine can only slow a run down.
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
    """Measures both in alternating rounds, so that other work on the machine slows both.

    Args:
      work: name of the row.
      amount: how many units of work one call does.
      unit: what is counted, such as "episodes".
      ours: does our work once, and returns the seconds it took.
      official: the same for the code that ours is compared with.
      rounds: how many pairs of measurements there are.
      **extra: further fields of the row.

    Returns:
      A row: the units a second of both (medians), their ratio, and its extremes in single rounds.
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
    """The most resident memory that this process has had, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


THREADS = tuple(sorted({1, cores()}))  # the numbers of threads to try the official code with


class Official:
    """The official code in a process and Python of its own, asleep while ours is measured.

    Use it as a context manager.
    """

    def __init__(self, checkout: str, python: str = sys.executable):
        """Starts it; `checkout` is a folder that holds the official repository."""
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
        """How long a piece of work takes it, without warm-up."""
        return self.ask(work, **request)["seconds"]

    def best_threads(self, work: str, **request: Any) -> int:
        """The faster number of threads: one, or one for each core."""
        return min(THREADS, key=lambda threads: self.seconds(work, threads=threads, **request))


def parser(doc: str | None, official: bool | None = None) -> argparse.ArgumentParser:
    """The flags that benchmarks share.

    Args:
      doc: the script's docstring.
      official: True if the official code is required, False if optional, None if not used.
    """
    flags = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("--json", help="file to write the rows to")
    if official is not None:
        flags.add_argument(
            "--official", required=official, help="a checkout of github.com/hushell/sib_meta_learn"
        )
        flags.add_argument(
            "--official_python", default=sys.executable, help="a Python that has torch"
        )
    return flags


def numbers(text: str) -> tuple[int, ...]:
    """The numbers of a flag such as 1,8,64."""
    return tuple(int(part) for part in text.split(","))


def describe(official: Official | None = None) -> dict[str, Any]:
    """Returns hardware, versions and date, and prints them as a header."""
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
    """Prints rows as a table; writes them to `path`, each with the machine it was measured on."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, *([_cell(row.get(name)) for name in names] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))
    write(rows, about, path)


def write(rows: Sequence[dict[str, Any]], about: dict[str, Any], path: str | None) -> None:
    """Writes rows to `path` if there is one; a long benchmark does so after each step."""
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
