"""Keys of a run."""

import jax
import numpy as np
import pytest

from sib_jax.runtime.seeds import Stream, key


@pytest.mark.parametrize("impl", ["rbg", "unsafe_rbg"])
def test_a_run_draws_the_same_whatever_the_user_has_as_default(impl):
    want = jax.random.normal(key(3, Stream.TEST_TASKS), (4,))
    with jax.default_prng_impl(impl):
        np.testing.assert_array_equal(jax.random.normal(key(3, Stream.TEST_TASKS), (4,)), want)
