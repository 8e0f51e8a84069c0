"""The loop looks up after about a second, however long a step takes."""

import types

import jax.numpy as jnp
import pytest

from sib_jax.experiment import loop
from sib_jax.report.metrics import Metrics
from sib_jax.runtime import devices


@pytest.mark.parametrize(("seconds_of_a_step", "longest"), [(3.0, 1), (0.2, 4), (0.001, 8)])
def test_slow_steps_are_taken_a_few_at_a_time(tmp_path, monkeypatch, seconds_of_a_step, longest):
    clock, taken = [0.0], []
    monkeypatch.setattr(loop, "time", types.SimpleNamespace(monotonic=lambda: clock[0]))

    def advance(state, first, count):
        assert first == sum(taken)
        taken.append(count)
        clock[0] += count * seconds_of_a_step
        sums = {name: total + count for name, total in state.sums.items()}
        return state._replace(model=state.model + count, sums=sums)

    zeros = {"loss": jnp.zeros(()), "accuracy": jnp.zeros(())}
    stage = loop.Stage(
        **{"name": "toy", "epochs": 2, "steps_per_epoch": 20, "items": 1, "unit": "steps"},
        chunk=8,
        mesh=devices.episode_mesh(1),
        advance=advance,
        validate=lambda model: {"novel": float(model)},
        if_diverged="nothing",
    )
    state = loop.State(jnp.zeros(()), {}, zeros)
    assert float(loop.train(stage, state, tmp_path / "toy", Metrics(tmp_path))) == 40
    assert sum(taken) == 40
    assert max(taken) == longest
