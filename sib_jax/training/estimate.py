"""About how long a run will take, said at its start: its work over this machine's measured rate."""

import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sib_jax.backbones import Backbone
from sib_jax.data.split import SPLITS, DataSet
from sib_jax.report.console import log

# Share of the matrix multiplication rate that each kind of work reached where it was measured.
_BACKBONE_SHARE = 0.45
_EPISODE_SHARE = 0.05
_COMPILE_SECONDS = 4.0  # for each program


def announce(
    config: Any,
    workdir: Path,
    data: DataSet,
    backbone: Backbone,
    steps: list[int],
    mode: str,
) -> None:
    """Logs the time that the stages not yet finished will take, a guess within a factor of two."""
    rate = _matmul_rate()
    seconds = 0.0
    images = sum(len(data.split(split).labels) for split in SPLITS)
    image = _image_flops(backbone)
    trained = config.backbone_file or (workdir / "backbone.npz").exists()
    if mode in ("all", "pretrain") and not trained:
        settings = config.pretrain
        # Backward costs twice forward; each epoch also computes features of validation images.
        seen = np.minimum(data.val.class_counts, settings.val_images).sum()
        epoch = 3 * len(data.train.labels) + int(seen)
        seconds += settings.epochs * epoch * image / (_BACKBONE_SHARE * rate)
        seconds += 2 * _COMPILE_SECONDS
    if mode != "pretrain":
        seconds += images * image / (_BACKBONE_SHARE * rate)
    for t in steps:
        episode = _episode_flops(config, backbone.features, t)
        count = config.eval.val_tasks + config.eval.test_tasks
        if mode in ("all", "train") and not (workdir / f"params_T{t}.npz").exists():
            settings = config.optimizer
            per_epoch = 3 * settings.steps_per_epoch * settings.batch + settings.val_tasks
            count += settings.epochs * per_epoch
            seconds += _COMPILE_SECONDS
        if mode != "pretrain":
            seconds += count * episode / (_EPISODE_SHARE * rate) + _COMPILE_SECONDS
    log.info(
        "about %s to go on %d x %s", _readable(seconds), jax.device_count(), jax.default_backend()
    )


def _matmul_rate(size: int = 1024, repeats: int = 5) -> float:
    """Floating-point operations a second of a float32 matrix product, best of a few."""
    x = jnp.ones((size, size))
    product = jax.jit(lambda x: x @ x)
    product(x).block_until_ready()
    best = float("inf")
    for _ in range(repeats):
        begun = time.perf_counter()
        product(x).block_until_ready()
        best = min(best, time.perf_counter() - begun)
    return 2 * size**3 / best


def _image_flops(backbone: Backbone) -> float:
    """Of the forward pass of one image, as the compiler counts them."""
    variables = jax.eval_shape(backbone.init, jax.random.key(0))
    size = backbone.image_size
    image = jax.ShapeDtypeStruct((1, size, size, backbone.channels), jnp.float32)
    cost = jax.jit(backbone.apply).lower(variables, image).cost_analysis()
    return float(cost["flops"]) if cost else 0.0


def _episode_flops(config: Any, features: int, steps: int) -> float:
    """Of the forward pass of one episode: T + 1 products of queries and weights, twice a step."""
    queries = config.ways * config.queries
    samples = config.inner.samples if config.posterior == "gaussian" else 1
    product = 2 * queries * config.ways * features * samples
    network = 2 * queries * samples * (8 * config.ways) * (10 * config.ways)
    return product + steps * (2 * product + network)


def _readable(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
