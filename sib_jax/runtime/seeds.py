"""The streams of random numbers of a run: each choice has a key of its own, all from one seed."""

import enum

import jax

LARGEST = 2**32 - 1
"""The largest seed that a key is made of; the smallest is 0."""


class Stream(enum.IntEnum):
    """What a key is for. The numbers are part of every result: they never change."""

    PRETRAINING = 1
    PRETRAINING_VALIDATION = 2
    INIT = 3
    META_TRAINING = 4
    META_VALIDATION = 5
    VAL_TASKS = 6
    TEST_TASKS = 7


def key(seed: int, stream: Stream) -> jax.Array:
    """The key of a stream; what is drawn from it folds its own numbers in."""
    # With other kinds an episode would depend on those drawn beside it (jax_default_prng_impl).
    return jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), int(stream))
