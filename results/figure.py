"""Draws the README's picture from the files in this folder: python results/figure.py."""

from pathlib import Path

import tables
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sib_jax.report import paper, style
from sib_jax.report.style import MODES, Mode, Picture

TO = Path(__file__).parents[1] / "docs" / "assets"


def draw(mode: Mode) -> Figure:
    """mini-ImageNet: what each step gives, and what unequal shares of classes cost each method."""
    made = style.figure(3.1)
    axes = made.subplots(1, 3, width_ratios=(1, 1, 1.25))
    for shots, one in zip((1, 5), axes, strict=False):
        _of_steps(one, shots, mode)
    _of_unequal_shares(axes[2], mode)
    return made


def _of_steps(axes: Axes, shots: int, mode: Mode) -> None:
    """Accuracy over T beside the paper's, with the untrained rival as a line."""
    rows = tables.rows(tables.MINI)
    steps = (0, 1, 3, 5)
    of_steps = [rows[f"standard_5w{shots}s_T{t}"] for t in steps]
    theirs = [paper.row_of(row)[0].split(" ± ") for row in of_steps]
    axes.errorbar(
        steps, *zip(*(map(float, cell) for cell in theirs), strict=True), **_line(1, mode, "s")
    ).set_label("the paper")
    axes.errorbar(
        steps,
        [row["novel"]["mean"] for row in of_steps],
        [row["novel"]["ci95"] for row in of_steps],
        **_line(0, mode, "o"),
    ).set_label("SIB, here")
    rival = rows[f"sinkhorn_kmeans_5w{shots}s"]["novel"]["mean"]
    axes.axhline(rival, ls=":", color=mode.ink, lw=1.2, label="balanced k-means")
    axes.set_xticks(steps)
    axes.set_xlabel("T, steps on the unlabelled queries")
    axes.set_title(f"5-way {shots}-shot, test accuracy, %")
    if shots == 1:
        axes.legend(loc="lower right", fontsize=8)


def _line(index: int, mode: Mode, marker: str) -> dict[str, object]:
    return style.line(index, mode) | {"marker": marker, "ms": 4, "capsize": 2}


def _of_unequal_shares(axes: Axes, mode: Mode) -> None:
    """1-shot, with balanced queries (hollow) and shares drawn from Dirichlet(2) (full)."""
    heads = {
        "sinkhorn_kmeans": "balanced k-means",
        "sib": "SIB, T = 3",
        "soft_kmeans": "soft k-means",
        "sib_unbalanced": "SIB that learned\nfrom unequal shares",
        "sib_plus_unbalanced": "SIB+ that learned\nfrom unequal shares",
    }
    rows = tables.rows(tables.UNBALANCED_MINI)
    for place, head in enumerate(heads):
        balanced, unequal = (
            rows[f"{head}_5w1s_{end}"]["novel"] for end in ("balanced", "dirichlet")
        )
        axes.plot([balanced["mean"], unequal["mean"]], [place] * 2, color=mode.faint, zorder=1)
        axes.plot(balanced["mean"], place, "o", mfc=mode.paper, mec=mode.cycle[0], ms=5)
        axes.errorbar(unequal["mean"], place, xerr=unequal["ci95"], **_line(0, mode, "o"))
    axes.set_yticks(range(len(heads)), list(heads.values()), fontsize=8)
    axes.set_ylim(len(heads) - 0.5, -0.5)
    axes.set_xlabel("hollow: classes equal, full: Dirichlet(2)")
    axes.set_title("1-shot, unequal classes, %")


def main() -> None:
    """Draws it for light and for dark pages."""
    for mode in MODES:
        png = style.png(Picture("accuracy", "", draw), mode)
        (TO / f"accuracy_{mode.name}.png").write_bytes(png)


if __name__ == "__main__":
    main()
