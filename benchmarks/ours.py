"""Meta-training and evaluation of this package as users run them, on random features."""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from sib_jax.episodes import FeatureTable, feature_table
from sib_jax.training import devices
from sib_jax.training.evaluate import Tables, evaluate
from sib_jax.training.meta_train import (
    State,
    compile_epoch,
    init_params,
    inner_of,
    make_optimizer,
    task_of,
)

_EXPERIMENTS = Path(__file__).parents[1] / "experiments"


class Setting(NamedTuple):
    """What is varied; `_asdict()` is a request to the official code (but for the posterior).

    Attributes:
      features: d.
      steps: T.
      ways: k.
      shots: support examples of each class.
      queries: of each class.
      batch: episodes a step of training, or evaluated at once.
      classes: of the table that episodes are drawn from.
      images: of each class.
      posterior: "point" (the official recipe) or "gaussian" (with a prior).
    """

    features: int = 640
    steps: int = 3
    ways: int = 5
    shots: int = 1
    queries: int = 15
    batch: int = 1
    classes: int = 64
    images: int = 600
    posterior: str = "point"


def experiment(name: str, *arguments: str) -> Any:
    """The config of experiments/<name>.py."""
    return runpy.run_path(str(_EXPERIMENTS / f"{name}.py"))["get_config"](*arguments)


def table(setting: Setting) -> FeatureTable:
    """Random features, as many as the setting says."""
    shape = (setting.classes * setting.images, setting.features)
    features = np.random.default_rng(0).standard_normal(shape, np.float32)
    return feature_table(features, np.repeat(np.arange(setting.classes), setting.images))


def config_of(setting: Setting) -> Any:
    """The official recipe, with what the setting varies."""
    config = experiment("official_5w1s")
    config.ways, config.shots, config.queries = setting.ways, setting.shots, setting.queries
    config.inner.steps = setting.steps
    config.optimizer.batch = config.eval.batch = setting.batch
    if setting.posterior == "gaussian":
        config.posterior = config.prior = "gaussian"
        config.elbo.beta = 1e-3
    return config


def training(config: Any, features: FeatureTable, episodes: int) -> Callable[[], float]:
    """Meta-training.

    Returns:
      A function that trains on `episodes` further episodes and returns their mean loss. Its first
      call compiles.
    """
    config.optimizer.steps_per_epoch = episodes // config.optimizer.batch
    optimizer = make_optimizer(config)
    params = init_params(config, features)
    # From the host, as meta-training itself does.
    state = jax.tree.map(np.array, State(params, optimizer.init(params)))
    mesh = devices.episode_mesh(config.optimizer.batch)
    state, features = devices.to_all((state, features), mesh)
    run_epoch = compile_epoch(config, config.inner.steps, optimizer)
    key = jax.random.key(0)

    def train() -> float:
        nonlocal state
        state, sums = jax.block_until_ready(run_epoch(state, features, key, 0))
        return float(sums.loss) / episodes

    return train


def evaluation(config: Any, features: FeatureTable, episodes: int) -> Callable[[], float]:
    """Evaluation.

    Returns:
      A function that evaluates `episodes` tasks and returns their mean accuracy in percent. Its
      first call compiles.
    """
    params = init_params(config, features)
    task, inner = task_of(config), inner_of(config, config.inner.steps)
    # Placed once, as a run does: evaluation would do it again every time.
    tables = devices.to_all(Tables(features), devices.episode_mesh(config.eval.batch))

    def run() -> float:
        found = evaluate(
            params,
            tables,
            task,
            inner,
            tasks=episodes,
            key=jax.random.key(0),
            batch=config.eval.batch,
        )
        return found["novel"].mean

    return run


WORK = {"train": training, "evaluate": evaluation}
