"""Images a second of Conv4-64 at 80 x 80, forward and forward+backward, against PyTorch.

python benchmarks/backbone.py --official=DIR [--official_python=PYTHON] [--json=FILE]

The official ConvNet_4_64 runs in PyTorch's fastest layout on CPUs, channels last. Both are in
float32. Forward is in evaluation mode. Forward+backward is in training mode (it uses the batch's
statistics and updates the running ones) and takes the gradient of all parameters.
"""

import functools
import sys
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import timing

from sib_jax import backbones


def main(argv: Sequence[str]) -> None:
    """Measures ours and PyTorch's in alternation, for both kinds of work."""
    flags = timing.parser(__doc__, official=True)
    flags.add_argument("--batch", type=int, default=128)
    flags.add_argument("--batches", type=int, default=4, help="in one measurement")
    flags.add_argument(
        "--rounds", type=int, default=5, help="alternating rounds; medians are shown"
    )
    args = flags.parse_args(argv)
    rows = []
    with timing.Official(args.official, args.official_python) as official:
        about = timing.describe(official)
        for name, work in _compiled(args.batch, args.batches).items():
            request = {"units": args.batch * args.batches, "batch": args.batch}
            threads = official.best_threads(name, **request)
            row = timing.compare(
                name,
                request["units"],
                "images",
                functools.partial(timing.seconds, work),
                functools.partial(official.seconds, name, threads=threads, **request),
                args.rounds,
                official_threads=threads,
            )
            rows.append(row)
    timing.report(rows, about, args.json)


def _compiled(batch: int, batches: int) -> dict[str, timing.Work]:
    """Forward and forward+backward, each over that many batches."""
    backbone = backbones.make("conv4_64", image_size=80)
    variables = backbone.init(jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (batch, 80, 80, 3))
    weights = jax.random.normal(jax.random.key(2), (batch, backbone.features))

    def loss(params: dict, images: jax.Array) -> tuple[jax.Array, dict]:
        found, statistics = backbone.apply_train({**variables, "params": params}, images)
        return jnp.sum(found * weights), statistics

    forward = jax.jit(backbone.apply)
    gradient = jax.jit(jax.grad(loss, has_aux=True))
    work: dict[str, timing.Work] = {
        "forward": lambda: [
            jax.block_until_ready(forward(variables, images)) for _ in range(batches)
        ],
        "forward_backward": lambda: [
            jax.block_until_ready(gradient(variables["params"], images)) for _ in range(batches)
        ],
    }
    for run in work.values():
        run()
    return work


if __name__ == "__main__":
    main(sys.argv[1:])
