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
    starts, order = jnp.asarray(starts, jnp.int32), jnp.asarray(order, jnp.int32)
    draws = order.shape[0]
    if not draws:
        return starts
    number = jnp.arange(draws, dtype=jnp.int32)
    places = starts + order
    shifts = jax.random.randint(key, (draws,), order, sizes, jnp.int32)
    targets = starts + shifts  # swap i exchanges what is at places[i] and at targets[i]

    def last_swap_before(place: jax.Array) -> jax.Array:
        """The last swap before the i-th that had place[i] as its target; -1 for none."""
        met = (targets[None] == place[:, None]) & (number[None] < number[:, None])
        return jnp.max(jnp.where(met, number[None], -1), axis=1)

    # What swap i finds at places[i] an earlier one may have put there, which found it at its own
    # place, and so on. The first of this chain, by doubling: all at once, not swap by swap.
    earlier = last_swap_before(places)
    first = jnp.where(earlier < 0, number, earlier)
    for _ in range(draws.bit_length()):
        first = first[first]
    source = last_swap_before(targets)
    return jnp.where(source < 0, targets, places[first[source]])
