"""A trace of a loop's steps holds those after the first few, and nothing else changes."""

import gzip
import json

import jax
import pytest

from sib_jax.runtime import trace


def names_in_trace(directory):
    (path,) = directory.glob("plugins/profile/*/*.trace.json.gz")
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    return [event.get("name", "") for event in events]


def loop(directory, steps, chunk):
    """A loop of calls that take up to `chunk` steps; what each call took."""

    @jax.jit
    def a_step_of_mine(x):
        return x + 1

    x, taken = a_step_of_mine(0.0), []
    with trace.Window(directory) as window:
        while sum(taken) < steps:
            window.before(x)
            count = window.limit(min(chunk, steps - sum(taken)))
            for _ in range(count):
                x = a_step_of_mine(x)
            taken.append(count)
    return taken


@pytest.mark.parametrize("chunk", [1, 100])
def test_a_window_traces_steps_of_a_loop_after_the_first(tmp_path, chunk):
    def traced(steps):
        loop(tmp_path / str(steps), steps, chunk)
        return names_in_trace(tmp_path / str(steps)).count("PjitFunction(a_step_of_mine)")

    events, rest = divmod(traced(20), trace.STEPS)  # of one step
    assert events > 0
    assert rest == 0
    assert traced(8) == 5 * events  # all that such a loop has after the first three


def test_without_a_directory_a_window_does_nothing(tmp_path):
    assert loop(None, 250, 100) == [100, 100, 50]
