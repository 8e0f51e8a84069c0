"""Test accuracy of a checkpoint of the official PyTorch code, in one command.

python -m sib_jax.evaluate --checkpoint=netSIBBest.pth --data_dir=DIR
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sib_jax.command import Parser, path, start


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command; a user's mistake ends it with one line."""
    start(run, _parse(sys.argv[1:] if argv is None else argv))


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Makes a run of the checkpoint's backbone and head, evaluates it and gives its results."""
    from sib_jax import pytorch
    from sib_jax.experiment import job, loading
    from sib_jax.official import checkpoint
    from sib_jax.runtime import interrupt, programs

    programs.keep()
    params = pytorch.load_head(options.checkpoint)
    inner = pytorch.load_inner(options.checkpoint)
    steps = "" if options.steps is None else f"-T{options.steps}"
    name = f"{Path(options.checkpoint).stem}-{options.dataset}-{options.shots}shot{steps}"
    workdir = Path(options.workdir or f"runs/{name}")
    config = _config(options, params.ways, inner)
    backbone, _ = checkpoint.read_backbone(options.checkpoint, image_size=config.crop)
    loading.check_official_size(options.checkpoint, params, backbone)
    config.backbone = backbone.name
    interrupt.goes_on_from(f"what is in {workdir}")
    return job.run(config, workdir, "evaluate", report=True, heads={"official": params})


def _config(options: argparse.Namespace, ways: int, inner: Any) -> Any:
    """The official recipe, as far as evaluation needs it."""
    from sib_jax.config import default

    config = default(options.dataset)
    config.data_dir, config.backbone_file = options.data_dir, options.checkpoint
    if options.image_size is not None:
        config.image_size, config.crop = options.image_size, min(options.image_size, config.crop)
    config.final_relu = True
    config.ways, config.shots = ways, options.shots
    config.inner.steps = inner.steps if options.steps is None else options.steps
    config.inner.step_size = inner.step_size
    config.eval.splits, config.eval.test_tasks = ("test",), options.tasks
    config.heads = (("official", {}),)
    return config


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser("sib_jax.evaluate", __doc__)
    add = parser.add_argument
    add("--checkpoint", metavar="FILE", type=path, required=True, help="a netSIB*.pth")
    add("--data_dir", metavar="DIR", required=True, help="where the data set is")
    add("--dataset", default="mini_imagenet", choices=("mini_imagenet", "cifar_fs", "folder"))
    size = "pixels that images are scaled to: 32 for a checkpoint of CIFAR-FS; default: 84 or 32"
    add("--image_size", metavar="N", type=int, help=size)
    add("--shots", type=int, default=1, help="examples of each class; default: 1")
    add("--steps", metavar="T", type=int, help="default: what the checkpoint says")
    add("--tasks", type=int, default=2000, help="test tasks; default: 2000")
    add(
        "--workdir", type=path, help="where results go; default: runs/CHECKPOINT-DATASET-Kshot[-TN]"
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
