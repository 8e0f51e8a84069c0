"""One compiled loop for every method: what it leaves alone, and how it may be cut into calls."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sib_jax
from sib_jax.config import default
from sib_jax.experiment import meta_train, settings
from sib_jax.methods import Classes


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((64, 8)).astype(np.float32)
    return sib_jax.feature_table(features, np.repeat(np.arange(8), 8))


def config_of(**fields):
    config = default()
    config.ways, config.queries, config.optimizer.batch = 3, 4, 2
    config.inner.steps = 1
    config.update_from_flattened_dict(fields)
    return config


def start_of(head, table):
    """The optimizer, and the state before the first step."""
    weights = np.random.default_rng(1).standard_normal((8, 8)).astype(np.float32)
    params = head.method.init(jax.random.key(0), Classes((8,), 8, weights))
    optimizer = meta_train.make_optimizer(head.training.optimizer, head.method)
    return optimizer, meta_train.start_state(head.learns_from[0], optimizer, params, table)


def trained(table, calls=(6,), **fields):
    """Parameters before and after six steps, made in so many calls."""
    (head,) = settings.read(config_of(**fields)).heads
    optimizer, state = start_of(head, table)
    before = jax.tree.map(np.array, state.model)
    run = meta_train.compile_steps(head.learns_from, optimizer, head.training.batch)
    first = 0
    for count in calls:
        state = run(state, table, jax.random.key(4), first, count)
        first += count
    return before, jax.tree.map(np.array, state)


@pytest.mark.parametrize("learned", [False, True])
def test_a_fixed_prior_stays_as_it_starts_also_under_weight_decay(table, learned):
    fields = {"prior": "gaussian", "prior_std": 0.5, "optimizer.weight_decay": 0.5}
    (head,) = settings.read(config_of(**fields, learn_prior=learned)).heads
    optimizer, state = start_of(head, table)
    gradient = jax.tree.map(np.ones_like, state.model)
    updates, _ = jax.jit(optimizer.update)(gradient, state.optimizer, state.model)
    assert np.all(updates.init_net.coefficient)
    for leaf in jax.tree.leaves(updates.prior):
        assert np.all(leaf) if learned else not np.any(leaf)


def test_however_steps_are_divided_into_calls_the_result_is_the_same(table):
    _, one = trained(table, (6,))
    _, more = trained(table, (1, 3, 2))
    jax.tree.map(np.testing.assert_array_equal, one, more)


@pytest.mark.parametrize("method", ["sib", "prototypical", "matching", "weight_generator"])
def test_every_method_logs_its_loss_and_accuracy(table, method):
    before, state = trained(table, method=method)
    assert {"loss", "accuracy"} <= state.sums.keys()
    assert np.isfinite(state.sums["loss"])
    assert 0 <= state.sums["accuracy"] <= 12  # of six steps of two episodes
    pairs = zip(jax.tree.leaves(before), jax.tree.leaves(state.model), strict=True)
    assert any(np.any(a != b) for a, b in pairs)


def test_steps_take_sizes_in_turn(table):
    """Every step is that of a loop which has its size alone."""
    sizes = ((3, 1, 12), (5, 2, 20))
    fields = {"method": "prototypical", "optimizer.name": "sgd", "optimizer.lr": 0.1}
    fields["optimizer.sizes_in_turn"] = sizes
    (head,) = settings.read(config_of(**fields)).heads
    tasks = [lesson.setting.task for lesson in head.learns_from]
    assert tuple((task.ways, task.shots, task.all_queries) for task in tasks) == sizes
    assert head.chosen_on == head.setting
    optimizer, state = start_of(head, table)
    in_turn = meta_train.compile_steps(head.learns_from, optimizer, 2)
    found = in_turn(jax.tree.map(jnp.copy, state), table, jax.random.key(4), 0, 5)
    runs = [meta_train.compile_steps((lesson,), optimizer, 2) for lesson in head.learns_from]
    for step in range(5):
        state = runs[step % 2](state, table, jax.random.key(4), step, 1)
    # The parameters, and the sums of what each of the steps reports.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), found, state)


def test_a_step_that_is_named_twice_drops_twice():
    optimizer = settings.Optimizer("sgd", 1.0, 0.0, 0.0, (2, 2), 0.1)
    (head,) = settings.read(config_of()).heads
    steps = meta_train.make_optimizer(optimizer, head.method)
    state, moved, update_of = steps.init(jnp.zeros(())), [], jax.jit(steps.update)
    for _ in range(3):
        update, state = update_of(jnp.ones(()), state, jnp.zeros(()))
        moved.append(float(-update))
    np.testing.assert_allclose(moved, [1, 1, 0.01], rtol=1e-6)
