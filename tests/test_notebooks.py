"""Notebooks as they are committed: executed, without errors, and of names that exist.

`.ci/notebooks.py` executes them; that takes minutes, and is a job of the workflow.
"""

import ast
import importlib
import json
import re
from pathlib import Path

import pytest

from sib_jax.config import fields

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MACHINE = re.compile(r"/(?:root|home|work|tmp|usr|Users|content)/|site-packages")


def cells(path, kind):
    return [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == kind]


def source(cell):
    return "".join(cell["source"])


def python(path):
    """All its code, without the lines that only IPython reads."""
    lines = "\n".join(source(cell) for cell in cells(path, "code")).splitlines()
    return ast.parse("\n".join(re.sub(r"^(\s*)(%|!|\w+ = !).*", r"\1pass", x) for x in lines))


def address():
    """Of the repository, as the documentation has it."""
    text = (ROOT / "mkdocs.yml").read_text()
    return re.search(r"^repo_url: https://(\S+)", text, re.MULTILINE)[1]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestNotebook:
    def test_was_executed_from_top_to_bottom_without_errors(self, path):
        assert path.stat().st_size < 400_000
        numbers = [cell["execution_count"] for cell in cells(path, "code")]
        assert numbers == list(range(1, len(numbers) + 1))
        outputs = [output for cell in cells(path, "code") for output in cell["outputs"]]
        assert outputs
        assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]

    def test_tells_nothing_of_the_machine(self, path):
        found = MACHINE.search(re.sub(r'"image/png": ".*?"', "", path.read_text()))
        assert found is None, found

    def test_uses_names_that_exist(self, path):
        for node in ast.walk(python(path)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sib_jax"):
                module = importlib.import_module(node.module)
                assert all(hasattr(module, name.name) for name in node.names)
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "sib_jax":
                assert hasattr(importlib.import_module("sib_jax"), node.attr), node.attr
        assert {*re.findall(r"--config\.([\w.]+)=", path.read_text())} <= {*fields()}

    def test_installs_and_opens_from_the_address_of_the_repository(self, path):
        assert f"git+https://{address()}" in source(cells(path, "code")[0])
        colab = address().replace("github.com/", "colab.research.google.com/github/")
        badge = f"(https://{colab}/blob/main/notebooks/{path.name})"
        assert badge in source(cells(path, "markdown")[0])
