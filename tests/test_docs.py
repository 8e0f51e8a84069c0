"""What the documentation shows is run as it stands there."""

import re
import sys
import types
from pathlib import Path

import pytest

from sib_jax import methods
from sib_jax.config import check, heads
from sib_jax.experiment.settings import read

DOCS = Path(__file__).resolve().parents[1] / "docs"


def blocks(name):
    return re.findall(r"```python\n(.*?)```", (DOCS / name).read_text(), re.DOTALL)


@pytest.fixture
def registry(monkeypatch):
    """The registry, as it was again after the test."""
    for name, entry in list(methods.METHODS.items()):
        monkeypatch.setitem(methods.METHODS, name, entry)
    yield methods.METHODS
    methods.METHODS.pop("nearest_centroid", None)


def test_the_guide_to_adding_a_method(registry, monkeypatch):
    file, line, config, test = blocks("add_a_method.md")
    module = types.ModuleType("nearest_centroid")
    monkeypatch.setitem(sys.modules, "nearest_centroid", module)
    exec(file, module.__dict__)
    exec(line, {"METHODS": registry, "Entry": methods.Entry, "nearest_centroid": module})
    names = {}
    exec(config, names)
    made = names["get_config"]()
    check(made)
    assert heads(made)["centroid"].nearest_centroid.scale == 20.0
    assert [h.method.name for h in read(made).heads] == ["SIB point", "nearest_centroid"]
    exec(test, names)
    tests = [function for name, function in names.items() if name.startswith("test_")]
    assert tests
    for function in tests:
        function()
