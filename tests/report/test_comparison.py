"""Paired differences, and which runs have no common tasks."""

import copy
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from sib_jax.report import comparison, confusion, html, observed, paired
from sib_jax.report import run as runs
from sib_jax.report.run import ReportError, Run
from sib_jax.report.section import Section, Table

OF_TASKS = {
    "dataset": "glyphs",
    "seed": 0,
    "base_holdout": 0.0,
    "fingerprints": {"train": "a", "val": "b", "test": "c"},
    "heads": {"T3": {"setting": "standard", "ways": 5, "shots": 1, "queries": 15}},
}


def _run(name="one", draw=0, tasks=50, **changes):
    accuracy = np.random.default_rng(draw).uniform(size=tasks)
    row = {"head": "T3", "split": "test", "both": None, "steps": 3, "method": "SIB point"}
    row |= {"dataset": "glyphs", "ways": 5, "shots": 1, "setting": "standard", "tasks": tasks}
    row["novel"] = {"mean": 100 * accuracy.mean(), "ci95": 1.0}
    arrays = {"T3": {"test": {"novel": accuracy, "nll": accuracy}}}
    return Run(Path(name), [row], [], arrays, {**copy.deepcopy(OF_TASKS), **changes}, None)


def test_the_interval_is_that_of_a_normal_mean_of_paired_differences():
    rng = np.random.default_rng(0)
    hard = rng.uniform(size=400)  # what both share
    one, other = (np.clip(hard + rng.normal(0, 0.05, 400) + b, 0, 1) for b in (0.02, 0))
    found = paired.difference(one, other)
    of_task = 100 * (one - other)
    low, high = stats.norm.interval(0.95, of_task.mean(), stats.sem(of_task, ddof=0))
    np.testing.assert_allclose(
        [found.mean - found.ci95, found.mean + found.ci95], [low, high], rtol=1e-3
    )
    apart = 100 * 1.96 * np.sqrt((one.var() + other.var()) / 400)
    assert found.ci95 < apart / 4


def test_runs_on_the_same_tasks_are_compared():
    one, other = _run(), _run("other", draw=1)
    found = comparison.compare([one, other])
    wanted = 100 * np.mean(other.tasks["T3"]["test"]["novel"] - one.tasks["T3"]["test"]["novel"])
    assert [c.name for c in found] == ["one T3", "other T3"]
    np.testing.assert_allclose(found[1].over.mean, wanted)
    lines = comparison.text(found, "test").splitlines()
    assert lines[1].endswith("(baseline)")
    assert lines[2].endswith(found[1].over.text("+"))


def _of_two_kinds(name, draw):
    """Heads of 1-shot and of 5-shot tasks, two of each; the second is the better one."""
    run = _run(name, draw)
    rows, tasks, about = [], {}, {}
    for shots in (1, 5):
        for number in (0, 1):
            head = f"h{number}_{shots}"
            novel = run.tasks["T3"]["test"]["novel"] / 2 + number / 4
            mean = {"mean": 100 * novel.mean(), "ci95": 1.0}
            rows += [run.rows[0] | {"head": head, "shots": shots, "novel": mean}]
            tasks[head] = {"test": {"novel": novel, "nll": novel}}
            about[head] = OF_TASKS["heads"]["T3"] | {"shots": shots}
    return run._replace(rows=rows, tasks=tasks, of_tasks=run.of_tasks | {"heads": about})


def test_heads_of_other_tasks_have_a_baseline_of_their_own(tmp_path):
    found = comparison.compare([_of_two_kinds("one", 0), _of_two_kinds("other", 1)])
    wanted = [
        f"{run} h{number}_{shots}"
        for shots in (1, 5)
        for run in ("one", "other")
        for number in (0, 1)
    ]
    assert [c.name for c in found] == wanted
    assert [c.baseline for c in found] == ["one h1_1"] * 4 + ["one h1_5"] * 4
    assert [c.name for c in found if c.over is None] == ["one h1_1", "one h1_5"]
    np.testing.assert_allclose(
        [c.over.mean for c in found if c.name in ("one h0_1", "one h0_5")], -25
    )
    chosen = comparison.compare([_of_two_kinds("one", 0), _of_two_kinds("other", 1)], "h0_5")
    assert {c.baseline for c in chosen} == {"one h0_5", "one h1_1"}
    page = comparison.write(tmp_path / "all.html", found, "test").read_text()
    assert "On the tasks of one h1_5" in page
    pictures = {path.stem.removesuffix("_dark") for path in (tmp_path / "all").iterdir()}
    assert {"differences", "differences_2"} <= pictures


def test_heads_that_the_first_run_has_no_tasks_of_are_left_out_and_named(caplog):
    with caplog.at_level("INFO"):
        found = comparison.compare([_run(), _of_two_kinds("other", 1)])
    assert [c.name for c in found] == ["one T3", "other h0_1", "other h1_1"]
    assert "left out of other, on tasks that one does not have: h0_5, h1_5" in caplog.text


def test_beside_base_classes_the_baseline_is_the_best_among_all_classes():
    run = _run()
    row, accuracy = run.rows[0], run.tasks["T3"]["test"]["novel"]
    rows = []
    for head, novel, both in (("novel", 90.0, 50.0), ("both", 80.0, 60.0)):
        of = {
            name: {"mean": mean, "ci95": 1.0} for name, mean in (("novel", novel), ("both", both))
        }
        rows += [row | of | {"head": head, "split": split} for split in ("val", "test")]
    heads = dict.fromkeys(("novel", "both"), OF_TASKS["heads"]["T3"])
    arrays = {"novel": accuracy, "both": accuracy, "nll": accuracy}
    tasks = {head: {"test": arrays} for head in heads}
    found = comparison.compare(
        [run._replace(rows=rows, tasks=tasks, of_tasks={**OF_TASKS, "heads": heads})]
    )
    assert [c.name for c in found if c.over is None] == ["both"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"seed": 1}, "seed, 1 and 0; to compare seeds of training, give heads of one run"),
        ({"dataset": "folder"}, "data set, folder and glyphs"),
        (
            {"fingerprints": {"train": "a", "val": "b", "test": "d"}},
            "the data that they are drawn from",
        ),
        ({"heads": {"T3": OF_TASKS["heads"]["T3"] | {"shots": 5}}}, "shots, 5 and 1"),
        ({"heads": {"T3": OF_TASKS["heads"]["T3"] | {"setting": "lwof"}}}, "setting, lwof and"),
    ],
)
def test_runs_on_other_tasks_are_refused_in_one_line(changes, reason):
    with pytest.raises(ReportError) as caught:
        comparison.compare([_run(), _run("other", **changes)])
    message = str(caught.value)
    assert message.startswith("other (T3) and one (T3) cannot be paired: their tasks differ in ")
    assert reason in message
    assert "\n" not in message


def test_what_the_tasks_do_not_depend_on_may_differ():
    fingerprints = {"train": "other", "val": "other", "test": "c"}
    found = comparison.compare([_run(), _run("other", fingerprints=fingerprints, base_holdout=0.2)])
    assert len(found) == 2


def test_other_numbers_of_tasks_and_runs_without_them_are_refused():
    with pytest.raises(ReportError, match="different numbers of test tasks, 40 and 50"):
        comparison.compare([_run(), _run("other", tasks=40)])
    with pytest.raises(ReportError, match="has no accuracies of single test tasks for head T3"):
        comparison.compare([_run(), _run("other")._replace(tasks={})])
    with pytest.raises(ReportError, match="has no head 'T9'; it has T3"):
        comparison.compare([_run()], against="T9")


def test_a_comparison_is_a_page_with_its_picture(tmp_path):
    found = comparison.compare([_run(), _run("other", draw=1)])
    text = comparison.write(tmp_path / "all.html", found, "test").read_text()
    assert found[1].over.text("+") in text
    assert text.count("data:image/png;base64,") == 2
    assert (tmp_path / "all" / "differences.png").is_file()


def test_a_folder_without_results_is_named(tmp_path):
    with pytest.raises(
        ReportError, match=r"has no results\.json; give the --workdir of a finished"
    ):
        runs.read(tmp_path)
    (tmp_path / "results.json").write_text("[]")
    with pytest.raises(ReportError, match=r"results\.json is damaged; evaluate again"):
        runs.read(tmp_path)


def test_the_most_confused_pairs_come_first_and_few_queries_say_little():
    rows = np.array([[0, 1, 30, 200], [1, 0, 90, 300], [0, 0, 500, 900], [2, 0, 9, 10]])
    found = confusion.most_confused(rows)
    assert [(p.true, p.taken) for p in found] == [(1, 0), (0, 1)]
    assert [p.share for p in found] == [0.3, 0.15]
    shares = confusion.matrix(rows, np.array([0, 2]))
    np.testing.assert_allclose(shares, [[500 / 900, np.nan], [0.9, np.nan]])  # some never met
    assert np.isnan(confusion.matrix(rows, np.array([0, 2]), least=30)[1, 0])


def test_of_too_many_classes_those_with_most_mistakes_are_shown():
    rows = np.array([[90, 3, 50, 100], [5, 6, 1, 100], [7, 7, 100, 100]])
    shown = observed.classes_shown(rows, 100)
    assert len(shown) == 60
    assert {3, 5, 6, 90} <= set(shown.tolist())


def test_names_of_users_are_text_and_no_markup():
    section = Section("<b>", ["a & b"], [Table(["<script>"], [["$x$ <img src=x>"]])])
    text = html.page("<t>", "x", [section], {}, {"<i>": "</pre>"})
    for markup in ("<b>", "<script>", "<img", "<t>", "<i>", "</pre></pre>"):
        assert markup not in text
