"""Meta-training and evaluation of this package, as users run them, on random features."""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from sib_jax.experiment import loop, settings
from sib_jax.experiment.evaluate import evaluate
from sib_jax.experiment.meta_train import compile_steps, make_optimizer, start_state
from sib_jax.experiment.settings import Head
from sib_jax.methods import Classes
from sib_jax.runtime import devices
from sib_jax.tasks.setting import Sources
from sib_jax.tasks.table import FeatureTable, feature_table

_EXPERIMENTS = Path(__file__).parents[1] / "experiments"


class Setting(NamedTuple):
    """What is varied; `_asdict()`, without the posterior, is a request to the official code.

    Attributes:
      features: d.
      steps: T.
      ways: k.
      shots: support examples of each class.
      queries: unlabelled queries of each class.
      batch: episodes of a training step, or evaluated at once.
      classes: in the table that episodes are drawn from.
      images: of each class in that table.
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
    """Random features for the classes and images of a setting."""
    shape = (setting.classes * setting.images, setting.features)
    features = np.random.default_rng(0).standard_normal(shape, np.float32)
    return feature_table(features, np.repeat(np.arange(setting.classes), setting.images))


def config_of(setting: Setting) -> Any:
    """The official recipe, changed as the setting says."""
    config = experiment("official_5w1s")
    config.heads = ()
    config.ways, config.shots, config.queries = setting.ways, setting.shots, setting.queries
    config.inner.steps = setting.steps
    config.optimizer.batch = config.eval.batch = setting.batch
    if setting.posterior == "gaussian":
        config.posterior = config.prior = "gaussian"
        config.elbo.beta = 1e-3
    return config


def head_of(config: Any) -> Head:
    """The only head of a config, or its last: the one with T steps."""
    return settings.read(config).heads[-1]


def init_params(head: Head, features: FeatureTable) -> Any:
    """The parameters that meta-training starts from."""
    classes = Classes(features.features.shape[1:], len(features.counts))
    return head.method.init(jax.random.key(0), classes)


def training(config: Any, features: FeatureTable, episodes: int) -> Callable[[], float]:
    """Meta-training.

    Returns:
      A function that trains on `episodes` further episodes and returns their mean loss. Its first
      call compiles.
    """
    head = head_of(config)
    (lesson,), batch = head.learns_from, head.training.batch
    params = init_params(head, features)
    optimizer = make_optimizer(head.training.optimizer, head.method)
    # On the host first, as in meta-training itself.
    state = jax.tree.map(np.array, start_state(lesson, optimizer, params, features))
    zeros = jax.tree.map(np.zeros_like, state.sums)
    mesh = devices.episode_mesh(batch)
    state, features = devices.to_all((state, features), mesh)
    run = compile_steps((lesson,), optimizer, batch)
    key = jax.random.key(0)

    def train() -> float:
        nonlocal state
        fresh: loop.State = state._replace(sums=devices.to_all(zeros, mesh))
        state = jax.block_until_ready(run(fresh, features, key, 0, episodes // batch))
        return float(state.sums["loss"]) / episodes

    return train


def evaluation(config: Any, features: FeatureTable, episodes: int) -> Callable[[], float]:
    """Evaluation.

    Returns:
      A function that evaluates `episodes` tasks and returns their mean accuracy in percent. Its
      first call compiles.
    """
    head, batch = head_of(config), config.eval.batch
    params = init_params(head, features)
    # Placed once, as in a run: evaluation would otherwise do it every time.
    sources = devices.to_all(Sources(features), devices.episode_mesh(batch))

    def run() -> float:
        found = evaluate(
            head.method,
            params,
            head.setting,
            sources,
            tasks=episodes,
            key=jax.random.key(0),
            batch=batch,
        )
        return found["novel"].mean

    return run


WORK = {"train": training, "evaluate": evaluation}
