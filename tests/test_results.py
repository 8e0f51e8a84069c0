"""What RESULTS.md, its pages and README.md show is what the files of results/ say."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from sib_jax.report import style

RESULTS = Path(__file__).resolve().parents[1] / "results"


def load_tables():
    spec = importlib.util.spec_from_file_location("tables", RESULTS / "tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tables = load_tables()


def test_the_picture_shows_what_the_table_says(monkeypatch):
    monkeypatch.syspath_prepend(RESULTS)
    figure = importlib.import_module("figure")
    of_steps = figure.draw(style.LIGHT).axes[0]
    drawn = {bars.get_label(): bars.lines[0].get_ydata() for bars in of_steps.containers}
    (line,) = (line for line in tables.first().splitlines() if line.startswith("| 1-shot | 54"))
    printed = [float(cell.split(" ± ")[0]) for cell in line.split("|")[2:6]]
    np.testing.assert_allclose(np.asarray(drawn["SIB, here"], float), printed, atol=0.006)


@pytest.mark.parametrize("document", tables.DOCUMENTS, ids=lambda path: path.name)
def test_tables_show_what_the_files_say(document):
    text = document.read_text()
    assert tables.made_anew(text) == text, "python results/tables.py makes them anew"


def test_every_table_stands_in_a_document():
    shown = [
        name for path in tables.DOCUMENTS for _, name in tables.PLACE.findall(path.read_text())
    ]
    assert sorted(shown) == sorted(tables.TABLES)


def test_a_figure_that_is_not_the_files_is_noticed():
    document = next(path for path in tables.DOCUMENTS if path.name == "RESULTS.md")
    text = document.read_text()
    (row,) = (r for h, r in tables.rows(["cifar_fs"]).items() if h == "standard_5w1s_T3")
    shown = f"{row['novel']['mean']:.2f} ± {row['novel']['ci95']:.2f}"
    wrong = text.replace(f"| {shown} |", "| 99.99 ± 0.01 |")
    assert wrong != text
    assert tables.made_anew(wrong) == text


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.tasks.npz")), ids=lambda path: path.name)
def test_accuracies_of_the_tasks_have_the_mean_and_interval_of_their_row(path):
    name = path.name.removesuffix(".tasks.npz")
    found = {
        r["head"]: r
        for r in json.loads((RESULTS / f"{name}.json").read_text())
        if r["split"] == "test"
    }
    with np.load(path) as arrays:
        assert {key.split("/")[0] for key in arrays.files} == set(found)
        for key in arrays.files:
            head, measure = key.split("/")
            percent = 100 * arrays[key].astype(np.float64)
            row = found[head]
            assert len(percent) == row["tasks"]
            np.testing.assert_allclose(percent.mean(), row[measure]["mean"], atol=1e-3)
            half = 1.96 * percent.std(ddof=0) / len(percent) ** 0.5
            np.testing.assert_allclose(half, row[measure]["ci95"], rtol=1e-3)


@pytest.mark.parametrize(
    ("printed", "mean", "half", "wanted"),
    [
        ("60.00 ± 0.50", 60.6, 0.4, "above"),
        ("60.00 ± 0.50", 60.2, 0.4, "within"),
        ("60.00", 60.1, 0.4, "above"),
        ("60.00 ± 0.50", 59.65, 0.4, "within"),
        ("60.00 ± 0.30", 59.66, 0.4, "0.3 below"),
        ("60.00", 59.9, 0.4, "0.1 below"),
        ("", 59.9, 0.4, ""),
    ],
)
def test_beside_the_paper(printed, mean, half, wanted):
    """Within is within both intervals; without one of the paper, nothing is."""
    assert tables.beside(printed, mean, half) == wanted


def test_a_finished_run_is_kept_as_it_is(tmp_path, monkeypatch):
    run, kept = tmp_path / "run", tmp_path / "results"
    run.mkdir()
    kept.mkdir()
    monkeypatch.setattr(tables, "HERE", kept)
    (run / "results.json").write_text('[{"head": "T3", "split": "test"}]')
    novel = np.asarray([0.2, 0.4], np.float32)
    given = {"T3/test/novel": novel, "T3/test/nll": novel, "T3/val/novel": novel}
    np.savez(run / "tasks.npz", **given)
    tables.keep(run, "mine")
    assert tables.rows(["mine"]) == {"T3": {"head": "T3", "split": "test"}}
    of_task = tables.tasks(["mine"])
    assert set(of_task) == {"T3/novel"}
    np.testing.assert_allclose(of_task["T3/novel"], [0.2, 0.4], rtol=1e-6)
