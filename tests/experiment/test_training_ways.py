"""Training episodes of more ways than those of evaluation."""

import numpy as np
import pytest

from sib_jax.errors import UserError
from sib_jax.experiment import job, settings


def test_a_method_for_any_number_of_ways_learns_from_more(config, backbone_file, tmp_path):
    config.queries, config.backbone_file, config.optimizer.epochs = 2, backbone_file, 1
    config.method = "matching"
    config.heads = (("as_many", {}), ("more", {"optimizer.ways": 5}))
    as_many, more = settings.read(config).heads
    tasks = (more.learns_from[0].setting.task, more.chosen_on.task, more.setting.task)
    assert [task.ways for task in tasks] == [5, 3, 3]
    assert as_many.learns_from == ((as_many.method, as_many.chosen_on),)
    rows = job.run(config, tmp_path / "run")
    assert [row["ways"] for row in rows] == [3, 3, 3, 3]
    params = [dict(np.load(tmp_path / "run" / "heads" / f"{n}.npz")) for n in ("as_many", "more")]
    assert any(np.any(params[0][k] != params[1][k]) for k in params[0].keys() - {"about.json"})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, r"optimizer\.ways is 5, but SIB.* can only learn for 3 ways"),
        (
            {"method": "matching", "optimizer.ways": 50},
            r"optimizer\.ways is 50, but must be at most \d+, the number of classes in the train",
        ),
    ],
)
def test_what_cannot_learn_from_more_is_told(config, tmp_path, fields, message):
    config.queries = 2
    config.heads = (("a", {"optimizer.ways": 5, **fields}),)
    with pytest.raises(UserError, match=message):
        job.run(config, tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_what_learns_nothing_stands_beside_what_learns_from_more(config):
    config.queries, config.optimizer.ways = 2, 5
    config.heads = (("untrained", {"method": "simple_shot"}), ("more", {"method": "matching"}))
    untrained, more = settings.read(config).heads
    assert more.learns_from[0].setting.task.ways == 5
    assert untrained.setting.task.ways == more.setting.task.ways == 3


def test_validation_has_the_number_of_queries_that_training_has(config):
    config.heads, config.method, config.queries = (), "matching", 15
    config.optimizer.ways, config.optimizer.total_queries = 10, 150  # 10 * 15
    (head,) = settings.read(config).heads
    tasks = [head.learns_from[0].setting.task, head.chosen_on.task, head.setting.task]
    assert [(task.ways, task.all_queries) for task in tasks] == [(10, 150), (3, 150), (3, 45)]


def test_sizes_that_do_not_fit_are_told_by_their_field(config, tmp_path):
    config.queries = 2
    config.method, config.optimizer.sizes_in_turn = "sib_plus", ((5, 1, 6), (3, 9, 12))
    config.heads = ()
    message = r"sizes_in_turn has \(3, 9, 12\), .* up to 13 images.* lower config\.optimizer\.sizes"
    with pytest.raises(UserError, match=message):
        job.run(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"method": "sib"}, r"sizes_in_turn has 5 ways, but SIB.* can only learn for 3 ways"),
        ({"optimizer.ways": 5}, r"optimizer\.ways is 5, but must be 0 with sizes_in_turn"),
        (
            {"optimizer.sizes_in_turn": ((3, 1, 6), (50, 1, 6))},
            r"sizes_in_turn, of which ways is 50, but must be at most \d+, the number",
        ),
    ],
)
def test_sizes_of_ways_that_cannot_be_are_told(config, tmp_path, fields, message):
    config.queries, config.method, config.heads = 2, "sib_plus", ()
    config.optimizer.sizes_in_turn = ((3, 1, 6), (5, 1, 6))
    config.update_from_flattened_dict(fields)
    with pytest.raises(UserError, match=message):
        job.run(config, tmp_path / "run")


def test_what_is_not_trained_minds_no_sizes(config):
    config.heads, config.method = (), "soft_kmeans"
    config.optimizer.sizes_in_turn = ((3, 1, 6), (5, 1, 6))
    (head,) = settings.read(config).heads
    assert head.learns_from == ((head.method, head.setting),)
