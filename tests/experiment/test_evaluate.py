import functools
import math

import jax
import numpy as np
import pytest

import sib_jax
from sib_jax.experiment.evaluate import answers, evaluate
from sib_jax.methods import sib
from sib_jax.sib.inner_loop import Inner
from sib_jax.tasks import setting
from sib_jax.tasks.interval import interval
from sib_jax.tasks.setting import Sources, Task

TASK = Task(ways=3, shots=2, queries=4)
SETTING = setting.make("standard", TASK)


@functools.cache  # one object, and so one program
def method(steps, step_size):
    return sib.make(sib.Settings(Inner(steps, step_size)), TASK.ways)


def accuracies(*arguments, **options):
    return np.concatenate([some.accuracy for some in answers(*arguments, **options)])


@functools.cache
def start():
    init = functools.partial(sib_jax.init, ways=3, features=8, prior=None)
    return jax.jit(init)(jax.random.key(0))


@pytest.fixture
def sources():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(6), 12)
    centres = rng.standard_normal((6, 8))
    features = centres[labels] + 1.2 * rng.standard_normal((72, 8))
    return Sources(sib_jax.feature_table(features.astype(np.float32), labels))


def test_without_steps_it_is_the_nearest_class_mean(sources):
    """Brute force: cosine similarity to the mean of the normalised support, in NumPy."""
    key = jax.random.key(3)
    found = accuracies(method(0, 0.0), start(), SETTING, sources, tasks=30, key=key, batch=10)
    wanted = []
    for i in range(30):
        draw, _ = jax.random.split(jax.random.fold_in(key, i))
        e = sib_jax.sample(draw, sources.novel, **TASK._asdict())
        e = jax.tree.map(np.asarray, e)

        def unit(x):
            return x / np.linalg.norm(x, axis=1, keepdims=True)

        means = np.stack([unit(e.support)[e.support_labels == k].mean(0) for k in range(3)])
        predicted = (unit(e.query) @ unit(means).T).argmax(1)
        wanted.append((predicted == e.query_labels).mean())
    np.testing.assert_allclose(found[:, 0], wanted, atol=1e-6)


def test_batching_changes_nothing(sources):
    options = {"tasks": 25, "key": jax.random.key(3)}
    one = accuracies(method(1, 1e-2), start(), SETTING, sources, batch=1, **options)
    ten = accuracies(method(1, 1e-2), start(), SETTING, sources, batch=10, **options)
    assert one.shape == ten.shape == (25, 1)
    np.testing.assert_allclose(one, ten, atol=1e-6)


def test_episodes_do_not_depend_on_the_number_of_steps(sources):
    """So a table compares T on the same tasks: with a step size of 0, T cannot matter."""
    options = {"tasks": 20, "key": jax.random.key(3), "batch": 10}
    none = evaluate(method(0, 0.0), start(), SETTING, sources, **options)
    two = evaluate(method(2, 0.0), start(), SETTING, sources, **options)
    assert none == two


def test_interval_is_that_of_a_mean():
    accuracy = np.random.default_rng(0).choice([0.2, 0.6, 1.0], 50)
    found = interval(accuracy)
    assert math.isclose(found.mean, 100 * accuracy.mean())
    deviation = math.sqrt(((accuracy - accuracy.mean()) ** 2).mean())
    assert math.isclose(found.ci95, 100 * 1.96 * deviation / math.sqrt(50))
