"""What training logged, epoch by epoch."""

from typing import Any

from matplotlib.figure import Figure

from sib_jax.config import PRETRAINING
from sib_jax.report import style
from sib_jax.report.run import Run
from sib_jax.report.section import Section
from sib_jax.report.style import Mode, Picture


def section(run: Run) -> Section | None:
    """Loss and accuracy of pretraining, and of each head's meta-training."""
    stages: dict[str, list[dict[str, Any]]] = {}
    for entry in run.epochs:
        if PRETRAINING.fullmatch(entry["stage"]) or entry["stage"] in run.heads:
            stages.setdefault(entry["stage"], []).append(entry)
    pretraining = {k: v for k, v in stages.items() if k not in run.heads}
    training = {k: v for k, v in stages.items() if k in run.heads}
    pictures = []
    if pretraining:
        caption = (
            "The backbone: accuracy of classifying training images (thin) and on few-shot tasks of "
            "validation classes (thick). The best epoch, marked, is kept."
        )
        pictures.append(_picture("pretraining", "Pretraining", caption, pretraining))
    if training:
        caption = (
            "Meta-training of each head: accuracy on training tasks (thin) and on validation tasks "
            "(thick). The best epoch, marked, is kept."
        )
        pictures.append(_picture("meta_training", "Meta-training", caption, training))
    return Section("Learning curves", (), (), pictures) if pictures else None


def _picture(
    name: str, title: str, caption: str, stages: dict[str, list[dict[str, Any]]]
) -> Picture:
    alt = f"{title}: loss and accuracy by step"
    return Picture(name, alt, lambda mode: _draw(title, stages, mode), caption)


def _draw(title: str, stages: dict[str, list[dict[str, Any]]], mode: Mode) -> Figure:
    made = style.figure(2.9 + 0.18 * ((len(stages) - 1) // 4))
    loss, accuracy = made.subplots(1, 2)
    for index, (name, epochs) in enumerate(stages.items()):
        look, steps = style.line(index, mode), [e["step"] for e in epochs]
        few = {"marker": "o", "markersize": 3} if len(epochs) < 3 else {}
        loss.plot(
            steps, [e.get("loss") for e in epochs], label=style.short(name, 24), **look, **few
        )
        accuracy.plot(
            steps, [e.get("accuracy") for e in epochs], **{**look, "linewidth": 0.9}, **few
        )
        validation = [key for key in epochs[-1] if key.startswith("val_")]
        if validation:
            values = [e.get(validation[-1], float("nan")) for e in epochs]
            accuracy.plot(steps, values, **look, **few)
            best = max(range(len(values)), key=lambda i: values[i])
            accuracy.plot(steps[best], values[best], "o", color=look["color"], markersize=5)
    loss.set(title=f"{title}: loss, nats", xlabel="step")
    accuracy.set(title="accuracy, %", xlabel="step")
    if len(stages) > 1:
        style.below(loss, made)
    return made
