"""1, 2, 4 and 8 devices give the same training: each number in a process of its own."""

import functools
import json
import os
import subprocess
import sys

import numpy as np
import pytest

PROGRAM = """
import json, sys
import jax, numpy as np
jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))
from sib_jax import episodes
from sib_jax.config import default
from sib_jax.training import devices, meta_train
from sib_jax.training.evaluate import Tables, accuracies

rng = np.random.default_rng(0)
labels = np.repeat(np.arange(8), 20)
centres = rng.standard_normal((8, 16))

def table():
    noise = rng.standard_normal((160, 16))
    return episodes.feature_table((centres[labels] + noise).astype(np.float32), labels)

train, base = table(), table()

def case(setting, posterior):
    config = default(setting=setting)
    config.queries = 5
    config.posterior = posterior
    if (setting, posterior) == ("standard", "gaussian"):
        config.prior = "gaussian"
    config.optimizer.steps_per_epoch = 10
    optimizer = meta_train.make_optimizer(config)
    params = meta_train.init_params(config, train)
    state = meta_train.State(params, optimizer.init(params))
    run_epoch = meta_train.compile_epoch(config, 3, optimizer)
    state, sums = run_epoch(state, train, jax.random.key(0), 0)
    accuracy = accuracies(
        state.params, Tables(train, base), meta_train.task_of(config),
        meta_train.inner_of(config, 3), tasks=12, key=jax.random.key(1), batch=12,
    )
    return {
        "sums": [float(s) for s in sums],
        "params": [np.asarray(leaf).ravel().tolist() for leaf in jax.tree.leaves(state.params)],
        "accuracy": accuracy.tolist(),
    }

found = {f"{s} {p}": case(s, p) for s, p in json.loads(sys.argv[2])}
mesh = devices.episode_mesh(8)
print(json.dumps({"devices": mesh.shape["episode"], **found}))
"""
# Compiling takes most of the time, and its optimizations matter little here.
QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
CASES = [("standard", "point"), ("standard", "gaussian"), ("lwof", "gaussian")]


@functools.cache
def trained(devices):
    """What each case gives on so many devices."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(devices), json.dumps(CASES)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": QUICK},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["devices"] == devices
    return found


@pytest.mark.parametrize("setting", CASES, ids=" ".join)
@pytest.mark.parametrize("devices", [2, 4, 8])
def test_more_devices_train_like_one(devices, setting):
    one, more = (trained(n)[" ".join(setting)] for n in (1, devices))
    np.testing.assert_allclose(more["sums"], one["sums"], rtol=1e-4)
    for a, b in zip(more["params"], one["params"], strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4)
    assert len(more["accuracy"]) == 12  # of 16, where 8 devices take as many each
    np.testing.assert_allclose(more["accuracy"], one["accuracy"], atol=0.05)
