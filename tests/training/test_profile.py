import gzip
import json

import jax
import numpy as np

from sib_jax import episodes
from sib_jax.config import default
from sib_jax.training import profile
from sib_jax.training.meta_train import init_params


def test_a_trace_of_meta_training_is_written(tmp_path):
    config = default()
    config.queries = 2
    rng = np.random.default_rng(0)
    features = rng.standard_normal((30, 8)).astype(np.float32)
    train = episodes.feature_table(features, np.repeat(np.arange(6), 5))
    params = init_params(config, train)
    before = jax.tree.map(np.array, params)
    profile.trace(config, params, train, tmp_path)

    (path,) = tmp_path.glob("plugins/profile/*/*.trace.json.gz")
    names = {
        e.get("name", "") for e in json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    }
    assert any("run_epoch" in name for name in names)
    assert not any("backend_compile" in name for name in names)  # compiled before
    assert list(tmp_path.glob("plugins/profile/*/*.xplane.pb"))
    jax.tree.map(np.testing.assert_array_equal, params, before)  # nothing of the caller is donated
