"""Several runs in one process compile what they share once."""

from typing import Any, NamedTuple

import numpy as np
import pytest

from sib_jax.config import default
from sib_jax.experiment import meta_train, settings
from sib_jax.methods import METHODS, Entry, soft_kmeans


class Weighted(NamedTuple):
    weights: Any = np.ones(3)


def head_of(**changes):
    config = default("features")
    config.update_from_flattened_dict(changes)
    (head,) = settings.read(config).heads
    return head


def steps_of(head):
    optimizer = meta_train.make_optimizer(head.training.optimizer, head.method)
    return meta_train.compile_steps(head.learns_from, optimizer, head.training.batch)


def test_equal_settings_are_one_method_and_one_training_loop():
    one, other = head_of(), head_of(seed=1)
    assert one.training.seed != other.training.seed
    assert one.method is other.method
    assert steps_of(one) is steps_of(other)


@pytest.mark.parametrize(
    "changes",
    [
        {"inner.steps": 2},
        {"ways": 3},
        {"optimizer.lr": 0.1},
        {"optimizer.batch": 4},
        {"queries": 3},
        {"optimizer.query_classes": "dirichlet:2"},
        {"learn_prior": False, "prior": "gaussian", "posterior": "gaussian"},
    ],
)
def test_other_settings_are_another_training_loop(changes):
    assert steps_of(head_of()) is not steps_of(head_of(**changes))


def test_a_method_of_a_user_s_may_have_settings_that_cannot_be_hashed(monkeypatch):
    made = []

    def make(given, ways):
        made.append((np.shape(given.weights), ways))
        return soft_kmeans.make(soft_kmeans.Settings(), ways)

    monkeypatch.setitem(METHODS, "own", Entry(Weighted, make))
    assert settings.method_of(head_config("own")).name == "soft_kmeans"
    assert made == [((3,), 5)]


def head_config(method):
    config = default("features")
    with config.unlocked():
        config.method = method
    return config


def test_a_method_replaced_under_its_name_is_not_taken_for_the_one_before(monkeypatch):
    before = settings.method_of(head_config("soft_kmeans"))

    def make(given, ways):
        return before._replace(name="another")

    monkeypatch.setitem(METHODS, "soft_kmeans", Entry(soft_kmeans.Settings, make))
    assert settings.method_of(head_config("soft_kmeans")).name == "another"
