"""Makes the report of a run again, or compares runs on the same tasks.

python -m sib_jax.report WORKDIR
python -m sib_jax.report WORKDIR WORKDIR... [--out=comparison.html]
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sib_jax.command import Parser, path, start


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command; a mistake of the user ends it with one line."""
    start(run, _parse(sys.argv[1:] if argv is None else argv))


def run(options: argparse.Namespace) -> None:
    """Writes what the options ask for."""
    from sib_jax.report import comparison, page
    from sib_jax.report import run as runs

    if len(options.workdirs) == 1:
        workdir = Path(options.workdirs[0])
        path = page.write(workdir)
        if runs.read(workdir).observed is None:
            print(
                "the run was evaluated without a report, so parts of it are missing: to get all of "
                "them, run its command again with --mode=evaluate"
            )
    else:
        found = comparison.compare(
            [runs.read(Path(workdir)) for workdir in options.workdirs],
            options.against,
            options.split,
        )
        print(comparison.text(found, options.split))
        path = comparison.write(Path(options.out), found, options.split)
    print(f"report: {path}")


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser("sib_jax.report", __doc__)
    add = parser.add_argument
    add("workdirs", metavar="WORKDIR", type=path, nargs="+", help="of a finished run")
    add(
        "--against",
        metavar="HEAD",
        help="head of the first run to compare all with; default: its best on validation",
    )
    add("--split", choices=("val", "test"), help="split to compare on; default: test")
    add(
        "--out",
        metavar="FILE.html",
        type=path,
        help="where a comparison goes; default: comparison.html. A single run has its report.html",
    )
    options = parser.parse_args(argv)
    for name in ("against", "split", "out"):
        if len(options.workdirs) == 1 and getattr(options, name) is not None:
            parser.error(f"--{name} is only for comparisons: give two runs or more")
    options.split, options.out = options.split or "test", options.out or "comparison.html"
    if Path(options.out).suffix != ".html":
        parser.error(f"--out is {options.out}, but must end in .html")
    if Path(options.out).is_dir():
        parser.error(f"--out={options.out} is a folder: name a file")
    return options


if __name__ == "__main__":
    main()
