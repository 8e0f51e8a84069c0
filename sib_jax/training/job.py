"""A whole run, top to bottom: pretrain, features, meta-train for each T, evaluate, report."""

import json
import time
from pathlib import Path
from typing import Any

import jax

from sib_jax import episodes
from sib_jax.backbones import Backbone
from sib_jax.config import ConfigError, check, describe
from sib_jax.data import holdout
from sib_jax.data.load import load
from sib_jax.data.split import SPLITS, DataSet
from sib_jax.episodes import FeatureTable
from sib_jax.model import Params
from sib_jax.report import results
from sib_jax.report.console import log, progress
from sib_jax.report.metrics import Metrics
from sib_jax.training import (
    devices,
    estimate,
    features,
    interrupt,
    pretrained,
    profile,
    tree_file,
)
from sib_jax.training.evaluate import Tables, evaluate
from sib_jax.training.meta_train import init_params, inner_of, meta_train, task_of
from sib_jax.training.pretrain import pretrain
from sib_jax.training.pretrained import Pretrained

MODES = ("all", "pretrain", "train", "evaluate")
_CONFIG = "config.json"
BACKBONE = "backbone.npz"  # its file in a workdir
# What may differ from the run that a workdir holds: it changes neither backbone nor parameters.
_FREE = ("eval", "data_dir", "compare_steps", "tensorboard")


def run(
    config: Any, workdir: Path, mode: str = "all", trace: Path | None = None
) -> list[results.Row]:
    """Runs a config, or one stage of it; finished stages in `workdir` are not repeated.

    Args:
      config: see `sib_jax.config.default`.
      workdir: gets config.json, metrics.jsonl, results.json, the weights and checkpoints.
      mode: "all", or one stage: "pretrain", "train" (meta-training) or "evaluate".
      trace: gets traces of a few steps of both trainings, see `profile`.

    Returns:
      The rows of results.json; none where `mode` stops earlier.

    Raises:
      ConfigError, DataError: before any work starts.
    """
    # 1. Everything that can be wrong is found before any work.
    begun = time.monotonic()
    check(config)
    pretrained.make_backbone(config, channels=3)  # an unknown name fails here, not after decoding
    _check_workdir(config, workdir)
    steps = sorted({*config.compare_steps, config.inner.steps})
    _check_stages(config, workdir, mode, steps)
    log.info("data set %s, backbone %s, workdir %s", config.dataset, config.backbone, workdir)
    data = load(
        config.dataset,
        config.data_dir,
        image_size=config.image_size,
        ratios=tuple(config.split_ratios),
        seed=config.seed,
    )
    _check_fits(config, data)
    channels = data.train.images.shape[-1]
    backbone = pretrained.make_backbone(config, channels)
    for split in SPLITS:
        part = data.split(split)
        log.info("%6s: %d classes, %d images", split, len(part.class_names), len(part.labels))
    devices.once(_write_config, config, workdir)
    silent = not devices.is_main()
    metrics = Metrics(workdir, tensorboard=config.tensorboard, silent=silent)

    with interrupt.handled():
        # 2. The backbone: from a file, from an earlier run here, or trained now.
        estimate.announce(config, workdir, data, backbone, steps, mode)
        found = _backbone(config, workdir, data, backbone, metrics, trace)
        if mode == "pretrain":
            return []
        # 3. Features of every image, once.
        train, tables = _features(config, found, data)
        # 4. Meta-training, once for each T, from the same start.
        start = init_params(config, train, found.weights)
        if trace:
            profile.meta_training(config, start, train, trace / "meta_training")
        params = {
            t: _params(config, workdir, t, start, train, tables["val"], metrics) for t in steps
        }
        if mode == "train":
            return []
        # 5. Evaluation: every T on the same tasks.
        rows = [
            _evaluate(config, split, t, params[t], tables[split])
            for t in steps
            for split in config.eval.splits
        ]
    devices.once(results.write, workdir, rows)
    log.info("")
    log.info("%s", results.table(rows))
    log.info("")
    log.info("%d-way %d-shot, %s", config.ways, config.shots, config.dataset)
    log.info("%.0f s in all; %s", time.monotonic() - begun, workdir / results.FILE)
    return rows


def _backbone(
    config: Any,
    workdir: Path,
    data: DataSet,
    backbone: Backbone,
    metrics: Metrics,
    trace: Path | None,
) -> Pretrained:
    path = workdir / BACKBONE
    if config.backbone_file:
        log.info("backbone from %s", config.backbone_file)
        return pretrained.load(config.backbone_file, backbone)
    if not path.exists():
        checkpoints = workdir / "checkpoints" / "pretrain"
        traced = trace and trace / "pretraining"
        trained = pretrain(config, data, backbone, checkpoints, metrics, traced)
        about = {"dataset": data.name, "seed": config.seed, "epochs": config.pretrain.epochs}
        devices.once(pretrained.save, path, trained, **about)
    return pretrained.load(path, backbone)


def _features(
    config: Any, found: Pretrained, data: DataSet
) -> tuple[FeatureTable, dict[str, Tables]]:
    """What meta-training draws from; and what validation and test do."""
    parts = {split: data.split(split) for split in SPLITS}
    parts |= {f"base {split}": part for split, part in data.base.items()}
    with progress("features", sum(len(p.labels) for p in parts.values()), "images") as advance:
        of = {name: features.cached(found, part, advance) for name, part in parts.items()}
    held = holdout.of_training(data, config.base_holdout)
    kept = ~held if held.any() else slice(None)  # a mask would copy all of it
    train = episodes.feature_table(of["train"][kept], data.train.labels[kept])

    def tables(split: str) -> Tables:
        novel = episodes.feature_table(of[split], parts[split].labels)
        if split in data.base:  # images of their own, which the data set keeps for this
            base = episodes.feature_table(of[f"base {split}"], data.base[split].labels)
        elif held.any():
            base = episodes.feature_table(of["train"][held], data.train.labels[held])
        else:
            base = None
        return Tables(novel, base)

    # On every device once, and not for each T or in each call of `evaluate`.
    train = devices.to_all(train, devices.episode_mesh(config.optimizer.batch))
    mesh = devices.episode_mesh(devices.filled(config.eval.batch))
    return train, devices.to_all({split: tables(split) for split in ("val", "test")}, mesh)


def _params(
    config: Any,
    workdir: Path,
    steps: int,
    start: Params,
    train: FeatureTable,
    val: Tables,
    metrics: Metrics,
) -> Params:
    path = workdir / _params_file(steps)
    if not path.exists():
        trained = meta_train(
            config,
            steps,
            start,
            train,
            val,
            workdir / "checkpoints" / f"T{steps}",
            metrics,
        )
        devices.once(tree_file.save, path, trained, {"steps": steps, "seed": config.seed})
    return tree_file.load(path, start)


def _evaluate(config: Any, split: str, steps: int, params: Params, tables: Tables) -> results.Row:
    begun = time.monotonic()
    tasks = config.eval[f"{split}_tasks"]
    found = evaluate(
        params,
        tables,
        task_of(config),
        inner_of(config, steps),
        tasks=tasks,
        # Without T: every T sees the same tasks.
        key=jax.random.fold_in(jax.random.key(config.seed), {"val": 6, "test": 7}[split]),
        batch=config.eval.batch,
    )
    return {
        "dataset": config.dataset,
        "split": split,
        "setting": config.setting,
        "method": f"SIB {config.posterior}",
        "backbone": config.backbone,
        "ways": config.ways,
        "shots": config.shots,
        "steps": steps,
        "tasks": tasks,
        "seed": config.seed,
        **{
            name: found[name]._asdict() if name in found else None
            for name in ("novel", "base", "both")
        },
        "seconds": round(time.monotonic() - begun, 3),
    }


def _check_fits(config: Any, data: DataSet) -> None:
    """Episodes must fit into every split."""
    for split in SPLITS:
        part = data.split(split)
        if config.ways > len(part.class_names):
            wanted = f"at most {len(part.class_names)}, the classes of the {split} split"
            raise ConfigError(describe("ways", config.ways, wanted))
        smallest = int(part.class_counts.argmin())
        if config.shots + config.queries > part.class_counts[smallest]:
            raise ConfigError(
                f"config.shots + config.queries is {config.shots} + {config.queries}, but class "
                f"{part.class_names[smallest]!r} of the {split} split has only "
                f"{part.class_counts[smallest]} images; lower config.queries or config.shots"
            )
    held = holdout.of_training(data, config.base_holdout)
    kept = len(held) - int(held.sum())
    if config.pretrain.batch > kept:
        wanted = f"at most {kept}, the images that training sees"
        raise ConfigError(describe("pretrain.batch", config.pretrain.batch, wanted))


def _check_workdir(config: Any, workdir: Path) -> None:
    """A workdir holds one run; another config would mix two."""
    path = workdir / _CONFIG
    if not path.exists():
        return
    before = _flat(json.loads(path.read_text()))
    now = _flat(json.loads(config.to_json()))
    for field in sorted(before.keys() | now.keys()):
        if field.split(".")[0] in _FREE:
            continue
        if before.get(field) != now.get(field):
            raise ConfigError(
                f"{workdir} holds a run with config.{field} = {before.get(field)!r}, not "
                f"{now.get(field)!r}; choose another --workdir, or delete it to start anew"
            )


def _check_stages(config: Any, workdir: Path, mode: str, steps: list[int]) -> None:
    """What `mode` builds upon must be there."""
    if mode not in MODES:
        raise ConfigError(f"mode is {mode!r}, but must be one of {', '.join(MODES)}")
    needed = {}
    if config.backbone_file:
        if not Path(config.backbone_file).is_file():
            raise ConfigError(
                describe("backbone_file", config.backbone_file, "an existing .npz or .pth file")
            )
    elif mode in ("train", "evaluate"):
        needed[BACKBONE] = "pretrain"
    if mode == "evaluate":
        needed |= {_params_file(t): "train" for t in steps}
    for name, stage in needed.items():
        if not (workdir / name).exists():
            raise ConfigError(
                f"--mode={mode} needs {workdir / name}, which does not exist: "
                f"run with --mode={stage} or --mode=all first"
            )


def _params_file(steps: int) -> str:
    return f"params_T{steps}.npz"


def _write_config(config: Any, workdir: Path) -> None:
    workdir.mkdir(parents=True, exist_ok=True)
    temporary = workdir / f".{_CONFIG}"
    temporary.write_text(config.to_json(indent=1) + "\n")
    temporary.replace(workdir / _CONFIG)


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
