"""What the documentation shows is run as it stands there."""

import importlib.util
import re
import sys
import types
from pathlib import Path

import jax
import numpy as np
import pytest

from sib_jax import methods
from sib_jax.config import check, default, heads, steps
from sib_jax.experiment import workdir
from sib_jax.experiment.loading import UNTRAINED
from sib_jax.experiment.settings import read
from sib_jax.runtime import weights

DOCS = Path(__file__).resolve().parents[1] / "docs"


METHODS = re.compile(r"methods that need no training: soft_kmeans \(the default\), ([a-z_,\s]*)\.")


def page(name):
    return (DOCS / name).read_text()


def blocks(name):
    return re.findall(r"```python\n(.*?)```", page(name), re.DOTALL)


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


def test_the_guide_to_prediction(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    whole = importlib.util.find_spec("flatbuffers") is not None  # what jax.export writes with
    for block in blocks("predict.md"):
        if whole or "export" not in block:
            exec(block, names)
    assert names["found"].probabilities.shape == (4, 3)
    assert not whole or names["predictor"].image_size == names["size"]
    np.testing.assert_allclose(names["probabilities"].sum(axis=1), 1, rtol=1e-5)
    assert set(re.findall(r"[a-z_]+", METHODS.search(page("predict.md"))[1])) == {*UNTRAINED} - {
        "soft_kmeans"
    }


def test_the_guide_to_features(tmp_path, monkeypatch):
    """Its last block, on a run that leaves what a job leaves; the others download models."""
    monkeypatch.chdir(tmp_path)
    config = default("features")
    config.ways, config.heads = 2, steps(0)
    params = read(config).heads[0].method.init(jax.random.key(0), methods.Classes((7,), 1))
    workdir.write_config(config, Path("runs/mine"))
    weights.save(workdir.params_file(Path("runs/mine"), "T0"), params)
    names: dict = {}
    (last,) = blocks("features.md")
    exec(last, names)
    assert names["probabilities"].shape == (3, 2)
    for block in re.findall(r"```py\n(.*?)```", page("features.md"), re.DOTALL):
        compile(block, "features.md", "exec")
