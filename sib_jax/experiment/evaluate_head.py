"""Evaluates a head on the tasks of an experiment: rows of results.json and what is behind them."""

import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sib_jax.data.split import SPLITS, DataSet
from sib_jax.errors import UserError
from sib_jax.experiment import head_file, kept_results
from sib_jax.experiment.evaluate import STREAMS, Answers, answers
from sib_jax.experiment.inputs import Inputs
from sib_jax.experiment.kept_results import Reached
from sib_jax.experiment.measure import Fitted, Measured, fit, measure
from sib_jax.experiment.settings import Experiment, Head
from sib_jax.report import results
from sib_jax.runtime import devices
from sib_jax.runtime.console import log, progress
from sib_jax.runtime.seeds import key
from sib_jax.tasks.interval import interval


class NotFiniteError(UserError):
    """Answers that are not finite, and so have no accuracy."""


def evaluated(
    experiment: Experiment,
    head: Head,
    params: Any,
    of: Inputs,
    workdir: Path,
    about_tasks: dict[str, Any],
) -> Reached:
    """What the head reaches, evaluated now or before this job was stopped."""
    evaluation = experiment.evaluation
    depends_on = {
        **about_tasks,
        "heads": about_tasks["heads"][head.name],
        "parameters": [zlib.crc32(np.asarray(leaf).tobytes()) for leaf in jax.tree.leaves(params)],
        "backbone": of.made_by,
        "program": head_file.program(head, of.classes.shape, of.program, evaluated=True),
        "tasks": evaluation.tasks,
        "batch": evaluation.batch,
    }
    found = kept_results.load(workdir, head.name, depends_on)
    if devices.anywhere(found is None):
        found = _evaluate(experiment, head, params, of)
        devices.once(kept_results.save, workdir, head.name, depends_on, found)
    else:
        log.info("%s has been evaluated before", head.name)
    assert found is not None
    return found


def _evaluate(experiment: Experiment, head: Head, params: Any, of: Inputs) -> Reached:
    """Results by split, in the config's order; validation runs first, as the fit is made on it."""
    evaluation = experiment.evaluation
    found, fitted = {}, None
    for split in sorted(evaluation.tasks, key=SPLITS.index):
        devices.stop_if_asked()
        begun = time.monotonic()
        tasks = evaluation.tasks[split]
        answered = answers(
            head.method,
            params,
            head.setting,
            of.evaluation[split],
            tasks=tasks,
            # The experiment's seed, not the head's: every head gets the same tasks.
            key=key(evaluation.seed, STREAMS[split]),
            batch=evaluation.batch,
        )
        with progress(f"{head.name}: {split}", tasks, "tasks") as advanced:
            answered = _counted(answered, advanced)
            if split == "val":
                fitted, answered = fit(answered, head.setting.task.ways)
            measured = measure(answered, head.setting.task.ways, fitted)
        if strange := np.count_nonzero(~np.isfinite(measured.raw.nll)):
            raise NotFiniteError(
                f"head {head.name} gives answers that are not finite to {strange} of {tasks} "
                f"{split} tasks: leave it out of config.heads, or scale its input down"
            )
        row = _row(experiment, head, split, measured, fitted)
        row["seconds"] = round(time.monotonic() - begun, 3)
        found[split] = row, measured
    return {split: found[split] for split in evaluation.tasks}


def _counted(answered: Iterator[Answers], advanced: Callable[..., None]) -> Iterator[Answers]:
    """The same answers, counted, with a check of the stop flag after each batch."""
    for some in answered:
        yield some
        advanced(len(some.labels))
        devices.stop_if_asked()


def _row(
    experiment: Experiment, head: Head, split: str, measured: Measured, fitted: Fitted | None
) -> results.Row:
    task = head.setting.task
    of_backbone = head.method.reads == "features" and experiment.data.name != "features"
    accuracy = dict(zip(head.setting.measures, map(interval, measured.accuracy.T), strict=True))
    offset = None if measured.both_offset is None else interval(measured.both_offset)._asdict()
    return {
        "dataset": experiment.data.name,
        "split": split,
        "setting": head.setting.name,
        "method": head.method.name,
        "backbone": experiment.backbone.name if of_backbone else None,
        "ways": task.ways,
        "shots": task.shots,
        "steps": head.method.steps,
        "tasks": len(measured.accuracy),
        "seed": head.training.seed,
        **{n: accuracy[n]._asdict() if n in accuracy else None for n in results.ACCURACIES},
        "nll": float(measured.raw.nll.mean()),
        "ece": measured.raw.ece,
        "temperature": fitted and fitted.temperature,
        "nll_scaled": measured.scaled and float(measured.scaled.nll.mean()),
        "ece_scaled": measured.scaled and measured.scaled.ece,
        "offset": fitted and fitted.offset,
        "both_offset": offset,
        "seconds": None,
        "head": head.name,
        "queries": task.queries,
        "query_classes": task.query_classes,
        "total_queries": task.all_queries,
        "support_classes": task.support_classes,
    }


def about_tasks(experiment: Experiment, data: DataSet) -> dict[str, Any]:
    """What the tasks are a function of: two runs in which it is equal had the same tasks."""
    return {
        "dataset": data.name,
        "seed": experiment.evaluation.seed,
        "base_holdout": experiment.base_holdout,
        "fingerprints": {
            **{split: data.split(split).fingerprint for split in SPLITS},
            **{f"base {split}": part.fingerprint for split, part in data.base.items()},
        },
        "heads": {
            head.name: {"setting": head.setting.name, **head.setting.task._asdict()}
            for head in experiment.heads
        },
    }
