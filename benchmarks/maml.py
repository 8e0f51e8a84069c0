"""Episodes a second of training MAML on images of 32 pixels, beside the same in PyTorch.

python benchmarks/maml.py [--python=PYTHON] [--json=FILE]

5-way, 15 queries, four blocks of 32 filters, five inner steps: the gradient of the loss of the
queries in the parameters before adaptation, for a batch of four episodes. PyTorch goes through them
one after another, as learn2learn and others do, and differentiates by `torch.autograd.grad`; PYTHON
must have torch. The images are random and in memory. Compiling and warm-up are excluded.
"""

import functools
import sys
from collections.abc import Sequence
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
import timing
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sib_jax import Episode
from sib_jax.methods import Classes, maml

BATCH, SIZE = 4, 32
WAYS, QUERIES = 5, 15


class PyTorch(timing.Official):
    """PyTorch in a process of its own, which sleeps while ours is measured."""

    def __init__(self, python: str):
        """Starts it."""
        self._start(python, "maml_worker.py")

    def __enter__(self) -> Self:
        return self


def main(argv: Sequence[str]) -> None:
    """Measures ours and PyTorch's in alternation, for both orders and numbers of shots."""
    flags = timing.parser(__doc__)
    flags.add_argument("--python", default=sys.executable, help="a Python that has torch")
    flags.add_argument("--batches", type=int, default=5, help="in one measurement")
    flags.add_argument("--rounds", type=int, default=5, help="alternating rounds")
    args = flags.parse_args(argv)
    rows, units = [], BATCH * args.batches
    with PyTorch(args.python) as torch:
        about = timing.describe(torch) | {"devices": jax.device_count()}
        for shots in (1, 5):
            for order in (1, 2):
                request = {"units": units, "shots": shots, "order": order}
                threads = torch.best_threads("maml", **request)
                row = timing.compare(
                    f"order {order}, {shots}-shot",
                    units,
                    "episodes",
                    functools.partial(timing.seconds, _work(order, shots, args.batches)),
                    functools.partial(torch.seconds, "maml", threads=threads, **request),
                    args.rounds,
                    official_threads=threads,
                )
                rows.append(row)
    timing.report(rows, about, args.json)


def _work(order: int, shots: int, batches: int) -> timing.Work:
    """The gradient of some batches; the episodes of each are divided among the devices."""
    method = maml.make(maml.Settings(order=order), WAYS)
    divided = NamedSharding(Mesh(np.array(jax.devices()), ("episodes",)), PartitionSpec("episodes"))
    draw = np.random.default_rng(0).integers

    def part(count: int) -> tuple[np.ndarray, np.ndarray]:
        images = draw(0, 256, (BATCH, WAYS * count, SIZE, SIZE, 3), np.uint8)
        return images, np.tile(np.repeat(np.arange(WAYS), count), (BATCH, 1))

    episodes = jax.device_put(Episode(*part(shots), *part(QUERIES)), divided)
    params = method.init(jax.random.key(0), Classes((SIZE, SIZE, 3), 0))
    keys = jax.device_put(jax.random.split(jax.random.key(1), BATCH), divided)

    @jax.jit
    def gradient(params: maml.ConvNet, episodes: Episode, keys: jax.Array) -> maml.ConvNet:
        def loss(params: maml.ConvNet) -> jax.Array:
            return jnp.mean(jax.vmap(lambda e, k: method.loss(params, e, k)[0])(episodes, keys))

        return jax.grad(loss)(params)

    def run() -> None:
        for _ in range(batches):
            jax.block_until_ready(gradient(params, episodes, keys))

    run()
    return run


if __name__ == "__main__":
    main(sys.argv[1:])
