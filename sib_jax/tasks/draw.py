"""Drawing without replacement on the device, cheaply."""

import jax
import jax.numpy as jnp


def distinct(key: jax.Array, size: int | jax.Array, draws: int) -> jax.Array:
    """Draws distinct numbers from 0..size-1, every ordered choice equally likely.

    The first `draws` swaps of a Fisher-Yates shuffle, on an array of which only the swapped places
    are stored: cost draws^2 whatever the size, where a permutation sorts `size` random keys.

    Args:
      key: PRNG key.
      size: how many numbers there are; may be traced. At least `draws`.
      draws: how many to draw; static.

    Returns:
      int32 [draws].
    """
    order = jnp.arange(draws)
    targets = jax.random.randint(key, (draws,), order, size)  # place swapped with place i

    def value_at(place: jax.Array, swaps: jax.Array, moved: jax.Array) -> jax.Array:
        # What stands at `place` after the first `swaps` swaps: what the last one put there.
        last = jnp.max(jnp.where((targets == place) & (order < swaps), order, -1))
        return jnp.where(last < 0, place, moved[last])

    def swap(moved: jax.Array, i: jax.Array) -> tuple[jax.Array, jax.Array]:
        drawn = value_at(targets[i], i, moved)
        return moved.at[i].set(value_at(i, i, moved)), drawn

    return jax.lax.scan(swap, jnp.zeros(draws, jnp.int32), order)[1]
