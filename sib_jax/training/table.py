"""A whole table of the paper: several settings and shots, every T, on one backbone."""

import copy
from pathlib import Path
from typing import Any

from sib_jax import config as configs
from sib_jax.report import paper, results
from sib_jax.report.console import log
from sib_jax.training import devices, job


def run(
    config: Any, workdir: Path, mode: str = "all", trace: Path | None = None
) -> list[results.Row]:
    """Runs each of `config.runs` in a folder of its own below `workdir`; resumes where it stopped.

    Args:
      config: its `runs` name what is run, as "<setting>_<ways>w<shots>s"; all else they share.
      workdir: gets backbone/, a folder for each run, results.json and table.md.
      mode: as of `job.run`.
      trace: as of `job.run`; gets a folder for each run.

    Returns:
      The rows of all runs; none where `mode` stops earlier.
    """
    configs.check(config)
    runs = {name: configs.of_run(config, name) for name in config.runs}
    if not config.backbone_file:
        # Every run shares one backbone, which sees what the most careful of them lets it see.
        shared = copy.deepcopy(config)
        shared.runs = ()
        shared.base_holdout = max(one.base_holdout for one in runs.values())
        if mode in ("all", "pretrain"):
            job.run(shared, workdir / "backbone", "pretrain")
        for one in runs.values():
            one.backbone_file = str(workdir / "backbone" / job.BACKBONE)
    if mode == "pretrain":
        return []
    rows = []
    for name, one in runs.items():
        log.info("")
        log.info("%s", name)
        rows += job.run(one, workdir / name, mode, trace and trace / name)
    if not rows:
        return []
    text = paper.markdown(rows)
    devices.once(results.write, workdir, rows)
    devices.once((workdir / "table.md").write_text, text)
    log.info("")
    log.info("%s", text)
    log.info("%s and table.md", workdir / results.FILE)
    return rows
