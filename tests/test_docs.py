"""What the documentation shows is run as it stands there."""

import ast
import importlib.util
import re
import shlex
import sys
import types
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from sib_jax import evaluate, features, main, methods, predict
from sib_jax.config import check, default, fields, heads, steps
from sib_jax.errors import UserError
from sib_jax.experiment import head_file, run_files
from sib_jax.experiment.loading import untrained
from sib_jax.experiment.settings import read
from sib_jax.report import __main__ as report
from sib_jax.runtime import shipped, weights

pytestmark = pytest.mark.usefixtures("registries")  # a page's code registers some

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
OTHERS = [
    f"../{path.relative_to(ROOT)}"
    for folder in (ROOT, ROOT / "results", ROOT / "weights")
    for path in sorted(folder.glob("*.md"))
]
GUIDES = {
    "add_a_method.md",
    "predict.md",
    "features.md",
    "evaluation.md",
}  # have a test of their own below
REGISTERS = {"add_a_method.md": (0, 2), "add_a_backbone.md": (0,), "add_a_data_set.md": (0,)}
PAGES = sorted(path.name for path in DOCS.glob("*.md"))
WITH_CODE = [p for p in PAGES if p not in GUIDES and "```python" in (DOCS / p).read_text()]
LINK = re.compile(r"\]\(([^)\s]+)\)")

METHODS = re.compile(
    r"that need no training: soft_kmeans \(the default elsewhere\), ([a-z_,\s]*)\."
)


def page(name):
    return (DOCS / name).read_text()


def blocks(name):
    return re.findall(r"```python\n(.*?)```", page(name), re.DOTALL)


def commands(text):
    """The module and the words of each `python -m sib_jax...` in bash blocks."""
    for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:2] == ["python", "-m"] and words[2].startswith("sib_jax"):
                yield words[2], words[3:]


def literal(value):
    """What the command line makes of the value of a field."""
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value


def check_training(words):
    """Raises where a flag, an experiment, a field or a value of a command does not exist."""
    options = dict(word.removeprefix("--").partition("=")[::2] for word in words)
    assert not {n for n in options if not n.startswith("config.")} - {*main.flags.FLAGS}, words
    assert not {n.removeprefix("config.") for n in options if "." in n} - {*fields()}, words
    name, _, dataset = options["config"].partition(":")
    path = shipped.experiments()[Path(name).stem]
    names = {}
    exec(path.read_text(), names)
    config = names["get_config"](*filter(None, [dataset]))
    changes = {n.removeprefix("config."): literal(v) for n, v in options.items() if "." in n}
    config.update_from_flattened_dict(changes)
    check(config)


@pytest.mark.parametrize("name", WITH_CODE)
def test_the_code_of_a_page(name, tmp_path, monkeypatch):
    """All its python blocks in turn, in one namespace; what they claim, they assert."""
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType("page")
    for number, block in enumerate(blocks(name)):
        exec(compile(block, f"{name}, block {number}", "exec"), module.__dict__)


@pytest.mark.parametrize("name", [*PAGES, *OTHERS])
def test_the_commands_of_a_page(name):
    names: dict = {}
    for number in REGISTERS.get(name, ()):
        exec(blocks(name)[number], names)
    for module, words in commands(page(name)):
        if module == "sib_jax.predict":
            predict._parse(words)
        elif module == "sib_jax.evaluate":
            evaluate._parse(words)
        elif module == "sib_jax.features":
            features._parse(words)
        elif module == "sib_jax.report":
            report._parse(words)
        elif module == "sib_jax.main":
            check_training(words)
        else:
            raise AssertionError(f"{name} shows an unknown command {module}")


def test_a_mistaken_command_would_be_found():
    for words in (["--config=5w1s", "--config.steps=1"], ["--config=5w1s", "--dir=x"]):
        with pytest.raises(AssertionError):
            check_training(words)


def anchors(text):
    """What links can name within a page, as GitHub makes it of its headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", [*PAGES, *OTHERS])
def test_the_links_of_a_page(name):
    """Files and their headings are there, and what the reference is asked for can be imported."""
    for target in LINK.findall(page(name)):
        if target.startswith("http"):
            continue
        file, _, anchor = target.partition("#")
        path = (DOCS / name).parent / file if file else DOCS / name
        assert path.exists(), target
        if anchor and not file.startswith("api"):
            assert anchor in anchors(path.read_text()), target
        elif anchor:
            where, _, what = anchor.rpartition(".")
            assert hasattr(importlib.import_module(where), what), target
            shown = re.findall(r"^::: (\S+)", path.read_text(), re.MULTILINE)
            assert {anchor, where} & {*shown}, target


def test_the_guide_to_adding_a_method(monkeypatch):
    registry = methods.METHODS
    file, line, own, config, test = blocks("add_a_method.md")
    module = types.ModuleType("nearest_centroid")
    monkeypatch.setitem(sys.modules, "nearest_centroid", module)
    exec(file, module.__dict__)
    exec(line, {"METHODS": registry, "Entry": methods.Entry, "nearest_centroid": module})
    del registry["nearest_centroid"]
    exec(own, module.__dict__)
    assert registry["nearest_centroid"] == methods.Entry(module.Settings, module.make)
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


def test_the_guide_to_images_that_a_table_lists(tmp_path, monkeypatch):
    monkeypatch.setenv("SIB_JAX_CACHE", str(tmp_path / "cache"))
    names: dict = {}
    exec(blocks("add_a_data_set.md")[-1], names)
    place, lines = tmp_path / "own", ["path,label,split"]
    (place / "any").mkdir(parents=True)
    for number, split in enumerate(("train", "train", "val", "test")):
        for i in range(2):
            Image.new("RGB", (9, 7), (40 * number, i, 0)).save(place / f"any/{number}_{i}.png")
            lines.append(f"any/{number}_{i}.png,class {number},{split}")
    (place / "images.csv").write_text("\n".join(lines))
    data = names["load_listed"](str(place), image_size=8)
    assert data.train.class_names == ("class 0", "class 1")
    assert data.train.images[:, 0, 0, 0].tolist() == [0, 0, 40, 40]
    assert data.test.images.shape == (2, 8, 8, 3)
    (place / "images.csv").write_text("\n".join([*lines, "any/0_0.png,class 9,other"]))
    with pytest.raises(UserError, match="split is 'other', but must be one of"):
        names["load_listed"](str(place))
    with pytest.raises(UserError, match="where are the data"):
        names["load_listed"]("")


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
    named = set(re.findall(r"[a-z_]+", METHODS.search(page("predict.md"))[1]))
    assert named == {*untrained()} - {"soft_kmeans"}, "docs/predict.md lists untrained methods"


def test_the_guide_to_features(tmp_path, monkeypatch):
    """What needs no models of others: a projection, and a run that leaves what a job leaves."""
    monkeypatch.chdir(tmp_path)
    config = default("features")
    config.ways, config.heads = 2, steps(0)
    (head,) = read(config).heads
    params = head.method.init(jax.random.key(0), methods.Classes((7,), 1))
    run_files.write_config(config, Path("runs/mine"))
    path = run_files.params_file(Path("runs/mine"), "T0")
    head_file.save(path, params, head, input_shape=(7,), base_classes=["owl"], made_by="")
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(20, 8)) @ rng.normal(size=(8, 300))).astype(np.float16)
    np.savez("FILE.npz", features=features, labels=np.arange(20) // 2, split=["train"] * 20)
    projection, last = blocks("features.md")
    exec(projection, {})
    with np.load("SHORT.npz") as found:
        short, labels = found["features"], found["labels"]
    assert short.shape == (20, 256)
    assert labels.tolist() == (np.arange(20) // 2).tolist()
    whole = features.astype(np.float32)  # of 8 directions, so that 256 hold all of it
    np.testing.assert_allclose(short @ short.T, whole @ whole.T, rtol=1e-3, atol=0.1)
    names: dict = {}
    exec(last, names)
    assert names["probabilities"].shape == (3, 2)
    for block in re.findall(r"```py\n(.*?)```", page("features.md"), re.DOTALL):
        compile(block, "features.md", "exec")


def test_the_guide_to_evaluation(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    of_head = {"T0": np.array([0.25, 0.5]), "adapted": np.array([0.5, 1.0])}
    stored = {head: {"test": {"novel": accuracy}} for head, accuracy in of_head.items()}
    weights.save(Path("runs/a/tasks.npz"), stored)
    (block,) = blocks("evaluation.md")
    exec(block, {})
    # Differences of 25 and 50 points.
    mean, interval = map(float, capsys.readouterr().out.split("±"))
    assert mean == 37.5
    assert interval == pytest.approx(1.96 * 12.5 / 2**0.5)
