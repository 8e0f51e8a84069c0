"""Episodes over devices: a mesh with the one axis "episode"."""

import jax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P


def episode_mesh(batch: int) -> Mesh:
    """A mesh over as many devices as divide a batch evenly, at most all of them.

    Args:
      batch: episodes (or images) of a step.
    """
    devices = jax.devices()
    count = max(n for n in range(1, len(devices) + 1) if batch % n == 0)
    # Automatic axes: the compiler partitions the vmapped program. Under shard_map an inner gradient
    # with respect to replicated values would be summed over the devices.
    return jax.make_mesh((count,), ("episode",), (AxisType.Auto,), devices=devices[:count])


def over_episodes(mesh: Mesh) -> NamedSharding:
    """The leading axis is split over the devices."""
    return NamedSharding(mesh, P("episode"))


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds all of it."""
    return NamedSharding(mesh, P())
