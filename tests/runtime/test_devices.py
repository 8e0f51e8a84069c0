"""1 and 8 devices give the same training: the 8 in a process of their own."""

import json
import os
import subprocess
import sys

import numpy as np
import trained

from sib_jax.runtime import devices


def test_more_devices_train_like_one():
    one = trained.trained()
    done = subprocess.run(
        [sys.executable, trained.__file__, "8"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stderr
    more = json.loads(done.stdout)
    assert (one["devices"], more["devices"]) == (1, 8)
    assert one["copies"] == more["copies"] == 1  # of the table, in memory
    np.testing.assert_allclose(more["sums"], one["sums"], rtol=1e-4)
    for a, b in zip(more["params"], one["params"], strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4)
    assert len(more["accuracy"]) == 12  # of 16, where 8 devices take as many each
    np.testing.assert_allclose(more["accuracy"], one["accuracy"], atol=0.05)


def test_what_stands_in_two_places_is_put_on_the_devices_once():
    array = np.arange(6.0)
    one, two = devices.shared((array, {"again": array}), devices.episode_mesh(1))
    assert one is two["again"]
    np.testing.assert_array_equal(one, array)
