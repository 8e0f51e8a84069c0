"""Executes notebooks, each in an empty folder; with --write, saves their outputs, cleaned.

python .ci/notebooks.py [--write] [notebooks/quick_start.ipynb ...]

Without names it executes all of them. Without --write they run at the size of a test
(SIB_JAX_SMALL=1). Needs nbclient, nbformat and ipykernel (pip install -e '.[notebooks]').
"""

import os
import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

_ROOT = Path(__file__).resolve().parents[1]
_TIMEOUT = 3600  # seconds, for each cell
_LARGEST = 400_000  # bytes, for each notebook


def execute(path: Path, folder: str) -> Any:
    """Runs a notebook from top to bottom and returns it; raises if a cell fails."""
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": folder}}
    NotebookClient(notebook, timeout=_TIMEOUT, resources=resources).execute()
    return notebook


def joined(outputs: Iterable[Any]) -> list[Any]:
    """Pieces of one stream as one output: where a kernel cuts it differs from run to run."""
    found: list[Any] = []
    for output in outputs:
        if found and "name" in output and found[-1].get("name") == output.name:
            found[-1].text += output.text
        else:
            found.append(output)
    return found


def clean(notebook: Any, folder: str) -> None:
    """Removes what differs between runs or machines."""
    for number, cell in enumerate(c for c in notebook.cells if c.cell_type == "code"):
        cell.metadata = {}
        cell.execution_count = number + 1
        # Warnings and progress bars depend on the machine; results are printed or shown.
        cell.outputs = joined(o for o in cell.outputs if o.get("name") != "stderr")
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = number + 1
            if "text" in output:
                # As in a terminal, a line that was written over is gone.
                text = output.text.replace("\r\n", "\n")
                output.text = re.sub(r"^.*\r", "", text, flags=re.MULTILINE)
    text = nbformat.writes(notebook)
    for machine in (folder, str(Path.home()), str(_ROOT), os.environ.get("SIB_JAX_DATA") or folder):
        if machine in text:
            raise SystemExit(f"a path of this machine, {machine}, is in the outputs")
    if len(text.encode()) > _LARGEST:
        raise SystemExit(f"{len(text.encode())} bytes: make its pictures smaller")


def main(arguments: list[str]) -> None:
    """Executes the named notebooks, or all of them."""
    write = "--write" in arguments
    names = [a for a in arguments if a != "--write"]
    if not write:
        os.environ["SIB_JAX_SMALL"] = "1"
    os.environ["PYTHONPATH"] = os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")])
    for path in map(Path, names or sorted((_ROOT / "notebooks").glob("*.ipynb"))):
        print(path.name, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            notebook = execute(path, folder)
            if write:
                clean(notebook, folder)
                nbformat.write(notebook, path)


if __name__ == "__main__":
    main(sys.argv[1:])
