"""Many devices and processes as one: a mesh with the axis "episode", and who writes files."""

import collections
import hashlib
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from sib_jax.errors import UserError
from sib_jax.runtime import interrupt

_PATIENCE = 10  # seconds for a file to show on a disk that hosts share


def join(address: str | None = None, count: int | None = None, index: int | None = None) -> None:
    """Joins this process to the others of the run; before any other use of JAX.

    Args:
      address: host:port of the first process; this and the rest are detected where JAX knows how
        (TPU pods, Slurm, Open MPI, Kubernetes).
      count: number of processes.
      index: of this process.
    """
    # Its handler of SIGTERM would keep the signal from ending a process that is not yet training.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(address, count, index)
    except ValueError as error:
        raise UserError(
            f"--distributed: {error} JAX detected no cluster that provides it; give "
            "--coordinator_address=HOST:PORT, --process_count and --process_id"
        ) from error


def rounding() -> tuple[str, ...]:
    """What decides how numbers are rounded here, apart from JAX's version; one item on a CPU."""
    backend, precision = jax.default_backend(), jax.config.values["jax_default_matmul_precision"]
    if backend == "cpu":
        return (backend,)
    return backend, jax.devices()[0].device_kind, str(precision)


def described() -> str:
    """What a job runs on, in words."""
    kinds = collections.Counter(device.device_kind for device in jax.devices())
    found = ", ".join(f"{count} x {kind}" for kind, count in kinds.items())
    processes = jax.process_count()
    return f"{found} ({jax.default_backend()})" + (
        f", in {processes} processes" if processes > 1 else ""
    )


def episode_mesh(batch: int) -> Mesh:
    """A mesh over all devices of all processes, with the axes "copy" and "episode".

    The axis "episode" has as many devices as divide the batch evenly. Where that is not all of
    them, the others do the same work again: so every process takes part and holds the result.

    Args:
      batch: episodes (or images) of a step.
    """
    devices = np.asarray(jax.devices())
    shape = (-1, math.gcd(batch, len(devices)))
    # Automatic axes: the compiler partitions the vmapped program. Under shard_map an inner gradient
    # with respect to replicated values would be summed over the devices. The order of the devices
    # is the same in every mesh: what one program leaves on them, another can take.
    return Mesh(devices.reshape(shape), ("copy", "episode"), axis_types=(AxisType.Auto,) * 2)


def over_episodes(mesh: Mesh) -> NamedSharding:
    """The leading axis is split over the devices."""
    return NamedSharding(mesh, P("episode"))


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds all of it."""
    return NamedSharding(mesh, P())


def filled(batch: int) -> int:
    """The smallest batch of at least `batch` that gives every device the same work."""
    return math.ceil(batch / jax.device_count()) * jax.device_count()


def to_all(tree: Any, mesh: Mesh) -> Any:
    """A pytree of arrays, which every process holds, put whole on every device of `mesh`."""
    sharding = replicated(mesh)
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)

    def put(x: Any) -> jax.Array:
        if isinstance(x, jax.Array):
            if x.sharding.is_equivalent_to(sharding, x.ndim):
                return x
            x = np.array(x)  # a copy: the buffer may be one that is donated later
        # Not jax.device_put: between processes it compares what they hold, by sending all of it.
        return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

    return jax.tree.map(put, tree)


def shared(tree: Any, mesh: Mesh) -> Any:
    """`to_all` for what is large and only read: all CPU devices look at one copy in memory.

    An array that is in several places of the tree is put there once.
    """
    leaves, structure = jax.tree.flatten(tree)
    once = {id(leaf): leaf for leaf in leaves}
    on_cpu = jax.process_count() == 1 and mesh.devices.flat[0].platform == "cpu"
    if on_cpu and mesh.size > 1:
        # What a JAX array holds is where XLA can use it in place, on every device.
        once = {name: np.asarray(jax.numpy.asarray(leaf)) for name, leaf in once.items()}
    there = to_all(once, mesh)
    return jax.tree.unflatten(structure, [there[id(leaf)] for leaf in leaves])


def to_host(tree: Any) -> Any:
    """A copy in NumPy arrays: the buffers on the devices may be donated to the next step."""
    return jax.tree.map(np.array, tree)


def is_main() -> bool:
    """Whether this is the process that writes files and log lines."""
    return jax.process_index() == 0


def once(write: Callable[..., object], *args: Any, **kwargs: Any) -> None:
    """The main process calls `write`; all go on when it has, and find what it wrote."""
    if is_main():
        write(*args, **kwargs)
    multihost_utils.sync_global_devices(write.__name__)


def anywhere(flags: bool | Sequence[bool]) -> np.ndarray:
    """Each flag, set where it is set in any process. All must ask, and all get the same answer."""
    return multihost_utils.process_allgather(np.asarray(flags)).any(axis=0)


def everywhere(flags: bool | Sequence[bool]) -> np.ndarray:
    """Each flag, set where it is set in every process; as `anywhere`."""
    return multihost_utils.process_allgather(np.asarray(flags)).all(axis=0)


def not_alike(told: Mapping[str, str]) -> list[str]:
    """The names of what differs between processes; "names" where the names themselves do."""
    names = sorted(told)
    if not _alike([repr(names)]).all():  # arrays of other lengths could not be gathered
        return ["names"]
    alike = _alike([told[name] for name in names])
    return [name for name, same in zip(names, alike, strict=True) if not same]


def _alike(texts: Sequence[str]) -> np.ndarray:
    digests = [hashlib.sha256(text.encode()).digest() for text in texts]
    mine = np.frombuffer(b"".join(digests), np.uint8).reshape(len(texts), -1)
    # A difference that one process finds counts for all.
    return everywhere((multihost_utils.process_allgather(mine) == mine).all(axis=(0, 2)))


def seen_everywhere(path: Path) -> bool:
    """Whether every process sees a file that the main one has written."""
    if jax.process_count() == 1:
        return True
    # A network file system may show a file late; listing the folder makes it look again.
    for _ in range(_PATIENCE):
        if path.parent.is_dir() and path.name in os.listdir(path.parent):
            break
        time.sleep(1)
    return bool(everywhere(path.exists()))


def stop_if_asked() -> None:
    """Ends the work of all processes, by `Interrupted`, where any was asked to stop."""
    if anywhere(interrupt.requested()):
        raise interrupt.Interrupted
