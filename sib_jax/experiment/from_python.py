"""`sib_jax.run`: runs an experiment from Python, as `python -m sib_jax.main` does."""

import copy
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import ml_collections

from sib_jax.config import ConfigError, named
from sib_jax.experiment import job, settings
from sib_jax.report.results import Row
from sib_jax.runtime import console


def run(
    config: Any,
    workdir: str | os.PathLike[str],
    *,
    mode: str = "all",
    heads: str | Collection[str] | None = None,
    report: bool = True,
) -> list[Row]:
    """Pretrains, meta-trains and evaluates; what `workdir` already holds is not done again.

    Args:
      config: from `sib_jax.config.default` or the `get_config` of an experiment. If it names a
        backbone's file, that file decides `backbone`, `final_relu` and `mirror_features`.
      workdir: where results go: results.json, report.html, the weights and more.
      mode: "all", or one stage: "pretrain", "train" (meta-training) or "evaluate".
      heads: names of the heads to run, with * for any characters; all by default. A single name
        may be a string.
      report: whether to write report.html.

    Returns:
      The rows of results.json; none where `mode` stops earlier.

    Raises:
      UserError: the config or the data cannot be used, or `workdir` holds another experiment
        (raised before any work where possible); or a training diverged.
    """
    console.start()
    if not isinstance(config, ml_collections.ConfigDict):
        raise ConfigError(
            "config must be what sib_jax.config.default() or an experiment's get_config() returns, "
            f"got {type(config).__name__}"
        )
    if isinstance(heads, str):
        heads = [heads]
    config, place = copy.deepcopy(config), Path(os.path.expanduser(workdir))
    settings.take_backbone(config, place, given=())
    only = None if heads is None else named(config, list(heads))
    return job.run(config, place, mode, report=report, only=only)
