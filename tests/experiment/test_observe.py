"""What a report shows of a run, from a whole run at toy size and by brute force."""

import json
import re
import shutil
from html.parser import HTMLParser

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sib_jax.experiment import job, observe
from sib_jax.experiment.evaluate import keys_of_task
from sib_jax.experiment.observe import Drawn, confused, draw
from sib_jax.report import __main__ as command
from sib_jax.report import comparison, confusion, observed, style
from sib_jax.report import run as runs
from sib_jax.runtime import console, weights
from sib_jax.tasks.setting import Sources, Task, make
from sib_jax.tasks.table import feature_table


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("reported") / "run"


@pytest.fixture
def workdir(config, backbone_file, place):
    """A finished run with its report: a head with an inner loop, and one with nothing to train."""
    config.heads = (("peer", {"method": "soft_kmeans"}), ("T2", {"inner.steps": 2}))
    config.backbone_file, config.optimizer.epochs = backbone_file, 1
    if not place.exists():
        job.run(config, place, report=True)
    return place


class Page(HTMLParser):
    """Attributes of tags, and the cells of tables."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.tables, self.cell = [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.cell = ""

    def handle_data(self, data):
        if self.cell is not None:
            self.cell += data

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.tables[-1][-1].append(self.cell)
            self.cell = None


def test_the_page_is_one_file_with_all_parts_and_asks_the_network_for_nothing(workdir):
    text = (workdir / "report.html").read_text()
    found = Page(text)
    sources = [a.get("src") or a["srcset"] for tag, a in found.tags if tag in ("img", "source")]
    assert len(sources) == 2 * len(list((workdir / "report").glob("*_dark.png"))) == 14
    assert all(source.startswith("data:image/png;base64,iVBORw0KGgo") for source in sources)
    assert not re.search(
        r"https?:|//[a-z]|url\(|@import|<script|<link", re.sub('"data:.*?"', "", text)
    )
    assert "prefers-color-scheme: dark" in text
    for title in (
        "Accuracy",
        "Learning curves",
        "inner loop",
        "Calibration",
        "Confusion",
        "One task",
    ):
        assert f"{title}</h2>" in text or f"{title} does</h2>" in text or f"{title} of" in text


def test_its_numbers_are_those_of_results_json(workdir):
    rows = json.loads((workdir / "results.json").read_text())
    tables = Page((workdir / "report.html").read_text()).tables
    lines = [line for table in tables[:2] for line in table[1:]]
    wanted = sorted(rows, key=lambda row: row["split"], reverse=True)  # val, then test
    assert len(lines) == len(wanted) == 4
    for line, row in zip(lines, wanted, strict=True):
        mean, width = row["novel"]["mean"], row["novel"]["ci95"]
        assert line[0] == row["head"]
        assert line[3:] == [
            f"{mean:.2f} ± {width:.2f}",
            *(f"{row['nll']:.3f}", f"{row['ece']:.2f}", str(row["tasks"])),
        ]


def test_made_anew_it_is_the_same_to_the_byte(workdir, capsys, monkeypatch):
    monkeypatch.setattr(console, "start", lambda: None)  # for a process of its own
    files = [workdir / "report.html", *sorted((workdir / "report").glob("*.png"))]
    before = [file.read_bytes() for file in files]
    for file in files:
        file.unlink()
    command.main([str(workdir)])
    assert [file.read_bytes() for file in files] == before
    assert capsys.readouterr().out == f"report: {workdir / 'report.html'}\n"


def test_the_inner_loop_ends_at_the_accuracies_of_the_evaluation(workdir):
    found = observed.read(workdir)
    reached = weights.tree(workdir / "tasks.npz")[0]["T2"]["test"]["novel"]
    assert found.traced.keys() == {"T2"}
    np.testing.assert_allclose(found.traced["T2"]["accuracy"][:, -1], reached, atol=1e-6)
    assert found.traced["T2"]["cosine"].shape == (15, 2)
    assert np.all(np.abs(found.traced["T2"]["cosine"]) <= 1 + 1e-5)


def test_right_answers_on_the_diagonal_are_the_accuracy(workdir):
    found = observed.read(workdir)
    for head, pairs in found.confused.items():
        right = pairs[pairs[:, 0] == pairs[:, 1]][:, 2].sum()
        reached = weights.tree(workdir / "tasks.npz")[0][head]["test"]["novel"]
        assert pairs[:, 2].sum() == 15 * 12
        np.testing.assert_allclose(right / (15 * 12), reached.mean(), atol=1e-6)


def test_the_episode_shown_is_one_of_the_evaluated(workdir):
    found = observed.read(workdir)
    task = found.about["episode"]["task"]
    right = found.episode["after"] == found.episode["labels"]
    reached = weights.tree(workdir / "tasks.npz")[0][found.about["episode"]["head"]]["test"][
        "novel"
    ]
    np.testing.assert_allclose(right.mean(), reached[task], atol=1e-6)
    assert found.episode["query_images"].shape == (12, 16, 16, 3)


def test_what_was_observed_of_an_evaluation_before_is_not_shown(workdir, tmp_path):
    shutil.copytree(workdir, tmp_path / "run")
    assert runs.read(tmp_path / "run").observed is not None
    rows = json.loads((tmp_path / "run" / "results.json").read_text())
    rows[0]["seconds"] += 1  # the same tasks, evaluated again
    (tmp_path / "run" / "results.json").write_text(json.dumps(rows))
    assert runs.read(tmp_path / "run").observed is not None
    rows[0]["novel"]["mean"] += 1
    (tmp_path / "run" / "results.json").write_text(json.dumps(rows))
    assert runs.read(tmp_path / "run").observed is None


def test_a_run_of_which_nothing_can_be_drawn_still_ends(
    workdir, config, tmp_path, monkeypatch, caplog
):
    def broken(*_, **__):
        raise RuntimeError("no typeface")

    workdir = shutil.copytree(workdir, tmp_path / "run")
    before = (workdir / "results.json").read_text()
    monkeypatch.setattr(style, "png", broken)
    monkeypatch.setattr(job, "observe", broken)
    rows = job.run(config, workdir, "evaluate", report=True)
    assert [row["novel"] for row in rows] == [row["novel"] for row in json.loads(before)]
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert said[0] == "report: the parts from a second look at the tasks failed: no typeface"
    assert "report: no picture accuracies: no typeface" in said
    assert not any("\n" in line for line in said)
    assert "<img" not in (workdir / "report.html").read_text()


def test_heads_of_a_run_are_compared_on_the_same_tasks(workdir):
    found = comparison.compare([runs.read(workdir)], "peer")
    one, other = (
        weights.tree(workdir / "tasks.npz")[0][h]["test"]["novel"] for h in ("peer", "T2")
    )
    assert [c.name for c in found] == ["peer", "T2"]
    assert found[0].over is None
    np.testing.assert_allclose(found[1].over.mean, 100 * (other - one).mean(), atol=1e-4)


@pytest.mark.parametrize("name", ["standard", "lwof"])
def test_rows_are_those_of_the_tasks_that_heads_answer(name):
    rng, key = np.random.default_rng(0), jax.random.key(3)
    labels = np.repeat(np.arange(6), 10)
    sources = Sources(*(feature_table(rng.normal(size=(60, 4)), labels) for _ in range(2)))
    setting = make(name, Task(ways=3, shots=2, queries=4))
    found = observe._gather(draw(setting, sources, key, 5), sources)

    @jax.jit
    @jax.vmap
    def wanted(task):
        return setting.sample_evaluation(keys_of_task(key, task)[0], sources)

    jax.tree.map(np.testing.assert_array_equal, found, wanted(jnp.arange(5)))


@pytest.mark.parametrize("base", [0, 2])
def test_confusions_are_those_counted_one_by_one(base):
    rng, ways, classes, tasks = np.random.default_rng(1), 3, 5, 40
    labels = np.repeat(np.arange(classes), 4)
    chosen = np.stack([rng.permutation(classes)[:ways] for _ in range(tasks)])
    columns = np.broadcast_to(np.arange(ways + base).repeat(2), (tasks, 2 * (ways + base)))
    uneven = [np.repeat(np.arange(ways), n) for n in ([1, 2, 3], [2, 2, 2], [4, 1, 1])]
    support_labels = np.stack([uneven[task % 3] for task in range(tasks)])
    support = 4 * np.take_along_axis(chosen, support_labels, axis=1)
    predicted = rng.integers(0, ways + base, columns.shape)
    drawn = Drawn(support, support_labels, np.zeros_like(columns), columns)
    counts, chances = np.zeros((7, 7), int), np.zeros((7, 7), int)
    for task in range(tasks):
        present = [*chosen[task], *range(classes, classes + base)]
        for true, taken in zip(columns[task], predicted[task], strict=True):
            counts[present[true], present[taken]] += 1
            for other in present:
                chances[present[true], other] += 1
    found = confused(drawn, labels, predicted)
    assert len(found) == np.count_nonzero(chances)  # also of what was never taken for another
    for true, taken, count, of in found:
        assert count == counts[true, taken]
        assert of == chances[true, taken]


def test_of_many_classes_the_pairs_that_are_shown_are_complete(monkeypatch):
    monkeypatch.setattr(observed, "_MOST", 6)
    rng, ways, base, tasks = np.random.default_rng(1), 2, 30, 20
    labels, novel = np.repeat(np.arange(3), 4), 3
    support_labels = np.broadcast_to(np.arange(ways), (tasks, ways))
    chosen = np.stack([rng.permutation(novel)[:ways] for _ in range(tasks)])
    columns = rng.integers(0, ways + base, (tasks, 12))
    often = rng.integers(0, 4, columns.shape)  # classes that others are taken for
    predicted = np.where(rng.random(columns.shape) < 0.5, columns, often)
    drawn = Drawn(4 * chosen, support_labels, np.zeros_like(columns), columns)
    found = confused(drawn, labels, predicted)
    assert len(found) < columns.size + 6 * 6
    shown = observed.classes_shown(found, novel + base)
    wanted = np.full((6, 6), np.nan)
    present = np.concatenate(
        [chosen, np.broadcast_to(novel + np.arange(base), (tasks, base))], axis=1
    )
    true, taken = (np.take_along_axis(present, c, axis=1) for c in (columns, predicted))
    for i, one in enumerate(shown):
        for j, other in enumerate(shown):
            met = (true == one) & (present == other).any(axis=1)[:, None]
            if met.any():
                wanted[i, j] = np.sum(met & (taken == other)) / met.sum()
    np.testing.assert_allclose(confusion.matrix(found, shown), wanted)


def test_a_task_without_a_trajectory_has_its_answers_and_features():
    rng = np.random.default_rng(2)
    table = feature_table(rng.normal(size=(20, 4)).astype(np.float32), np.repeat(np.arange(2), 10))
    setting = make("standard", Task(ways=2, shots=1, queries=3))
    drawn = draw(setting, Sources(table), jax.random.key(0), 1)
    one = jax.tree.map(lambda x: x[0], drawn)
    found = observe.episode(one, Sources(table), None, np.zeros(6, int), None)
    assert {"before", "path_2d", "query_images"}.isdisjoint(found)
    assert found["query_2d"].shape == (6, 2)
    unit = np.asarray(table.features)[one.query]
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    variances = np.sort(np.linalg.eigvalsh(np.cov(unit.T, bias=True)))[::-1]
    np.testing.assert_allclose(found["query_2d"].var(axis=0), variances[:2], atol=1e-5)
    np.testing.assert_allclose(found["explained"], variances[:2] / variances.sum(), atol=1e-5)
    assert jnp.all(jnp.isfinite(found["support_2d"]))
