"""Drawing without replacement on the device, cheaply."""

import jax
import jax.numpy as jnp


def distinct(key: jax.Array, size: int | jax.Array, draws: int) -> jax.Array:
    """Draws distinct numbers from 0..size-1, every ordered choice equally likely.

    The first `draws` swaps of a Fisher-Yates shuffle, on an array of which only the swapped places
    are stored: it costs draws^2 whatever the size, while a permutation sorts `size` random keys.

    Args:
      key: PRNG key.
      size: how many numbers there are; may be traced. At least `draws`.
      draws: how many to draw; static.

    Returns:
      int32 [draws].
    """
    order = jnp.arange(draws)
    return distinct_in_blocks(key, jnp.zeros(draws, jnp.int32), size, order)


def distinct_in_blocks(
    key: jax.Array, starts: jax.Array, sizes: int | jax.Array, order: jax.Array
) -> jax.Array:
    """Draws distinct rows of a table, each from its own block of rows; see `distinct`.

    Args:
      key: PRNG key.
      starts: int32 [draws], first row of the block that each is drawn from.
      sizes: rows of that block: one number, or [draws].
      order: int [draws], 0, 1, ... for the draws from the same block, in this order; below `sizes`.

    Returns:
      int32 [draws].
    """
    draws = order.shape[0]
    number, order = jnp.arange(draws, dtype=jnp.int32), order.astype(jnp.int32)
    starts = starts.astype(jnp.int32)
    if not draws:
        return starts
    places = starts + order
    shifts = jax.random.randint(key, (draws,), order, sizes, jnp.int32)
    targets = starts + shifts  # swapped with `places`

    def value_at(place: jax.Array, swaps: jax.Array, moved: jax.Array) -> jax.Array:
        # What is at `place` after the first `swaps` swaps: what the last one put there.
        last = jnp.max(jnp.where((targets == place) & (number < swaps), number, -1))
        return jnp.where(last < 0, place, moved[last])

    def swap(moved: jax.Array, i: jax.Array) -> tuple[jax.Array, jax.Array]:
        drawn = value_at(targets[i], i, moved)
        return moved.at[i].set(value_at(places[i], i, moved)), drawn

    return jax.lax.scan(swap, jnp.zeros(draws, jnp.int32), number)[1]
