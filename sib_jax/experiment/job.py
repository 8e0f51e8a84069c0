"""A whole experiment, top to bottom: pretrain, features, meta-train each head, evaluate, report."""

import functools
import os
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from sib_jax.backbones import Backbone, own, pretrained
from sib_jax.backbones.pretrained import Pretrained
from sib_jax.config import ConfigError
from sib_jax.data.load import load
from sib_jax.data.split import SPLITS, DataSet, FeatureSplit, Sizes
from sib_jax.experiment import (
    evaluate_head,
    fits,
    head_file,
    inputs,
    kept_results,
    leakage,
    memory,
    other_heads,
    prechecks,
    run_files,
    settings,
    started_alike,
)
from sib_jax.experiment.failed_heads import FailedHeads
from sib_jax.experiment.inputs import Inputs
from sib_jax.experiment.meta_train import meta_train
from sib_jax.experiment.observe import observe, split_shown
from sib_jax.experiment.pretrain import check_start, pretrain
from sib_jax.experiment.run_lock import Lock
from sib_jax.experiment.settings import Experiment, Head
from sib_jax.methods import contract
from sib_jax.report import markdown, observed, results
from sib_jax.report.metrics import Metrics, check_tensorboard
from sib_jax.report.observed import Observed
from sib_jax.runtime import devices, interrupt, programs, weights
from sib_jax.runtime.console import log
from sib_jax.runtime.files import write_bytes
from sib_jax.runtime.seeds import Stream, key
from sib_jax.runtime.words import one_line


def run(
    config: Any,
    workdir: Path,
    mode: str = "all",
    trace_to: Path | None = None,
    report: bool = False,
    heads: Mapping[str, Any] = MappingProxyType({}),
    only: Collection[str] | None = None,
) -> list[results.Row]:
    """Runs a config, or one stage of it; finished stages in `workdir` are not repeated.

    Args:
      config: see `sib_jax.config.default`.
      workdir: gets config.json, metrics.jsonl, results.json, tasks.npz, table.md, the weights and
        checkpoints.
      mode: "all", or one stage: "pretrain", "train" (meta-training) or "evaluate".
      trace_to: gets traces of a few steps of each training, see `runtime.trace`.
      report: also write report.html and its pictures; a failure there is only logged.
      heads: parameters of heads that were trained elsewhere, by name; `workdir` keeps them.
      only: names of the heads to run; what `workdir` holds of the others stays.

    Returns:
      The rows of results.json; none where `mode` stops earlier.

    Raises:
      ConfigError, DataError, FileError, InUseError: before any work starts, where possible.
      UserError: a training diverged, features or answers are not finite, a kept file is damaged.
        For a head, this is raised when the others are done and their results written.
      Interrupted: the run was asked to stop; what it had done is saved.
    """
    own.forget()
    whole = settings.read(config)
    names = [head.name for head in whole.heads]
    run_files.check_place(workdir, names)
    chosen = tuple(head for head in whole.heads if only is None or head.name in only)
    experiment = whole._replace(heads=chosen)
    with Lock(workdir) as lock:
        if devices.anywhere(workdir.is_dir()):
            lock.take()
        return _run(config, experiment, names, workdir, lock, mode, trace_to, report, heads)


def _run(
    config: Any,
    experiment: Experiment,
    names: list[str],
    workdir: Path,
    lock: Lock,
    mode: str,
    trace_to: Path | None,
    report: bool,
    heads: Mapping[str, Any],
) -> list[results.Row]:
    # 1. Everything that can be wrong is found before any work.
    begun = time.monotonic()
    run_files.check_same(config, workdir)
    prechecks.check_stages(config, experiment, workdir, mode, heads)
    prechecks.check_reads(experiment, mode)
    prechecks.check_same_heads(heads, workdir)
    if experiment.tensorboard:
        check_tensorboard()
    shown = experiment.backbone.name if experiment.has_backbone else "none"
    log.info("data set %s, backbone %s, workdir %s", experiment.data.name, shown, workdir)
    log.info("on %s", devices.described())
    for equal in settings.equal_heads(experiment.heads):
        told = "heads %s differ only in their names, so their results will be equal; --heads=%s"
        log.warning(f"{told} runs just one of them", " and ".join(equal), equal[0])
    data = _load(experiment, workdir, mode, heads)
    seen = {split: data.split(split).fingerprint for split in ("train", "val")}
    run_files.check_data(seen, workdir)
    for split in SPLITS:
        part = data.split(split)
        log.info("%6s: %d classes, %d images", split, len(part.class_names), len(part.labels))
    if lock.take():  # the folder is new, or was until now: another run may have come and gone
        run_files.check_same(config, workdir)
        run_files.check_data(seen, workdir)
        prechecks.check_same_heads(heads, workdir)
    flags = {"mode": mode, "profile": trace_to is not None, "report": report}
    started_alike.check(config, experiment, seen, flags | {"heads given": sorted(heads)})
    devices.once(run_files.write_config, config, workdir, only=[h.name for h in experiment.heads])
    if not devices.seen_everywhere(workdir / run_files.CONFIG):
        raise ConfigError(
            f"{workdir} is not the same folder for all processes: some do not see what the first "
            "one wrote; choose a --workdir on a disk that all of them share"
        )
    devices.once(run_files.write_data, seen, workdir)
    silent = not devices.is_main()
    metrics = Metrics(workdir, tensorboard=experiment.tensorboard, silent=silent)

    with interrupt.handled():
        # 2. The backbone: from a file, from an earlier run here, or trained now.
        found = _backbone(experiment, workdir, data, metrics, trace_to)
        if mode == "pretrain":
            log.info("the backbone is ready in %s; --mode=train goes on", workdir)
            return []
        # 3. What the heads read: features of every image, once.
        of = _inputs(experiment, data, found)
        # 4. Meta-training of each head.
        params, failed = {}, FailedHeads(len(experiment.heads))
        for head in experiment.heads:
            devices.stop_if_asked()
            programs.make_room()
            given = heads.get(head.name)
            inputs_of = of[head.method.reads]
            with failed.noted(head.name):
                params[head.name] = _params(head, given, workdir, inputs_of, metrics, trace_to)
        if mode == "train":
            failed.tell()
            log.info("the heads are trained, in %s; --mode=evaluate goes on", workdir)
            return []
        # 5. Evaluation: every head on the same tasks.
        evaluated = _evaluated(config, experiment, names, data, of, params, workdir, failed)
    devices.once(evaluated.write, workdir)
    rows = evaluated.rows
    log.info("")
    log.info("%s", results.summary(rows))
    log.info("")
    log.info("done in %.0f s; %s", time.monotonic() - begun, workdir / results.FILE)
    if report:
        predicted = evaluated.predicted
        heads_shown = tuple(head for head in experiment.heads if head.name in predicted)
        look = functools.partial(
            observe, experiment._replace(heads=heads_shown), data, of, params, predicted, rows
        )
        devices.once(_report, workdir, look)
    failed.tell()
    return rows


def _load(experiment: Experiment, workdir: Path, mode: str, heads: Mapping[str, Any]) -> DataSet:
    """The data, after the checks that need to know what there is; of a folder before decoding."""
    pretrains = experiment.has_backbone and not experiment.backbone.file
    if experiment.data.name != "features":
        memory.check(experiment)

    def check(sizes: Sizes) -> None:
        trained = [] if mode == "evaluate" else experiment.trained(heads)
        fits.check(experiment, sizes, trained, pretrains)
        start = experiment.pretraining.start
        if pretrains and start and not (workdir / run_files.BACKBONE).exists():
            check_start(start, list(sizes.classes["train"]))

    data = load(**experiment.data._asdict(), check=check)
    if isinstance(data.train, FeatureSplit):
        length = data.train.features.shape[1]
        memory.check(experiment, length)
        for head in experiment.heads:
            if head.is_own:
                of = head.setting
                told = f"head {head.name}"
                contract.check(told, head.method, of.task, of.name, features=length)
    check(data.sizes)
    return data


def _report(workdir: Path, look: Callable[[], Observed]) -> None:
    """Writes the report; the results are already written, so a failure here is only logged."""
    from sib_jax.report import page  # slow to import: it draws

    try:
        observed.write(workdir, look())
    except Exception as error:
        log.warning("report: the parts from a second look at the tasks failed: %s", one_line(error))
    page.tell(workdir)


def _backbone(
    experiment: Experiment, workdir: Path, data: DataSet, metrics: Metrics, trace_to: Path | None
) -> Pretrained | None:
    """The backbone; `workdir` keeps its weights, whatever their source, so that it can be moved.

    None where the data are features already, or no method reads features.
    """
    if not experiment.has_backbone:
        return None
    path = workdir / run_files.BACKBONE
    backbone = settings.make_backbone(experiment.backbone, data.train.images.shape[-1])
    given, mirror = experiment.backbone.file, experiment.backbone.mirror
    # All processes look before any writes: they must go the same way.
    kept, has_given = devices.everywhere([path.exists(), os.path.isfile(given)])
    if has_given:
        log.info("backbone from %s", given)
        found = pretrained.load(given, backbone)._replace(mirror=mirror)
        leakage.check(found, given, data, experiment)
        if kept:
            _check_same_backbone(given, found, path, backbone)
        else:
            devices.once(pretrained.save, path, found, source=Path(given).name)
        return found
    if not kept:
        unseen: float | None = 0.0 if data.base else experiment.base_holdout
        if start := experiment.pretraining.start:
            first = check_start(start, data.train.class_names)
            leakage.check(first, start, data, experiment)
            # What either training saw the backbone has seen.
            unseen = None if first.base_holdout is None else min(unseen or 0.0, first.base_holdout)
        found = pretrain(
            experiment.pretraining,
            data,
            backbone,
            experiment.base_holdout,
            workdir / run_files.CHECKPOINTS,
            metrics,
            trace_to and trace_to / "pretrain",
        )
        names = tuple(data.train.class_names)
        found = found._replace(
            mirror=mirror,
            dataset=data.name,
            class_names=names,
            base_holdout=unseen,
        )
        about = {"seed": experiment.pretraining.seed, "epochs": experiment.pretraining.epochs}
        devices.once(pretrained.save, path, found, **about)
    elif given:
        log.info("backbone from %s: %s no longer exists", path, given)
    return run_files.kept(pretrained.load, path, backbone)


def _inputs(experiment: Experiment, data: DataSet, found: Pretrained | None) -> dict[str, Inputs]:
    """Inputs by `Method.reads`; copied to the devices once, not for each head."""
    made = {}
    others = found is not None and found.weights_of(data.name, data.train.class_names) is None
    if others and any(head.setting.has_base for head in experiment.heads):
        log.info(
            "class means are used as base-class weights, because the backbone's weights are of "
            "other classes"
        )
    for reads in {head.method.reads for head in experiment.heads}:
        if reads == "images":
            of = inputs.of_images(data, experiment.base_holdout)
        else:
            of = inputs.of_features(data, found, experiment.base_holdout, devices.stop_if_asked)
        mesh = devices.episode_mesh(devices.filled(experiment.evaluation.batch))
        train, evaluation = devices.shared((of.train, of.evaluation), mesh)
        made[reads] = of._replace(train=train, evaluation=evaluation)
    return made


def _params(
    head: Head, given: Any, workdir: Path, of: Inputs, metrics: Metrics, trace_to: Path | None
) -> Any:
    """A head's parameters: given, trained now or earlier, or initial where nothing trains them."""
    start = head.method.init(key(head.training.seed, Stream.INIT), of.classes)
    if not head.method.keeps:
        return start
    program = head_file.program(head, of.classes.shape, of.program)

    def kept_in(file: Path) -> Any:
        found = run_files.kept(weights.load, file, start)
        head_file.check_reads(file, of.made_by)
        head_file.tell_of_other_code(file, head.method.name, program)
        return found

    path, *twins = (run_files.params_file(workdir, n) for n in (head.name, *head.trained_alike))
    # As in `_backbone`.
    kept, *have = devices.everywhere([path.exists(), *(twin.exists() for twin in twins)])
    if kept:
        return kept_in(path)
    if given is None and head.method.trained and any(have):
        twin = have.index(True)
        name = head.trained_alike[twin]
        log.info("%s takes the parameters of %s, which is trained alike", head.name, name)
        trained = kept_in(twins[twin])
        devices.once(write_bytes, path, twins[twin].read_bytes())
        return trained
    if given is not None:
        trained = given
    elif not head.method.trained:
        trained = start
    else:
        trained = meta_train(
            head,
            start,
            of.train,
            of.evaluation["val"],
            workdir / run_files.CHECKPOINTS / "heads" / head.name,
            metrics,
            trace_to and trace_to / head.name,
            program,
        )
    devices.once(
        head_file.save,
        path,
        trained,
        head,
        input_shape=of.classes.shape,
        base_classes=of.base_names,
        made_by=of.made_by,
        program=program,
    )
    return run_files.kept(weights.load, path, start)


def _check_same_backbone(given: str, found: Pretrained, path: Path, backbone: Backbone) -> None:
    if run_files.kept(pretrained.load, path, backbone).fingerprint() != found.fingerprint():
        raise run_files.other_run(path.parent, f"a run with a backbone other than {given}")


class _Evaluated(NamedTuple):
    """What the heads of a folder reach, those included that this job does not run.

    Attributes:
      rows: of results.json, in the order of the config.
      of_tasks: arrays of tasks.npz, by head, split and measure.
      about_tasks: what the tasks are a function of.
      predicted: the columns of the answers, int [tasks, n], by head of this job.
    """

    rows: list[results.Row]
    of_tasks: dict[str, Any]
    about_tasks: dict[str, Any]
    predicted: dict[str, np.ndarray]

    def write(self, workdir: Path) -> None:
        """Writes tasks.npz, results.json and table.md."""
        weights.save(workdir / results.TASKS, self.of_tasks, self.about_tasks)
        results.write(workdir, self.rows)
        markdown.write(workdir, self.rows)
        kept_results.forget(workdir)


def _evaluated(
    config: Any,
    experiment: Experiment,
    names: list[str],
    data: DataSet,
    of: Mapping[str, Inputs],
    params: Mapping[str, Any],
    workdir: Path,
    failed: FailedHeads,
) -> _Evaluated:
    rows, of_tasks, predicted = [], {}, {}
    about_tasks, changes = evaluate_head.about_tasks(experiment, data), dict(config.heads)
    for head in experiment.heads:
        if head.name not in params:
            continue
        programs.make_room()
        with failed.noted(head.name):
            reached = evaluate_head.evaluated(
                experiment, head, params[head.name], of[head.method.reads], workdir, about_tasks
            )
            of_head = dict(changes.get(head.name, {}))
            rows += [{**row, "fields": of_head} for row, _ in reached.values()]
            of_tasks[head.name] = {
                split: measured.arrays(head.setting.measures)
                for split, (_, measured) in reached.items()
            }
            predicted[head.name] = reached[split_shown(reached)][1].predicted
    if not rows:
        failed.tell()
    # Results that the folder holds of other heads are kept beside these.
    left = [name for name in names if name not in {*of_tasks, *failed.names}]
    backbone = of["features"].made_by if "features" in of else None
    tasks = experiment.evaluation.tasks
    others = other_heads.read(workdir, left, tasks, about_tasks, backbone)
    rows = sorted(rows + others.rows, key=lambda row: names.index(row["head"]))
    every = others.arrays | of_tasks
    about_tasks["heads"] |= others.about
    reads = {head.name: head.method.reads for head in experiment.heads}
    made_by = {name: of[reads[name]].made_by for name in predicted}
    about_tasks["made_by"] = others.made_by | made_by
    return _Evaluated(
        rows, {name: every[name] for name in names if name in every}, about_tasks, predicted
    )
