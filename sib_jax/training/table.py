"""A whole table: several runs that share one backbone, each with every T."""

import copy
from pathlib import Path
from typing import Any

from sib_jax import config as configs
from sib_jax.report import markdown, results
from sib_jax.report.console import log
from sib_jax.training import devices, job


def run(
    config: Any, workdir: Path, mode: str = "all", trace: Path | None = None
) -> list[results.Row]:
    """Runs each of `config.runs` in a folder of its own below `workdir`; resumes where it stopped.

    Args:
      config: its `runs` name the runs and the fields in which they differ; all else they share.
      workdir: gets backbone/, a folder for each run, results.json and table.md.
      mode: as of `job.run`.
      trace: as of `job.run`; gets a folder for the backbone and one for each run.

    Returns:
      The rows of all runs, each with the field "run"; none where `mode` stops earlier.
    """
    configs.check(config)
    runs = configs.of_runs(config)
    if not config.backbone_file:
        shared = copy.deepcopy(config)
        shared.runs = ()
        if mode in ("all", "pretrain"):
            job.run(shared, workdir / "backbone", "pretrain", trace and trace / "backbone")
        for one in runs.values():
            one.backbone_file = str(workdir / "backbone" / job.BACKBONE)
    if mode == "pretrain":
        return []
    rows = []
    for name, one in runs.items():
        log.info("")
        log.info("%s", name)
        found = job.run(one, workdir / name, mode, trace and trace / name)
        rows += [{"run": name, **row} for row in found]
    if not rows:
        return []
    text = markdown.tables(rows)
    devices.once(results.write, workdir, rows)
    devices.once((workdir / "table.md").write_text, text)
    log.info("")
    log.info("%s", text)
    log.info("%s and table.md", workdir / results.FILE)
    return rows
