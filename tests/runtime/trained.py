"""What training and evaluation give on the devices that there are; as a program, on so many."""

import json
import sys

import jax
import numpy as np

from sib_jax.config import default
from sib_jax.experiment import meta_train, settings
from sib_jax.experiment.evaluate import answers
from sib_jax.methods import Classes
from sib_jax.runtime import devices
from sib_jax.tasks.setting import Sources
from sib_jax.tasks.table import feature_table

LABELS = np.repeat(np.arange(8), 20)


def trained():
    """A Gaussian posterior without forgetting, which has all that the standard setting has."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((8, 16))
    train, base = (
        feature_table((centres[LABELS] + rng.standard_normal((160, 16))).astype(np.float32), LABELS)
        for _ in range(2)
    )
    config = default(setting="lwof")
    config.queries = 5
    config.posterior = "gaussian"
    (head,) = settings.read(config).heads
    method, setting, (lesson,) = head.method, head.setting, head.learns_from
    weights = rng.standard_normal((8, 16)).astype(np.float32)
    params = method.init(jax.random.key(0), Classes((16,), 8, weights))
    optimizer = meta_train.make_optimizer(head.training.optimizer, method)
    state = meta_train.start_state(lesson, optimizer, params, train)
    run = meta_train.compile_steps((lesson,), optimizer, head.training.batch)
    state = run(state, train, jax.random.key(0), 0, 10)
    sources, key = Sources(train, base), jax.random.key(1)
    (found,) = answers(method, state.model, setting, sources, tasks=12, key=key, batch=12)
    mesh = devices.episode_mesh(8)
    at_once = devices.shared(train, mesh).features.addressable_shards
    return {
        "devices": mesh.shape["episode"],
        "copies": len({shard.data.unsafe_buffer_pointer() for shard in at_once}),
        "sums": [float(s) for s in state.sums.values()],
        "params": [np.asarray(leaf).ravel().tolist() for leaf in jax.tree.leaves(state.model)],
        "accuracy": found.accuracy.tolist(),
    }


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))
    print(json.dumps(trained()))
