"""Heads on balanced and unbalanced queries in one job."""

import json

import numpy as np
import pytest

from sib_jax.errors import UserError
from sib_jax.experiment import job

BALANCED = {"optimizer.query_classes": "balanced"}
DIRICHLET = {"query_classes": "dirichlet:2"}
ONE_QUERY = {"total_queries": 1, "optimizer.total_queries": 6}  # as many as ways * queries


def test_heads_that_differ_in_the_queries_of_evaluation_alone_are_trained_once(config, tmp_path):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(14), 12)
    features = rng.standard_normal((14, 16))[labels] + rng.standard_normal((len(labels), 16))
    split = np.repeat(["train", "val", "test"], [72, 48, 48])
    np.savez(tmp_path / "own.npz", features=features, labels=labels, split=split)
    config.dataset, config.data_dir = "features", str(tmp_path / "own.npz")
    config.posterior, config.prior = "point", "none"
    config.queries, config.inner.steps = 2, 0
    config.heads = (
        ("one", {}),
        ("other", DIRICHLET | BALANCED),
        ("unbalanced", DIRICHLET),
        ("one_query", ONE_QUERY),
    )
    rows = job.run(config, tmp_path / "run")
    logged = [json.loads(x) for x in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {of["stage"] for of in logged} == {"one", "unbalanced"}
    one, other, unbalanced, one_query = (
        dict(np.load(tmp_path / "run" / "heads" / f"{name}.npz"))
        for name in ("one", "other", "unbalanced", "one_query")
    )
    for name in one.keys() - {"about.json"}:
        np.testing.assert_array_equal(one[name], other[name])
        np.testing.assert_array_equal(one[name], one_query[name])
    assert any(np.any(one[name] != unbalanced[name]) for name in one)
    kinds = [row["query_classes"] for row in rows if row["split"] == "test"]
    assert kinds == ["balanced", "dirichlet:2", "dirichlet:2", "balanced"]
    tasks = np.load(tmp_path / "run" / "tasks.npz")["one_query/test/novel"]
    assert set(np.unique(tasks)) <= {0.0, 1.0}
    assert rows[1]["nll"] != rows[3]["nll"]
    table = (tmp_path / "run" / "table.md").read_text()
    assert "| 3-way 1-shot, dirichlet:2 queries |" in table
    assert "| 3-way 1-shot, 1 query in all |" in table


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (DIRICHLET, "is 1 + 4, up to 13 of a class if unbalanced, but class"),
        ({"optimizer.query_classes": "dirichlet:2"}, "is 1 + 4, up to 13 of a class if"),
        (
            {"total_queries": 60},
            "config.shots is 1, with 60 queries in all: up to 21 images",
        ),
        ({"query_classes": "dirichlet:0"}, "config.query_classes is 'dirichlet:0', but must be"),
        ({"support_classes": "missing"}, "config.support_classes is 'missing', but must be one of"),
    ],
)
def test_what_cannot_work_is_found_before_any_work(config, tmp_path, fields, message):
    config.heads = (("a", fields),)
    with pytest.raises(UserError) as raised:
        job.run(config, tmp_path / "run")
    assert message in str(raised.value)
    assert not (tmp_path / "run").exists()
