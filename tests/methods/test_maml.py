"""MAML and ANIL, against PyTorch's autograd (see tests/parity) and closed forms."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sib_jax.methods import METHODS, Classes, anil, maml
from sib_jax.methods.parts import conv_net
from sib_jax.methods.parts.conv_net import Block, ConvNet
from sib_jax.tasks.episode import Episode

PARITY = Path(__file__).parents[1] / "parity"


@pytest.fixture(scope="module")
def arrays():
    return dict(np.load(PARITY / "maml.npz"))


def network(arrays, prefix):
    """PyTorch's kernels are [filters, channels, 3, 3]."""

    def block(i):
        kernel = arrays[f"{prefix}/kernel{i}"]
        rows = kernel.transpose(2, 3, 1, 0).reshape(-1, kernel.shape[0])
        return Block(rows, arrays[f"{prefix}/scale{i}"], arrays[f"{prefix}/bias{i}"])

    last = (arrays[f"{prefix}/weights"], arrays[f"{prefix}/bias"])
    return ConvNet((block(0), block(1)), *last)


def episode_of(arrays):
    given = (arrays["support"], np.arange(3), arrays["query"], arrays["query_labels"])
    return Episode(*map(jnp.asarray, given))


def method_of(order, **fields):
    fields = {"steps": 3, "test_steps": 3, "step_size": 0.05, **fields}
    return maml.make(maml.Settings(order=order, **fields), 3)


@pytest.mark.parametrize("order", [1, 2])
def test_scores_and_gradients_agree_with_pytorch(arrays, order):
    method, params, episode = method_of(order), network(arrays, "param"), episode_of(arrays)

    @jax.jit
    def both(params):
        gradient = jax.grad(lambda p: method.loss(p, episode, jax.random.key(0))[0])(params)
        return method.logits(params, episode, jax.random.key(0)), gradient

    scores, gradient = both(params)
    np.testing.assert_allclose(scores, arrays[f"order{order}/scores"], rtol=1e-3, atol=1e-3)
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(gradient))
    wanted = network(arrays, f"order{order}")
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=2e-3 * largest), gradient, wanted
    )


def test_without_a_step_it_is_the_cross_entropy_of_the_queries(arrays):
    method, params = method_of(2, step_size=0.0), network(arrays, "param")
    episode = episode_of(arrays)
    scores = np.asarray(jax.jit(conv_net.logits)(params, episode.query), np.float64)
    odds = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    wanted = -odds[np.arange(6), arrays["query_labels"]].mean()
    loss, logged = jax.jit(method.loss)(params, episode, jax.random.key(0))
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)
    assert float(logged["accuracy"]) == (scores.argmax(1) == arrays["query_labels"]).mean()


@pytest.mark.parametrize("steps", [1, 4])
def test_adaptation_on_a_quadratic_is_the_closed_form(steps):
    """L(p) = p.Ap / 2: after T steps (1 - a A)^T p; that is the Jacobian too, or 1 in first order.

    The Jacobian of first order is the identity: each step adds a constant.
    """
    matrix = jnp.asarray([[2.0, 0.5], [0.5, 1.0]])
    start = jnp.asarray([1.0, -2.0])
    power = np.linalg.matrix_power(np.eye(2) - 0.1 * np.asarray(matrix), steps)

    def after(order):
        return lambda p: maml.adapt(
            lambda p: p @ matrix @ p / 2, p, steps=steps, step_size=0.1, order=order
        )

    for order, jacobian in ((1, np.eye(2)), (2, power)):
        np.testing.assert_allclose(jax.jit(after(order))(start), power @ start, rtol=1e-5)
        found = jax.jit(jax.jacobian(after(order)))(start)
        np.testing.assert_allclose(found, jacobian, atol=1e-6)


def test_anil_is_gradient_descent_on_the_last_layer():
    rng = np.random.default_rng(0)
    support, query = rng.normal(size=(6, 4)), rng.normal(size=(5, 4))
    labels, weights = np.arange(6) % 3, rng.normal(size=(4, 3))
    scale, alpha = 3.0, 0.2
    x, q = (scale * a / np.linalg.norm(a, axis=1, keepdims=True) for a in (support, query))
    adapted = weights
    for _ in range(4):
        odds = np.exp(x @ adapted)
        odds /= odds.sum(1, keepdims=True)
        adapted = adapted - alpha * x.T @ (odds - np.eye(3)[labels]) / 6
    given = anil.Anil(weights, np.asarray(scale)), support, labels, query
    logits = jax.jit(anil.logits, static_argnums=0, static_argnames="steps")
    found = logits(anil.Settings(step_size=alpha), *given, steps=4)
    np.testing.assert_allclose(found, q @ adapted, rtol=1e-4, atol=1e-4)


def test_training_and_evaluation_take_their_own_number_of_steps():
    rng = np.random.default_rng(1)
    arrays = (rng.normal(size=(3, 4)), np.arange(3), rng.normal(size=(3, 4)), np.arange(3))
    episode = Episode(*map(jnp.asarray, arrays))
    key = jax.random.key(0)
    few, many = (anil.make(anil.Settings(steps=a, test_steps=b), 3) for a, b in ((1, 4), (4, 1)))
    params = jax.jit(few.init, static_argnums=1)(key, Classes((4,), 6))
    for one, other in ((few, many), (many, few)):
        scores = np.asarray(jax.jit(other.logits)(params, episode, key))
        odds = scores - np.log(np.exp(scores).sum(1, keepdims=True))
        loss, _ = jax.jit(one.loss)(params, episode, key)
        np.testing.assert_allclose(loss, -np.diagonal(odds).mean(), rtol=1e-5)


@pytest.mark.parametrize("name", ["maml", "anil"])
@pytest.mark.parametrize("wrong", [{"order": 3}, {"steps": -1}])
def test_settings_that_cannot_work(name, wrong):
    with pytest.raises(ValueError, match="must be"):
        METHODS[name].make(METHODS[name].settings(**wrong), 5)
