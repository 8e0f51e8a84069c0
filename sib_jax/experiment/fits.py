"""Checks that the data have enough classes and images for the episodes of an experiment."""

from collections.abc import Collection, Mapping

from sib_jax.config import ConfigError, describe
from sib_jax.data import holdout
from sib_jax.data.split import SPLITS, Sizes
from sib_jax.experiment.settings import Experiment, Head
from sib_jax.tasks.setting import Task


def check(experiment: Experiment, sizes: Sizes, trained: Collection[Head], pretrains: bool) -> None:
    """Raises `ConfigError` where an episode, or a batch of pretraining, asks for too much.

    Args:
      experiment: what is to run.
      sizes: of its data.
      trained: the heads that are meta-trained here; the others are only evaluated.
      pretrains: whether the backbone may be trained here.
    """
    share = 0.0 if sizes.base else experiment.base_holdout
    held = {name: holdout.count(n, share) for name, n in sizes.classes["train"].items()}
    counts = dict(sizes.classes)
    counts["train"] = {name: n - held[name] for name, n in counts["train"].items()}
    base = {split: sum(held.values()) for split in SPLITS}
    if sizes.base:
        base = {split: sizes.base.get(split, 0) for split in SPLITS}
    learners = {head.name for head in trained}
    for head in experiment.heads:
        learns = head.name in learners
        evaluated = {*experiment.evaluation.tasks, *(["val"] if learns else [])}
        tasks: dict[str, list[Task]] = {split: [head.setting.task] for split in evaluated}
        if learns:
            tasks["train"] = [lesson.setting.task for lesson in head.learns_from]
            tasks["val"].append(head.chosen_on.task)
        for split in sorted(tasks, key=SPLITS.index):
            in_turn = split == "train" and len(head.learns_from) > 1
            # The largest first: data that suffice for it suffice for the others.
            for task in sorted(tasks[split], key=_most_images, reverse=True):
                ways = "ways" if task.ways == head.setting.task.ways else "optimizer.ways"
                if in_turn:
                    ways = "optimizer.sizes_in_turn, of which ways"
                said = _in_turn_said(task) if in_turn else _size_said(task)
                _check_task(task, split, counts[split], ways, said)
        if head.setting.has_base:
            for lesson in head.learns_from if learns else ():
                _check_pretended(lesson.setting.task, counts["train"])
            for split in sorted(evaluated, key=SPLITS.index):
                most = max(tasks[split], key=lambda task: task.all_queries)
                _check_base(most, base[split], f"the {split} split")
    kept = sum(counts["train"].values())
    if pretrains and experiment.pretraining.batch > kept:
        wanted = f"at most {kept}, the number of images to train on"
        raise ConfigError(describe("pretrain.batch", experiment.pretraining.batch, wanted))
    lacking = min(counts["val"], key=counts["val"].__getitem__)
    if pretrains and counts["val"][lacking] < 2:
        raise ConfigError(
            f"class {lacking!r} of the val split has a single image, but pretraining needs two or "
            "more of each class to choose its best epoch: add one, change config.split_ratios, or "
            "give config.backbone_file"
        )
    if pretrains and len(counts["val"]) < 2:
        raise ConfigError(
            f"the val split has {len(counts['val'])} class, but pretraining needs two or more to "
            "choose its best epoch: change config.split_ratios, or give config.backbone_file"
        )


def _check_task(
    task: Task,
    split: str,
    counts: Mapping[str, int],
    ways: str,
    said: tuple[str, str],
) -> None:
    """Raises where there are too few classes, or one has too few images; `counts` are by class."""
    if task.ways > len(counts):
        wanted = f"at most {len(counts)}, the number of classes in the {split} split"
        if len(counts) < 2:  # no number of ways is left
            wanted += (
                ": training needs more classes than these, in each split; to sort images into a "
                "few classes without training, use sib_jax.predict --backbone"
            )
        raise ConfigError(describe(ways, task.ways, wanted))
    smallest = min(counts, key=counts.__getitem__)
    if _most_images(task) > counts[smallest]:
        size, lower = said
        images = "1 image" if counts[smallest] == 1 else f"{counts[smallest]} images"
        raise ConfigError(
            f"{size}, but class {smallest!r} of the {split} split has only {images}; lower {lower}"
        )


def _most_images(task: Task) -> int:
    """Images of one class in an episode, at most."""
    return task.most_shots + task.most_queries


def _in_turn_said(task: Task) -> tuple[str, str]:
    """The size of an episode of `sizes_in_turn`, in words, and the name of that field."""
    size, most = (task.ways, task.shots, task.all_queries), _most_images(task)
    field = "config.optimizer.sizes_in_turn"
    return f"{field} has {size}, which takes up to {most} images of one class", field


def _size_said(task: Task) -> tuple[str, str]:
    """The size of an episode, in words, and the fields that set it."""
    most = _most_images(task)
    if task.total_queries:
        said = f"config.shots is {task.shots}, with {task.total_queries} queries in all"
        fields = "config.total_queries (or config.optimizer.total_queries) or config.shots"
        return f"{said}: up to {most} images of one class", fields
    may = "" if most == task.shots + task.queries else f", up to {most} of a class if unbalanced"
    fields = "config.queries or config.shots"
    return f"config.shots + config.queries is {task.shots} + {task.queries}{may}", fields


def _check_pretended(task: Task, counts: Mapping[str, int]) -> None:
    """Raises where too few training classes, or images of them, are left as base classes."""
    if task.ways >= len(counts):
        wanted = f"below {len(counts)}, the number of training classes: some remain base classes"
        raise ConfigError(describe("ways", task.ways, wanted))
    fewest = sum(sorted(counts.values())[: len(counts) - task.ways])
    _check_base(task, fewest, "meta-training")


def _check_base(task: Task, images: int, where: str) -> None:
    """Raises where there are too few images of base classes."""
    if task.all_queries > images:
        lower = _size_said(task)[1]
        raise ConfigError(
            f"an episode has {task.all_queries} queries of base classes, as many as of novel ones, "
            f"but there are only {images} images for them in {where}; lower {lower}, or change "
            "config.base_holdout"
        )
