"""What a user sees of a loop."""

import types

import pytest

from sib_jax.runtime import console


@pytest.fixture
def clock(monkeypatch):
    """Its `now` is the time in seconds, as a loop sees it; log lines are caught."""
    clock = types.SimpleNamespace(now=0.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(console, "time", clock)
    monkeypatch.setattr(console.log, "propagate", True)
    return clock


def test_compilation_does_not_count_in_the_time_that_is_left(clock, caplog):
    """The first twenty units take ten minutes, as they wait for a program."""
    with caplog.at_level("INFO"), console.progress("T3", 100, "episodes") as advance:
        for seconds in (600, 20, 60):
            clock.now += seconds
            advance(20)
    assert caplog.messages == [
        "T3: 20 of 100 episodes",
        "T3: 40 of 100 episodes, 1/s, 60 s left",
        "T3: 60 of 100 episodes, 0.50/s, 80 s left",
    ]


@pytest.mark.parametrize("done", [0, 90])
def test_nothing_is_said_of_a_loop_that_has_ended(clock, caplog, done):
    with caplog.at_level("INFO"), console.progress("T3", 100, "episodes", done) as advance:
        clock.now += 600
        advance(100 - done)
    assert caplog.messages == []
