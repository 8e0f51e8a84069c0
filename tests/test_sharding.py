"""One device and eight give the same training: run in processes of their own."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

PROGRAM = """
import json, sys
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))
from sib_jax import episodes
from sib_jax.config import default
from sib_jax.training import devices, meta_train
from sib_jax.training.evaluate import accuracies

rng = np.random.default_rng(0)
labels = np.repeat(np.arange(8), 20)
centres = rng.standard_normal((8, 16))
table = episodes.feature_table(
    (centres[labels] + rng.standard_normal((160, 16))).astype(np.float32), labels
)
config = default()
config.queries = 5
config.posterior = sys.argv[2]
config.optimizer.steps_per_epoch = 10
optimizer = meta_train.make_optimizer(config)
params = meta_train.init_params(config, 16)
state = meta_train.State(params, optimizer.init(params))
state, sums = meta_train.compile_epoch(config, 3, optimizer)(state, table, jax.random.key(0), 0)
accuracy = accuracies(
    state.params, table, meta_train.task_of(config), meta_train.inner_of(config, 3),
    tasks=16, key=jax.random.key(1), batch=8,
)
print(json.dumps({
    "devices": devices.episode_mesh(8).size,
    "sums": [float(s) for s in sums],
    "params": [np.asarray(leaf).ravel().tolist() for leaf in jax.tree.leaves(state.params)],
    "accuracy": accuracy.tolist(),
}))
"""


@pytest.mark.parametrize("posterior", ["point", "gaussian"])
def test_eight_devices_train_like_one(posterior):
    def run(count):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(count), posterior],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    one, eight = run(1), run(8)
    assert (one["devices"], eight["devices"]) == (1, 8)
    np.testing.assert_allclose(eight["sums"], one["sums"], rtol=1e-4)
    for a, b in zip(eight["params"], one["params"], strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4)
    np.testing.assert_allclose(eight["accuracy"], one["accuracy"], atol=0.05)
