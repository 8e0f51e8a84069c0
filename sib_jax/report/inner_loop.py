"""What the steps of eq. 9 do to the answers, and how good the synthetic gradients are."""

import numpy as np
from matplotlib.figure import Figure

from sib_jax.report import style
from sib_jax.report.run import Run
from sib_jax.report.section import Section
from sib_jax.report.style import Mode, Picture

_PANELS = {
    "accuracy": "accuracy, %",
    "loss": "−log p(right class), nats",
    "negative_elbo": "negative ELBO, nats per query",
    "entropy": "entropy of answers, nats",
    "cosine": "cosine to the true gradient",
}


def section(run: Run) -> Section | None:
    """Means over tasks, by step t."""
    if run.observed is None or not run.observed.traced:
        return None
    of, split = run.observed.traced, run.observed.about["split"]
    traced = {row["head"]: of[row["head"]] for row in run.rows if row["head"] in of}
    tasks = len(next(iter(traced.values()))["accuracy"])
    text = [
        f"From theta^0 (t = 0) to theta^T, on the unlabelled queries of {tasks} {split} tasks; "
        "shaded are 95% intervals of the means. The last panel compares the synthetic gradient "
        "that a step takes with the true gradient of the query loss, which needs the labels: 1 is "
        "the same direction, 0 is chance."
    ]
    for head, found in traced.items():
        accuracy, cosine = 100 * found["accuracy"].mean(0), found["cosine"].mean(0)
        text.append(
            f"{head}: accuracy {accuracy[0]:.1f} % at theta^0, {accuracy[-1]:.1f} % after "
            f"T = {len(accuracy) - 1}; cosine {cosine[0]:.2f} in the first step"
            + (f", {cosine[-1]:.2f} in the last." if len(cosine) > 1 else ".")
        )
    return Section(
        "What the inner loop does",
        text,
        (),
        [
            Picture(
                "inner_loop",
                "Accuracy, loss, entropy and cosine by step",
                lambda m: _draw(traced, m),
            )
        ],
    )


def _draw(traced: dict[str, dict[str, np.ndarray]], mode: Mode) -> Figure:
    names = [name for name in _PANELS if name != "negative_elbo" or _has_prior(traced)]
    made = style.figure(2.5 + 0.18 * (len(traced) > 1), max(style.WIDTH, 2.3 * len(names)))
    for axes, name in zip(made.subplots(1, len(names)), names, strict=True):
        for index, (head, found) in enumerate(traced.items()):
            values = found[name] * (100 if name == "accuracy" else 1)
            mean, steps = values.mean(0), np.arange(values.shape[1])
            width = 1.96 * values.std(0) / np.sqrt(len(values))
            look = style.line(index, mode)
            axes.plot(steps, mean, marker="o", markersize=3.5, label=style.short(head, 24), **look)
            axes.fill_between(
                steps, mean - width, mean + width, color=look["color"], alpha=0.2, linewidth=0
            )
        longest = max(found[name].shape[1] for found in traced.values())
        axes.set_xticks(np.unique(np.linspace(0, longest - 1, min(longest, 6)).astype(int)))
        axes.set_xlim(-0.25, max(longest - 1, 0) + 0.25)
        axes.set(title=_PANELS[name], xlabel="t")
        axes.title.set_fontsize(8.5)
    if len(traced) > 1:
        style.below(axes, made)
    return made


def _has_prior(traced: dict[str, dict[str, np.ndarray]]) -> bool:
    return any(not np.array_equal(f["loss"], f["negative_elbo"]) for f in traced.values())
