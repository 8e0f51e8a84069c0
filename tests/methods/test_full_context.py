"""Full context embeddings, against their equations written out in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sib_jax.methods import METHODS, Classes, matching
from sib_jax.methods.matching import Matching, MatchingInContext
from sib_jax.methods.parts import full_context, lstm
from sib_jax.tasks.episode import Episode

D = 4


@pytest.fixture(scope="module")
def params():
    return jax.jit(full_context.init, static_argnums=1)(jax.random.key(0), D)


@pytest.fixture(scope="module")
def examples():
    rng = np.random.default_rng(0)
    return rng.normal(size=(6, D)).astype(np.float32), rng.normal(size=(3, D)).astype(np.float32)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def cell_step(params, x, recurrent, cell):
    gates = np.concatenate([x, recurrent]) @ np.asarray(params.weights) + np.asarray(params.bias)
    enter, forget, new, leave = np.split(gates, 4)
    cell = sigmoid(forget) * cell + sigmoid(enter) * np.tanh(new)
    return sigmoid(leave) * np.tanh(cell), cell


def support_written_out(params, support):
    found = support.copy()
    for one, order in ((params.forward, range(6)), (params.backward, reversed(range(6)))):
        output = cell = np.zeros(D)
        for i in order:
            output, cell = cell_step(one, support[i], output, cell)
            found[i] += output
    return found


def query_written_out(params, support, query, steps):
    hidden = read = cell = np.zeros(D)
    for _ in range(steps):
        output, cell = cell_step(params.read, query, np.concatenate([hidden, read]), cell)
        hidden = output + query
        attention = np.exp(support @ hidden)
        read = (attention / attention.sum()) @ support
    return hidden


def test_support_examples(params, examples):
    found = jax.jit(full_context.of_support)(params, examples[0])
    np.testing.assert_allclose(found, support_written_out(params, examples[0]), rtol=1e-5)


@pytest.mark.parametrize("steps", [1, 3])
def test_queries(params, examples, steps):
    support, queries = examples
    wanted = [query_written_out(params, support, query, steps) for query in queries]
    found = jax.jit(full_context.of_query, static_argnames="steps")(params, *examples, steps=steps)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_every_support_example_sees_all_others(params, examples):
    jacobian = jax.jit(jax.jacobian(lambda x: full_context.of_support(params, x)))(
        jnp.asarray(examples[0])
    )
    assert np.all(np.abs(jacobian).max((1, 3)) > 0)


def test_cells_of_zero_weights_leave_plain_matching(params, examples):
    """An LSTM whose parameters are 0 puts out 0."""
    support, query = examples
    nothing = jax.tree.map(np.zeros_like, params)
    given = (support, np.arange(6) % 3, query)
    of = jax.jit(matching.logits_in_context, static_argnames=("ways", "steps"))
    found = of(MatchingInContext(jnp.asarray(10.0), nothing), *given, ways=3, steps=5)
    plain = jax.jit(matching.logits, static_argnames="ways")
    wanted = plain(Matching(jnp.asarray(10.0)), *given, ways=3)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_it_is_a_setting_of_matching(examples):
    support, query = map(jnp.asarray, examples)
    method = METHODS["matching"].make(matching.Settings(full_context=True), 3)
    assert method.name == "matching full context"
    params = jax.jit(method.init, static_argnums=1)(jax.random.key(0), Classes((D,), 6))
    episode = Episode(support, jnp.arange(6) % 3, query, jnp.arange(3))
    loss, _ = jax.jit(method.loss)(params, episode, jax.random.key(1))
    scores = jax.jit(method.logits)(params, episode, jax.random.key(1))
    np.testing.assert_allclose(np.exp(scores).sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(loss, -np.diagonal(scores).mean(), rtol=1e-4)
    with pytest.raises(ValueError, match="steps is -1"):
        METHODS["matching"].make(matching.Settings(steps=-1), 3)


def test_initial_lstm_is_within_its_bound():
    params = lstm.init(jax.random.key(0), inputs=3, hidden=16, recurrent=5)
    assert params.weights.shape == (8, 64)
    assert 0.2 < float(jnp.abs(params.weights).max()) <= 0.25
