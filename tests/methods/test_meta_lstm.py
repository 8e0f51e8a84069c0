"""The meta-learner LSTM, against numbers of a PyTorch implementation (see tests/parity) and SGD."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sib_jax.methods import METHODS, Classes, meta_lstm
from sib_jax.methods.meta_lstm import Gate, MetaLstm
from sib_jax.methods.parts import lstm
from sib_jax.methods.parts.lstm import Lstm
from sib_jax.tasks.episode import Episode

PARITY = Path(__file__).parents[1] / "parity"
init = jax.jit(meta_lstm.init, static_argnames=("hidden", "scale"))


def of_torch(arrays, prefix="", suffix=""):
    """An `Lstm` of PyTorch's arrays, which has two biases and the same order of gates."""
    get = lambda name: arrays[f"{prefix}{name}{suffix}"]  # noqa: E731
    weights = np.concatenate([get("weight_ih").T, get("weight_hh").T])
    return Lstm(jnp.asarray(weights), jnp.asarray(get("bias_ih") + get("bias_hh")))


def test_updates_and_their_gradients_agree_with_pytorch():
    arrays = dict(np.load(PARITY / "meta_lstm.npz"))

    def params_of(prefix):
        def gate(name):
            weights, bias = (arrays[f"{prefix}/metalstm.{kind}{name}"] for kind in "Wb")
            return Gate(jnp.asarray(weights[:, 0]), jnp.asarray(bias[0, 0]))

        start = jnp.asarray(arrays[f"{prefix}/metalstm.cI"][:, 0])
        first = of_torch(arrays, f"{prefix}/lstm.")
        return MetaLstm(start, first, gate("F"), gate("I"), jnp.asarray(0.0))

    @jax.jit
    def run(params):
        state, thetas = meta_lstm.start_state(params), []
        for gradient, loss in zip(arrays["gradients"], arrays["losses"], strict=True):
            state = meta_lstm.update(params, state, jnp.asarray(gradient), jnp.asarray(loss))
            thetas.append(state.theta)
        return jnp.stack(thetas)

    params = params_of("param")
    np.testing.assert_allclose(run(params), arrays["thetas"], rtol=1e-4, atol=1e-5)
    found = jax.jit(jax.grad(lambda p: jnp.sum(run(p) ** 2)))(params)
    wanted = params_of("grad")
    # The gradient of PyTorch's two biases is the same in each.
    wanted = wanted._replace(first=wanted.first._replace(bias=wanted.first.bias / 2))
    for name in ("start", "first", "forget", "enter"):
        for a, b in zip(
            jax.tree.leaves(getattr(found, name)),
            jax.tree.leaves(getattr(wanted, name)),
            strict=True,
        ):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


def test_lstm_agrees_with_pytorch_in_both_directions():
    arrays = dict(np.load(PARITY / "lstm.npz"))
    for suffix, name, order in (("_l0", "forward", 1), ("_l0_reverse", "backward", -1)):
        params = of_torch(arrays, "param/", suffix)
        output = cell = jnp.zeros((1, 6))
        found = []
        for row in arrays["sequence"][::order]:
            output, cell = jax.jit(lstm.step)(params, jnp.asarray(row)[None], output, cell)
            found.append(output[0])
        np.testing.assert_allclose(found[::order], arrays[name], rtol=1e-5, atol=1e-6)


def logit(p):
    return float(np.log(p / (1 - p)))


def test_with_gates_held_it_is_gradient_descent():
    """Forget gate 1 and input gate alpha, whatever the first LSTM says."""
    rng = np.random.default_rng(0)
    start, inputs = jnp.asarray(rng.normal(size=4)), jnp.asarray(rng.normal(size=(5, 4)))
    params = init(jax.random.key(0), start, hidden=3, scale=1.0)
    params = params._replace(
        forget=Gate(jnp.zeros(5), jnp.asarray(100.0)), enter=Gate(jnp.zeros(5), logit(0.1))
    )

    def loss(theta):
        return jnp.mean(jnp.cosh(inputs @ theta))

    wanted, gradient = np.asarray(start), jax.jit(jax.grad(loss))
    for _ in range(3):
        wanted = wanted - 0.1 * np.asarray(gradient(wanted))
    found = jax.jit(lambda p: meta_lstm.adapt(p, loss, steps=3))(params)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_gradients_of_the_learner_are_constants():
    """With the gates held, d theta_T / d theta_0 is the identity and not SGD's."""
    params = init(jax.random.key(0), jnp.ones(3), hidden=2, scale=1.0)
    held = (Gate(jnp.zeros(4), jnp.asarray(100.0)), Gate(jnp.zeros(4), jnp.asarray(0.0)))

    def after(start):
        given = params._replace(start=start, forget=held[0], enter=held[1])
        return meta_lstm.adapt(given, lambda p: jnp.sum(p**4), steps=3)

    found = jax.jit(jax.jacobian(after))(jnp.full(3, 0.3))
    np.testing.assert_allclose(found, np.eye(3), atol=1e-6)


def test_it_starts_as_gradient_descent_with_a_little_decay():
    params = init(jax.random.key(0), jnp.ones(5), hidden=20, scale=1.0)

    @jax.jit
    def first(params):
        return meta_lstm.update(
            params, meta_lstm.start_state(params), jnp.full(5, 2.0), jnp.asarray(1.6)
        )

    state = first(params)
    forget, enter = (1 / (1 + np.exp(-np.asarray(x))) for x in (state.forget, state.enter))
    assert np.all((forget > 0.97) & (forget < 0.995))
    assert np.all((enter > 0.006) & (enter < 0.02))
    np.testing.assert_allclose(state.theta, forget - 2 * enter, rtol=1e-6)


def test_preprocessing_of_large_and_small_numbers():
    small = np.exp(-10) / 2
    found = jax.jit(meta_lstm.preprocess)(np.float32([np.e, -1, 0, small, -small]))
    wanted = [(0.1, 1), (0, -1), (-1, 0), (-1, 0.5), (-1, -0.5)]
    np.testing.assert_allclose(found.T, wanted, atol=1e-6)
    gradient = jax.jit(jax.grad(lambda x: meta_lstm.preprocess(x).sum()))(0.0)
    assert np.isfinite(gradient)


@pytest.mark.parametrize("learner", meta_lstm.LEARNERS)
def test_each_learner_learns_its_support_set(learner):
    """With held gates; an episode whose queries are its support set."""
    images = learner == "conv"
    shape = (4, 4, 1) if images else (6,)
    rng = np.random.default_rng(0)
    inputs = rng.integers(0, 256, (6, *shape)).astype(np.uint8 if images else np.float32)
    labels = jnp.arange(6) % 3
    episode = Episode(jnp.asarray(inputs), labels, jnp.asarray(inputs), labels)
    settings = meta_lstm.Settings(learner, steps=30, hidden=2, scale=5.0, filters=4, blocks=1)
    method = meta_lstm.make(settings, 3)
    assert method.reads == ("images" if images else "features")
    params = jax.jit(method.init, static_argnums=1)(jax.random.key(0), Classes(shape, 6))
    params = params._replace(
        forget=Gate(jnp.zeros(4), jnp.asarray(100.0)), enter=Gate(jnp.zeros(4), logit(0.3))
    )
    found = jax.jit(method.logits)(params, episode, jax.random.key(1))
    assert np.array_equal(found.argmax(1), labels)


def test_an_unknown_learner():
    with pytest.raises(ValueError, match="learner is 'tree', but must be one of"):
        METHODS["meta_lstm"].make(meta_lstm.Settings("tree"), 5)
