"""Checks that the processes of one job were started alike; else they would wait forever."""

from collections.abc import Mapping
from typing import Any

from sib_jax.config import ConfigError, flat
from sib_jax.experiment.settings import Experiment
from sib_jax.runtime import devices


def check(
    config: Any, experiment: Experiment, seen: Mapping[str, str], flags: Mapping[str, Any]
) -> None:
    """Compares what each process was given; only where its data are may differ.

    Args:
      config: the resolved config.
      experiment: with the heads that are run.
      seen: fingerprints of its data, by split.
      flags: other options of the job, by name.

    Raises:
      ConfigError: in all processes, where one has something else.
    """
    told = {f"config.{name}": repr(value) for name, value in flat(config).items()}
    del told["config.data_dir"], told["config.backbone_file"]
    told |= {name: repr(value) for name, value in flags.items()}
    told["heads"] = repr([head.name for head in experiment.heads])
    told |= {f"{split} images": fingerprint for split, fingerprint in seen.items()}
    if different := devices.not_alike(told):
        raise ConfigError(
            f"not all processes have the same {', '.join(different)}: start all of them with the "
            "same options and data"
        )
