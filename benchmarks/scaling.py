"""How the time and memory of an episode grow with T, queries, ways, shots, d and batch.

python benchmarks/scaling.py --json=FILE --plot=FILE.png [--official=DIR] [--official_python=PYTHON]

One quantity is varied at a time. The others stay at 5-way 1-shot, 15 queries, T = 3, d = 640, and
`--batch` episodes at once. Ours is measured with both posteriors, and beside it the official code
if it is given. Every point is measured in a process of its own. Memory is the growth of that
process's peak during evaluation and training, compiling included, once the features are in place.
"""

import concurrent.futures
import json
import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ours
import timing
from ours import Setting

AXES: dict[str, tuple[int, ...]] = {
    "steps": (0, 1, 3, 10, 50),
    "queries": (15, 50, 150),
    "ways": (5, 10, 20),
    "shots": (1, 5, 20),
    "features": (64, 640, 2560),
    "batch": (1, 8, 64),
}
# 170 images a class are enough for the largest episode, and the table stays comparatively small.
BASE = Setting(images=170, batch=16)
MEASURED = {
    "train": "training, ms an episode",
    "evaluate": "evaluation, ms an episode",
    "memory": "memory, MB",
}
_LABELS = {"steps": "T", "queries": "queries a class", "features": "d"}


def main(argv: Sequence[str]) -> None:
    """Measures all points, then writes and plots them."""
    flags = timing.parser(__doc__, official=False)
    flags.add_argument("--plot", help="file to write the plot to")
    flags.add_argument("--axes", default=",".join(AXES), help="which quantities to vary")
    flags.add_argument("--batch", type=int, default=BASE.batch, help="episodes, on the other axes")
    flags.add_argument("--points", type=int, default=100, help="the most points along an axis")
    flags.add_argument("--episodes", type=int, default=256, help="in one measurement")
    flags.add_argument(
        "--rounds", type=int, default=3, help="alternating rounds; medians are shown"
    )
    flags.add_argument("--replot", action="store_true", help="only plot what --json holds")
    args = flags.parse_args(argv)
    if args.replot:
        plot(json.loads(Path(args.json).read_text()), args.plot)
        return
    about = _describe(args)
    rows = []
    base = BASE._replace(batch=args.batch)
    for axis, setting in _points(base, args.axes.split(","), args.points):
        for name, found in _measure(setting, args).items():
            row = {"axis": axis, "value": getattr(setting, axis), "code": name}
            rows.append({**row, "batch": setting.batch, **found})
            print(_line(rows[-1]), flush=True)
    timing.report(rows, about, args.json)
    if args.plot:
        plot(rows, args.plot)


def _describe(args: Any) -> dict[str, Any]:
    if not args.official:
        return timing.describe()
    with timing.Official(args.official, args.official_python) as official:
        return timing.describe(official)


def _points(base: Setting, axes: Sequence[str], most: int) -> Iterator[tuple[str, Setting]]:
    for axis in axes:
        for value in AXES[axis][:most]:
            varied: dict[str, Any] = {axis: value}
            yield axis, base._replace(**varied)


def _measure(setting: Setting, args: Any) -> dict[str, dict[str, float]]:
    """What `MEASURED` names, for ours with either posterior and for the official code."""
    episodes = max(1, args.episodes // setting.batch) * setting.batch
    found = {
        posterior: _in_own_process(setting._replace(posterior=posterior), episodes, args.rounds)
        for posterior in ("point", "gaussian")
    }
    if args.official:
        found["official"] = _official(setting, episodes, args)
    return found


def _in_own_process(setting: Setting, episodes: int, rounds: int) -> dict[str, float]:
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, spawn) as pool:
        return pool.submit(_ours, setting, episodes, rounds).result()


def _ours(setting: Setting, episodes: int, rounds: int) -> dict[str, float]:
    config, table = ours.config_of(setting), ours.table(setting)
    before = timing.peak_memory()
    # Evaluation comes first: it needs less memory.
    took = {
        work: timing.fastest(ours.WORK[work](config, table, episodes), rounds)
        for work in ("evaluate", "train")
    }
    grown = timing.peak_memory() - before
    return {**{k: 1e3 * s / episodes for k, s in took.items()}, "memory": grown / 1e6}


def _official(setting: Setting, episodes: int, args: Any) -> dict[str, float]:
    with timing.Official(args.official, args.official_python) as official:
        official.ask("load", units=0, **setting._asdict())
        memory, took = 0.0, {}
        for work in ("evaluate", "train"):
            answers = [
                official.ask(work, units=episodes, threads=threads, **setting._asdict())
                for _ in range(args.rounds)
                for threads in timing.THREADS
            ]
            took[work] = 1e3 * min(a["seconds"] for a in answers) / episodes
            memory += sum(a["memory"] for a in answers) / 1e6
    return {**took, "memory": memory}


def _line(row: dict[str, Any]) -> str:
    values = ", ".join(f"{name} {row[name]:.3g}" for name in MEASURED)
    return f"{row['axis']} {row['value']}, batch {row['batch']}, {row['code']}: {values}"


def plot(rows: Sequence[dict[str, Any]], path: str) -> None:
    """Plots a grid: a column for each quantity that is varied, a row for each measured one."""
    import matplotlib.pyplot as plt

    colours = {"point": "tab:blue", "gaussian": "tab:green", "official": "tab:red"}
    axes_of = list(dict.fromkeys(row["axis"] for row in rows))
    size = (2.6 * len(axes_of) + 1, 2.4 * len(MEASURED) + 0.8)
    figure, panels = plt.subplots(
        len(MEASURED),
        len(axes_of),
        figsize=size,
        sharex="col",
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    for column, axis in enumerate(axes_of):
        for line, (measured, label) in enumerate(MEASURED.items()):
            panel = panels[line, column]
            for code, colour in colours.items():
                points = [row for row in rows if (row["axis"], row["code"]) == (axis, code)]
                panel.plot(
                    [row["value"] for row in points],
                    [row[measured] for row in points],
                    color=colour,
                    marker=".",
                    label="official" if code == "official" else f"ours, {code}",
                )
            panel.set_xscale("symlog" if axis == "steps" else "log", base=2, **_linear(axis))
            panel.set_yscale("log")
            _ticks(panel, sorted({row["value"] for row in rows if row["axis"] == axis}))
            panel.grid(alpha=0.3)
            if column == 0:
                panel.set_ylabel(label)
        panels[-1, column].set_xlabel(_LABELS.get(axis, axis))
    handles = {
        label: handle
        for panel in panels.flat
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles, loc="outside upper center", ncols=4)
    figure.savefig(path, dpi=150)


def _linear(axis: str) -> dict[str, float]:
    return {"linthresh": 1.0} if axis == "steps" else {}


def _ticks(panel: Any, values: Sequence[int]) -> None:
    panel.set_xticks(values, [str(value) for value in values])
    panel.minorticks_off()
    panel.tick_params(labelsize=7)


if __name__ == "__main__":
    main(sys.argv[1:])
