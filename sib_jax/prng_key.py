"""PRNG keys given to the public functions."""

import jax
import jax.numpy as jnp
import numpy as np


def check(given: object) -> None:
    """Raises TypeError if `given` is not one: a seed, say."""
    dtype = getattr(given, "dtype", None)
    if dtype is None or not (jnp.issubdtype(dtype, jax.dtypes.prng_key) or dtype == np.uint32):
        raise TypeError(f"key must be a PRNG key, such as jax.random.key(0); got {given!r}")
