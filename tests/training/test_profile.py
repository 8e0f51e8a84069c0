import gzip
import json

import jax
import numpy as np

from sib_jax import episodes
from sib_jax.config import default
from sib_jax.training import profile
from sib_jax.training.meta_train import init_params


def names_in_trace(directory):
    (path,) = directory.glob("plugins/profile/*/*.trace.json.gz")
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    return [event.get("name", "") for event in events]


def test_a_window_traces_steps_of_a_loop_after_the_first(tmp_path):
    @jax.jit
    def a_step_of_mine(x):
        return x + 1

    def traced(steps):
        directory = tmp_path / str(steps)
        x = a_step_of_mine(0.0)
        with profile.Window(directory) as window:
            for _ in range(steps):
                window.before_step(x)
                x = a_step_of_mine(x)
        return names_in_trace(directory).count("PjitFunction(a_step_of_mine)")

    events, rest = divmod(traced(20), profile.STEPS)  # of one step
    assert events > 0
    assert rest == 0
    assert traced(8) == 5 * events  # all that such a loop has after the first three


def test_without_a_directory_a_window_does_nothing(tmp_path):
    with profile.Window(None) as window:
        for _ in range(20):
            window.before_step(None)


def test_a_trace_of_meta_training_is_written(tmp_path):
    config = default()
    config.queries = 2
    rng = np.random.default_rng(0)
    features = rng.standard_normal((30, 8)).astype(np.float32)
    train = episodes.feature_table(features, np.repeat(np.arange(6), 5))
    params = init_params(config, train)
    before = jax.tree.map(np.array, params)
    profile.meta_training(config, params, train, tmp_path)

    names = names_in_trace(tmp_path)
    assert any("run_epoch" in name for name in names)
    assert not any("backend_compile" in name for name in names)  # compiled before
    assert list(tmp_path.glob("plugins/profile/*/*.xplane.pb"))
    jax.tree.map(np.testing.assert_array_equal, params, before)  # nothing of the caller is donated
