"""Makes the tables of RESULTS.md, README.md and the pages here, from the files in this folder.

python results/tables.py                 updates the tables in all of these documents
python results/tables.py --check         names the documents whose tables differ; exits with 1 then
python results/tables.py --keep RUN NAME copies results.json of a finished run to NAME.json, and
                                         what the tables need of its tasks.npz to NAME.tasks.npz
python results/tables.py --differences   prints differences task by task, as quoted in the text

In a document a table stands between `<!-- table: NAME -->` and `<!-- end of table -->`.
"""

import argparse
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sib_jax.report import paper
from sib_jax.tasks.interval import Interval, interval

HERE = Path(__file__).parent
DOCUMENTS = (HERE.parent / "RESULTS.md", HERE.parent / "README.md", *sorted(HERE.glob("*.md")))
PLACE = re.compile(r"(<!-- table: (\w+) -->\n).*?(?=<!-- end of table -->)", re.DOTALL)

Row = dict[str, Any]

MINI = ("mini_imagenet_conv4_128", "sib_plus_conv4_128")
UNDISTILLED = "mini_imagenet_conv4_128_undistilled"
TWICE = "backbone_training/distilled_twice"
MINI_LWOF = ("mini_imagenet_conv4_128_lwof_full",)
MINI_LWOF_SHORT = ("mini_imagenet_conv4_128_lwof",)
PLUS_SEEDS = "sib_plus_conv4_128_seeds"
MINI_METHODS = (
    *MINI,
    "comparison_mini_imagenet",
    "comparison_mini_imagenet_short",
    "comparison_mini_imagenet_base",
)
CONV4_64, CONV4_64_LWOF = ("mini_imagenet_conv4_64",), ("mini_imagenet_conv4_64_lwof",)
CIFAR = ("cifar_fs", "cifar_fs_sib_plus")
CIFAR_METHODS = (
    *CIFAR,
    "comparison_cifar_fs",
    "comparison_cifar_fs_short",
    "comparison_cifar_fs_base",
)
UNBALANCED_MINI = (
    "unbalanced_mini_imagenet_conv4_128",
    "unbalanced_mini_imagenet_conv4_128_alpha_tim",
    "unbalanced_mini_imagenet_conv4_128_base",
    "unbalanced_mini_imagenet_conv4_128_gaussian",
)
UNBALANCED_CIFAR = (
    "unbalanced_cifar_fs",
    "unbalanced_cifar_fs_sib_plus",
    "unbalanced_cifar_fs_base",
)
TUNED_MINI = ("tuned_mini_imagenet", "tuned_mini_imagenet_more")
TUNED_CIFAR = ("tuned_cifar_fs", "tuned_cifar_fs_more")
TUNED_BALANCED_MINI = ("tuned_balanced_mini_imagenet",)
TUNED_BALANCED_CIFAR = ("tuned_balanced_cifar_fs",)
PLUS_UNBALANCED = {"sib_plus_unbalanced": "sib_plus_unbalanced_5w{}s_dirichlet"}
PLUS_BALANCED = {"sib_plus_balanced": "sib_plus_balanced_5w{}s"}
SIB = {f"standard_5w{{}}s_T{steps}": f"SIB, T = {steps}" for steps in (0, 1, 3, 5)}
UNTRAINED = {
    "soft_kmeans_5w{}s": "soft k-means, untrained",
    "sinkhorn_kmeans_5w{}s": "balanced k-means, untrained",
}
SIB_PLUS = {
    "sib_plus_5w{}s": "SIB+, T = 10",
    "sib_plus_balanced_5w{}s": "SIB+ with balanced assignments, T = 10",
}
METHODS = {
    "standard_5w{}s_T0": "SIB, T = 0",
    "standard_5w{}s_T3": "SIB, T = 3",
    "standard_5w{}s_T5": "SIB, T = 5",
    "sib_plus_5w{}s": "SIB+",
    "sib_plus_balanced_5w{}s": "SIB+, balanced assignments",
    "simple_shot_5w{}s": "SimpleShot, L2N",
    "simple_shot_base_5w{}s": "SimpleShot, CL2N",
    "soft_kmeans_5w{}s": "soft k-means",
    "sinkhorn_kmeans_5w{}s": "balanced k-means",
    "bd_cspn_5w{}s": "BD-CSPN",
    "bd_cspn_base_5w{}s": "BD-CSPN, base mean",
    "laplacian_shot_5w{}s": "LaplacianShot",
    "laplacian_shot_base_5w{}s": "LaplacianShot, base mean",
    "tim_adm_5w{}s": "TIM, ADM",
    "tim_gradient_5w{}s": "TIM, gradient",
    "alpha_tim_5w{}s": "alpha-TIM",
    "pt_map_5w{}s": "PT-MAP",
    "gaussian_em_5w{}s": "Gaussian mixture",
    "matching_5w{}s": "matching networks",
    "matching_full_context_5w{}s": "matching networks, full context *",
    "prototypical_5w{}s": "prototypical networks",
    "anil_5w{}s": "ANIL",
    "meta_lstm_cosine_5w{}s": "meta-learner LSTM, cosine *",
    "meta_lstm_linear_5w{}s": "meta-learner LSTM, linear *",
    "snail_5w{}s": "SNAIL *",
    "average_lwof_5w{}s": "weight generator, average",
    "attention_lwof_5w{}s": "weight generator, attention",
}
# The paper has one number for each system; it is shown beside another form than these.
OTHER_FORMS = ("matching_full_context_5w{}s", "meta_lstm_linear_5w{}s", "average_lwof_5w{}s")


def rows(names: Iterable[str], split: str = "test") -> dict[str, Row]:
    """The rows of a split by head, from all of the files."""
    found = [row for name in names for row in json.loads((HERE / f"{name}.json").read_text())]
    return {row["head"]: row for row in found if row["split"] == split}


def tasks(names: Iterable[str]) -> dict[str, np.ndarray]:
    """Accuracies of each test task, from 0 to 1, as `<head>/<measure>`, from all of the files."""
    found: dict[str, np.ndarray] = {}
    for name in names:
        with np.load(HERE / f"{name}.tasks.npz") as arrays:
            found |= {key: arrays[key].astype(np.float64) for key in arrays.files}
    return found


def cell(mean: float, half: float) -> str:
    """`mean ± half`."""
    return Interval(mean, half).text()


def shown(row: Row | None, measure: str = "novel") -> str:
    """A measure of a row with its interval; empty if there is none."""
    value = row and row.get(measure)
    return cell(value["mean"], value["ci95"]) if value else ""


def calibrated(row: Row | None) -> str:
    """NLL and ECE at the temperature that validation chose."""
    return f"{row['nll_scaled']:.3f}, {row['ece_scaled']:.1f}" if row else ""


def beside(printed: str, mean: float, half: float) -> str:
    """How a row compares with the paper: above, within both intervals, or by how much below."""
    if not printed:
        return ""
    wanted, _, interval_of_it = printed.partition(" ± ")
    below = float(wanted) - mean
    if abs(below) <= min(half, float(interval_of_it or 0)):
        return "within"
    return "above" if below < 0 else f"{below:.1f} below"


def table(head: str, lines: Iterable[Iterable[str]]) -> str:
    """A table in Markdown; the names of its columns are one string, as in the table."""
    rule = "|" + "---|" * (head.count("|") - 1)
    return "\n".join([head, rule, *(f"| {' | '.join(line)} |" for line in lines)]) + "\n"


def standard_mini(names: tuple[str, ...]) -> str:
    """SIB beside the paper on mini-ImageNet, and methods that learn nothing."""
    test, val, of_task = rows(names), rows(names, "val"), tasks(names)

    def line(shots: int, head: str, name: str) -> list[str]:
        printed, printed_val = (
            (paper.row_of(row) or ("",))[0] if head in SIB else ""
            for row in (test[head.format(shots)], val[head.format(shots)])
        )
        head = head.format(shots)
        first = interval(of_task[f"{head}/novel"][:600])
        return [
            f"{shots}-shot",
            name,
            printed,
            cell(*first),
            beside(printed, *first),
            shown(test[head]),
            printed_val,
            shown(val[head]),
            calibrated(test[head]),
        ]

    heads = SIB | UNTRAINED | SIB_PLUS
    return table(
        "| task | method | paper, 600 tasks | ours, the first 600 tasks | | ours, 10,000 tasks "
        "| validation: paper | validation: ours | NLL, ECE (test) |",
        (line(s, h, n) for s in (5, 1) for h, n in heads.items() if h.format(s) in test),
    )


def lwof_mini(names: tuple[str, ...]) -> str:
    """SIB without forgetting beside the paper on mini-ImageNet."""
    test, of_task = rows(names), tasks(names)

    def lines(shots: int, steps: int) -> Iterable[list[str]]:
        head = f"lwof_5w{shots}s_T{steps}"
        row = test[head]
        printed = (*(paper.row_of(row) or ("", "", "")), "")
        names = ("Novel", "Base", "Both", f"Both, offset {row['offset']:.2f}")
        measures = ("novel", "base", "both", "both_offset")
        for measure, name, theirs in zip(measures, names, printed, strict=True):
            first = interval(of_task[f"{head}/{measure}"][:600])
            yield [
                f"{shots}-shot",
                f"SIB, T = {steps}",
                name,
                theirs,
                cell(*first),
                beside(theirs, *first),
                shown(row, measure),
            ]

    return table(
        "| task | method | | paper, 600 tasks | ours, the first 600 tasks | | ours, 5,000 tasks |",
        (
            line
            for s in (5, 1)
            for t in (0, 1, 3, 5)
            if f"lwof_5w{s}s_T{t}" in test
            for line in lines(s, t)
        ),
    )


def standard_cifar() -> str:
    """SIB on CIFAR-FS, and methods that learn nothing."""
    test, val = rows(CIFAR), rows(CIFAR, "val")
    heads = SIB | UNTRAINED | SIB_PLUS
    return table(
        "| task | method | test, 10,000 tasks | validation, 2,000 tasks | NLL, ECE (test) |",
        (
            [f"{s}-shot", name, shown(test[h]), shown(val[h]), calibrated(test[h])]
            for s in (5, 1)
            for h, name in ((head.format(s), name) for head, name in heads.items())
        ),
    )


def side_by_side(names: tuple[str, str], columns: tuple[str, str], heads: dict[str, str]) -> str:
    """The standard rows of two files on the same tasks, with their differences task by task."""
    (first, of_first), (other, of_other) = ((rows([n]), tasks([n])) for n in names)

    def line(shots: int, head: str, method: str) -> list[str]:
        novel = f"{head}/novel"
        return [
            f"{shots}-shot",
            method,
            (paper.row_of(first[head]) or ("",))[0] if method.startswith("SIB") else "",
            shown(first[head]),
            shown(other[head]),
            cell(*interval(of_other[novel] - of_first[novel])),
        ]

    return table(
        f"| task | method | paper | {' | '.join(columns)} | difference |",
        (line(s, head.format(s), method) for s in (5, 1) for head, method in heads.items()),
    )


def schedules() -> str:
    """The schedule of the tables beside the paper's."""
    names = (UNDISTILLED, "mini_imagenet_conv4_128_full")
    return side_by_side(names, ("60,000 episodes", "480,000 episodes"), SIB)


def schedules_lwof() -> str:
    """The same without forgetting: what 16 times as many episodes change, task by task."""
    short, full, of_short, of_full = (
        of(names) for of in (rows, tasks) for names in (MINI_LWOF_SHORT, MINI_LWOF)
    )
    measures = ("novel", "base", "both", "both_offset")

    def line(head: str) -> list[str]:
        keys = [f"{head}/{measure}" for measure in measures]
        return [
            f"{head[7]}-shot, T = {head[-1]}",
            *(shown(short[head], measure) for measure in ("both", "both_offset")),
            *(cell(*interval(of_full[key] - of_short[key])) for key in keys),
        ]

    return table(
        "| task | 30,000 episodes: Both | with offset | 480,000, difference: Novel | Base | Both "
        "| with offset |",
        (line(head) for head in sorted(full, key=lambda name: (name[7] != "5", name))),
    )


def which_backbone() -> str:
    """The stage of the backbone that is shipped, and the one that validation would choose."""
    shipped, other = ({s: rows([name], s) for s in ("val", "test")} for name in (MINI[0], TWICE))

    def line(shots: int, head: str, method: str) -> list[str]:
        head = head.format(shots)
        cells = (shown(of[split][head]) for split in ("val", "test") for of in (shipped, other))
        return [f"{shots}-shot", method, *cells, (paper.row_of(shipped["test"][head]) or ("",))[0]]

    return table(
        "| task | method | validation: shipped | the other | test: shipped | the other "
        "| the paper |",
        (line(s, head, method) for s in (5, 1) for head, method in (SIB | UNTRAINED).items()),
    )


def distilled() -> str:
    """The backbone before its distillation, and after it."""
    return side_by_side((UNDISTILLED, MINI[0]), ("before", "distilled"), SIB | UNTRAINED)


def seeds(names: Iterable[str], heads: Mapping[str, str]) -> str:
    """Three seeds of meta-training; the interval over them is Student's t with two degrees.

    Args:
      names: of the files.
      heads: the head of seed 0, with {} for the shots in its name -> the name of its method.
    """
    found = rows(names)

    def line(shots: int, head: str, method: str) -> list[str]:
        head = head.format(shots)
        means = [found[name]["novel"]["mean"] for name in (head, f"{head}_seed1", f"{head}_seed2")]
        half = 4.303 * np.std(means, ddof=1) / 3**0.5
        each = [f"{mean:.2f}" for mean in means]
        return [f"{shots}-shot", method, *each, cell(float(np.mean(means)), half)]

    return table(
        "| task | method | seed 0 | seed 1 | seed 2 | mean, interval over seeds |",
        (line(shots, head, method) for shots in (5, 1) for head, method in heads.items()),
    )


def lwof_cifar() -> str:
    """SIB without forgetting on CIFAR-FS."""
    test = rows(["cifar_fs_lwof"])
    measures = ("novel", "base", "both", "both_offset")
    return table(
        "| task | method | Novel | Base | Both | Both with an offset | offset |",
        (
            [
                f"{s}-shot",
                f"SIB, T = {t}",
                *(shown(row, measure) for measure in measures),
                f"{row['offset']:.2f}",
            ]
            for s in (5, 1)
            for t in (0, 1, 3, 5)
            for row in [test[f"lwof_5w{s}s_T{t}"]]
        ),
    )


def methods() -> str:
    """Every method on the first 2,000 tasks of both data sets."""
    sets = ((MINI, MINI_METHODS), (CIFAR, CIFAR_METHODS))
    found = [(rows(names), tasks(of_tasks)) for of_tasks, names in sets]

    def accuracy(test: dict[str, Row], of_task: dict[str, np.ndarray], head: str) -> str:
        if f"{head}/novel" in of_task:
            return cell(*interval(of_task[f"{head}/novel"][:2000]))
        return shown(test.get(head))

    def printed(head: str) -> str:
        """What the paper reports on mini-ImageNet, 1-shot and 5-shot."""
        if head in OTHER_FORMS:
            return ""
        of_cifar = (found[1][0][head.format(s)] for s in (1, 5))
        theirs = (paper.row_of({**row, "dataset": "mini_imagenet"}) for row in of_cifar)
        return ", ".join(row[0].split(" ")[0] for row in theirs if row)

    lines = (
        [name, printed(head), *(accuracy(*f, head.format(s)) for f in found for s in (1, 5))]
        for head, name in METHODS.items()
    )
    return table(
        "| method | the paper, 1-shot, 5-shot | mini-ImageNet, 1-shot | 5-shot "
        "| CIFAR-FS, 1-shot | 5-shot |",
        lines,
    )


def calibration() -> str:
    """The same methods' calibration."""
    found = [rows(names) for names in (MINI_METHODS, CIFAR_METHODS)]
    return table(
        "| method | mini-ImageNet, 1-shot | 5-shot | CIFAR-FS, 1-shot | 5-shot |",
        (
            [name, *(calibrated(test.get(head.format(s))) for test in found for s in (1, 5))]
            for head, name in METHODS.items()
            if "lwof" not in head  # whose scores are of 69 classes, and not of 5
        ),
    )


def projected() -> str:
    """Methods for which mini-ImageNet's features are too long, on their first 256 directions."""
    short, whole = rows(["comparison_mini_imagenet_256"]), rows(["comparison_mini_imagenet"])

    def line(head: str) -> list[str]:
        names = [head.format(s) for s in (1, 5)]
        cells = (shown(of.get(name)) for name in names for of in (whole, short))
        return [METHODS[head], *cells, *(calibrated(short.get(name)) for name in names)]

    return table(
        "| method | 1-shot: 3,200 numbers | 256 | 5-shot: 3,200 numbers | 256 "
        "| NLL, ECE: 256, 1-shot | 5-shot |",
        (line(head) for head in METHODS if head.format(1) in short or head.format(5) in short),
    )


def generators() -> str:
    """The weight generators without forgetting."""
    sets = {
        "mini-ImageNet": rows(["comparison_mini_imagenet"]),
        "CIFAR-FS": rows(["comparison_cifar_fs"]),
    }
    measures = ("novel", "base", "both", "both_offset")
    return table(
        "| generator | data set | task | Novel | Base | Both | Both with an offset | offset |",
        (
            [
                generator,
                name,
                f"{s}-shot",
                *(shown(row, measure) for measure in measures),
                f"{row['offset']:.2f}",
            ]
            for name, test in sets.items()
            for generator in ("average", "attention")
            for s in (1, 5)
            for row in [test.get(f"{generator}_lwof_5w{s}s")]
            if row
        ),
    )


def unbalanced(names: Iterable[str], shots: int) -> str:
    """Each method on balanced and on Dirichlet queries; methods that learn come first."""
    test = rows(names)
    place = re.compile(rf"(\w+)_5w{shots}s_(?:balanced|dirichlet)")
    found = dict.fromkeys(match[1] for head in test if (match := place.fullmatch(head)))

    def both_ways(row: Row | None) -> str:
        return f"{calibrated(row)} ({row['nll']:.3f}, {row['ece']:.1f})" if row else ""

    def line(method: str) -> list[str]:
        kinds = ("balanced", "dirichlet")
        balanced, drawn = (test.get(f"{method}_5w{shots}s_{kind}") for kind in kinds)
        change = ""
        if balanced and drawn:
            change = f"{drawn['novel']['mean'] - balanced['novel']['mean']:+.2f}"
        calibrations = (both_ways(balanced), both_ways(drawn))
        return [method, shown(balanced), shown(drawn), change, *calibrations]

    return table(
        "| method | balanced | Dirichlet(2) | change | NLL, ECE balanced | NLL, ECE Dirichlet |",
        map(line, sorted(found, key=lambda method: not method.startswith("sib"))),
    )


def tuned(
    names: tuple[str, ...], as_they_come: tuple[str, ...], kind: str, learned: Mapping[str, str]
) -> str:
    """Untrained methods with the settings that validation chose, and what learns beside them.

    Args:
      names: files of the settings.
      as_they_come: files of the same methods with their default settings, and of what learns.
      kind: of the queries, dirichlet or balanced.
      learned: the heads that learn, by the name that the table gives them.
    """
    test, val, usual = rows(names), rows(names, "val"), rows(as_they_come)
    place = re.compile(r"(\w+)_5w(\d)s_(.*)")
    heads = [match.groups() for head in val if (match := place.fullmatch(head))]

    def cells(method: str, shots: str) -> Iterable[str]:
        settings = [s for m, n, s in heads if (m, n) == (method, shots)]
        named = {s: f"{method}_5w{shots}s_{s}" for s in settings}
        best = max(settings, key=lambda s: val[named[s]]["novel"]["mean"])
        yield best.replace("_", " ").replace(" weight", "-weight").replace(" size", "-size")
        yield shown(usual.get(f"{method}_5w{shots}s_{kind}"))
        yield shown(test[named[best]])

    def trained(head: str) -> Iterable[str]:
        for shots in (1, 5):
            yield from ("", shown(usual[head.format(shots)]), "")

    found = dict.fromkeys(method for method, *_ in heads)
    lines = [[m, *cells(m, "1"), *cells(m, "5")] for m in found]
    return table(
        "| method | 1-shot: chosen | as it comes | tuned | 5-shot: chosen | as it comes | tuned |",
        [*lines, *([name, *trained(head)] for name, head in learned.items())],
    )


def shares(name: str) -> str:
    """Shares of the queries that are less and less equal."""
    test = rows([name])
    place = re.compile(r"(\w+)_5w(\d)s_(balanced|missing|dirichlet_\w+)")
    found = [match.groups() for head in test if (match := place.fullmatch(head))]
    kinds = {
        "balanced": "balanced",
        "dirichlet_5": "Dirichlet(5)",
        "dirichlet_2": "(2)",
        "dirichlet_1": "(1)",
        "dirichlet_half": "(0.5)",
        "missing": "a class missing",
    }

    def line(shots: str, method: str) -> list[str]:
        return [
            f"{shots}-shot",
            method,
            *(shown(test[f"{method}_5w{shots}s_{kind}"]) for kind in kinds),
        ]

    return table(
        f"| task | method | {' | '.join(kinds.values())} |",
        (line(s, m) for s, m in dict.fromkeys((s, m) for m, s, _ in found)),
    )


def from_images() -> str:
    """Methods that train their own networks on CIFAR-FS, and the same methods on our features."""
    test, val = rows(["images_cifar_fs_short"]), rows(["images_cifar_fs_short"], "val")
    on_features = rows(CIFAR_METHODS)
    return table(
        "| method, from images | task | validation, 500 tasks | test, 2,000 tasks "
        "| NLL, ECE (test) | on frozen features, test |",
        (
            [
                row["method"],
                f"{row['shots']}-shot",
                shown(val[head]),
                shown(row),
                calibrated(row),
                shown(on_features.get(head)),
            ]
            for head, row in test.items()
        ),
    )


def of_queries(name: str) -> str:
    """What the number of queries is worth."""
    test = rows([name])
    place = re.compile(r"(\w+)_5w(\d)s_(\d+)q")
    found = [match.groups() for head in test if (match := place.fullmatch(head))]
    numbers = sorted({int(n) for *_, n in found})

    def line(shots: str, method: str) -> list[str]:
        cells = (shown(test[f"{method}_5w{shots}s_{n}q"]) for n in numbers)
        return [f"{shots}-shot", method, *cells]

    return table(
        f"| task | method | {' | '.join(map(str, numbers))} |",
        (line(s, m) for s, m in dict.fromkeys((s, m) for m, s, _ in found)),
    )


def shipped_head() -> str:
    """What the head that ships with Conv4-128 reaches on tasks of many sizes."""
    found = json.loads((HERE / "shipped_head_mini_imagenet.json").read_text())
    methods = ("sib_plus", "soft_kmeans", "simple_shot")

    def line(row: Row) -> list[str]:
        best = max(methods, key=lambda method: row[method]["mean"])
        cells = (cell(row[method]["mean"], row[method]["ci95"]) for method in methods)
        marked = (
            f"**{text}**" if method == best else text
            for method, text in zip(methods, cells, strict=True)
        )
        return [*(str(row[size]) for size in ("ways", "shots", "queries")), *marked]

    return table(
        "| ways | shots | queries | shipped head, SIB+ | soft k-means | SimpleShot |",
        map(line, found),
    )


def sure() -> str:
    """Which of the shipped head's predictions --sure sets aside."""
    found = json.loads((HERE / "sure_mini_imagenet.json").read_text())
    measures = (
        "accuracy_of_the_rest",
        "right_set_aside",
        "wrong_set_aside",
        "of_no_class_set_aside",
    )
    return table(
        "| task | `--sure` | right among the rest, of the five classes | set aside: of the right "
        "answers | of the mistakes | of images of none of the classes |",
        (
            [f"{row['shots']}-shot", str(row["sure"]), *(f"{row[m]:.0f} %" for m in measures)]
            for row in found
        ),
    )


def mirrored() -> str:
    """Features averaged over an image and its mirror image."""
    test = rows(["mini_imagenet_conv4_128_mirror"])
    return table("| head | Novel |", ([head, shown(row)] for head, row in test.items()))


def first() -> str:
    """README's first table."""
    sets = {
        "**mini-ImageNet**, Conv4-128": MINI,
        "**CIFAR-FS**, Conv4-64": CIFAR,
    }

    def lines() -> Iterable[list[str]]:
        for name, files in sets.items():
            yield [name, *[""] * 6]
            test = rows(files)
            for shots in (1, 5):
                sib = [test[head.format(shots)] for head in SIB]
                printed = [(paper.row_of(row) or ("",))[0].split(" ")[0] for row in sib]
                yield [
                    f"{shots}-shot",
                    *(
                        shown(row) + (f" ({theirs})" if theirs else "")
                        for row, theirs in zip(sib, printed, strict=True)
                    ),
                    f"**{shown(test[f'sib_plus_balanced_5w{shots}s'])}**",
                    shown(test[f"sinkhorn_kmeans_5w{shots}s"]),
                ]

    return table(
        "| 5-way | T = 0 | T = 1 | T = 3 | T = 5 | SIB+, balanced | balanced k-means, untrained |",
        lines(),
    )


def first_unbalanced() -> str:
    """README's second table: tasks whose classes have random shares of the queries."""
    sets = {
        "mini-ImageNet, Conv4-128": (UNBALANCED_MINI, TUNED_MINI),
        "CIFAR-FS, Conv4-64": (UNBALANCED_CIFAR, TUNED_CIFAR),
    }

    def line(name: str, files: tuple[str, ...], tuned: tuple[str, ...], shots: int) -> list[str]:
        test, found = rows(files), {split: rows(tuned, split) for split in ("val", "test")}
        trained = ("sib", "sib_unbalanced", "sib_plus_unbalanced")
        cells = [shown(test[f"{head}_5w{shots}s_dirichlet"]) for head in trained]
        chosen = max(
            (head for head in found["val"] if f"_5w{shots}s_" in head),
            key=lambda head: found["val"][head]["novel"]["mean"],
        )
        return [
            f"{name}, {shots}-shot",
            *cells[:-1],
            f"**{cells[-1]}**",
            shown(test[f"soft_kmeans_5w{shots}s_dirichlet"]),
            shown(test[f"sinkhorn_kmeans_5w{shots}s_dirichlet"]),
            f"{shown(found['test'][chosen])} ({chosen.split('_5w')[0]})",
        ]

    return table(
        "| | SIB, T = 3 | meta-trained on such tasks: SIB, T = 3 | SIB+, T = 5 | soft k-means "
        "| balanced k-means | best untrained method and setting on validation |",
        (line(name, *files, shots) for name, files in sets.items() for shots in (1, 5)),
    )


def first_lwof() -> str:
    """README's third table: learning without forgetting beside the paper."""
    test = rows(MINI_LWOF)

    def line(shots: int) -> list[str]:
        row = test[f"lwof_5w{shots}s_T3"]
        printed = (theirs.split(" ")[0] for theirs in paper.row_of(row) or ())
        measures = ("novel", "base", "both")
        return [
            f"{shots}-shot",
            *(f"{shown(row, m)} ({p})" for m, p in zip(measures, printed, strict=True)),
        ]

    return table(
        "| 5-way | Novel, among 5 | Base, among 64 | Both, among all 69 |", map(line, (1, 5))
    )


TABLES: dict[str, Callable[[], str]] = {
    "first": first,
    "first_unbalanced": first_unbalanced,
    "first_lwof": first_lwof,
    "standard_mini": lambda: standard_mini(MINI),
    "lwof_mini": lambda: lwof_mini(MINI_LWOF),
    "standard_conv4_64": lambda: standard_mini(CONV4_64),
    "lwof_conv4_64": lambda: lwof_mini(CONV4_64_LWOF),
    "schedules": schedules,
    "schedules_lwof": schedules_lwof,
    "which_backbone": which_backbone,
    "distilled": distilled,
    "from_images": from_images,
    "of_queries_mini": lambda: of_queries("queries_mini_imagenet"),
    "of_queries_cifar": lambda: of_queries("queries_cifar_fs"),
    "tuned_mini": lambda: tuned(TUNED_MINI, UNBALANCED_MINI, "dirichlet", PLUS_UNBALANCED),
    "tuned_cifar": lambda: tuned(TUNED_CIFAR, UNBALANCED_CIFAR, "dirichlet", PLUS_UNBALANCED),
    "tuned_balanced_mini": lambda: tuned(
        TUNED_BALANCED_MINI, UNBALANCED_MINI + MINI, "balanced", PLUS_BALANCED
    ),
    "tuned_balanced_cifar": lambda: tuned(
        TUNED_BALANCED_CIFAR, UNBALANCED_CIFAR + CIFAR, "balanced", PLUS_BALANCED
    ),
    "shares_mini": lambda: shares("shares_mini_imagenet"),
    "shipped_head": shipped_head,
    "mirrored": mirrored,
    "sure": sure,
    "standard_cifar": standard_cifar,
    "seeds_mini": lambda: seeds([MINI[0], "mini_imagenet_conv4_128_seeds"], SIB),
    "seeds_plus": lambda: seeds([MINI[1], PLUS_SEEDS], SIB_PLUS),
    "seeds_cifar": lambda: seeds(["cifar_fs", "cifar_fs_seeds"], SIB),
    "lwof_cifar": lwof_cifar,
    "methods": methods,
    "projected": projected,
    "generators": generators,
    "calibration": calibration,
    "unbalanced_mini_1": lambda: unbalanced(UNBALANCED_MINI, 1),
    "unbalanced_mini_5": lambda: unbalanced(UNBALANCED_MINI, 5),
    "unbalanced_cifar_1": lambda: unbalanced(UNBALANCED_CIFAR, 1),
    "unbalanced_cifar_5": lambda: unbalanced(UNBALANCED_CIFAR, 5),
}


def made_anew(text: str) -> str:
    """The document with updated tables and the rest unchanged."""
    return PLACE.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n", text)


def differences_standard(files: tuple[str, ...]) -> Iterable[str]:
    """What the inner loop gains, and SIB and SIB+ over untrained methods, task by task."""
    of_task = tasks(files)
    start, *more = SIB
    pairs = [(head, start) for head in more]
    pairs += [(head, rival) for head in (more[-1], *SIB_PLUS) for rival in UNTRAINED]
    for shots in (1, 5):
        for one, other in ((a.format(shots), b.format(shots)) for a, b in pairs):
            if f"{one}/novel" in of_task:
                difference = of_task[f"{one}/novel"] - of_task[f"{other}/novel"]
                yield f"{files[0]} {one} - {other}: {cell(*interval(difference))}"


def differences_seeds() -> Iterable[str]:
    """What SIB+ of each seed gains over untrained methods, task by task."""
    of_task = tasks((*MINI, PLUS_SEEDS))
    for shots in (1, 5):
        for head in SIB_PLUS:
            for seed in ("", "_seed1", "_seed2"):
                for rival in UNTRAINED:
                    one, other = head.format(shots) + seed, rival.format(shots)
                    gain = of_task[f"{one}/novel"] - of_task[f"{other}/novel"]
                    yield f"{PLUS_SEEDS} {one} - {other}: {cell(*interval(gain))}"


def differences_lwof(files: tuple[str, ...]) -> Iterable[str]:
    """What the inner loop gains without forgetting, and what the offset gives."""
    of_task = tasks(files)
    for head in sorted({key.split("/")[0] for key in of_task}):
        start = head[:-1] + "0"
        for measure in ("novel", "base", "both", "both_offset"):
            if head != start:
                gain = of_task[f"{head}/{measure}"] - of_task[f"{start}/{measure}"]
                yield f"{files[0]} {head} - T0, {measure}: {cell(*interval(gain))}"
        gain = of_task[f"{head}/both_offset"] - of_task[f"{head}/both"]
        yield f"{files[0]} {head}, what the offset gives: {cell(*interval(gain))}"


def differences_unbalanced(names: tuple[str, ...]) -> Iterable[str]:
    """What heads that learned from unbalanced episodes gain over all others, on both kinds."""
    of_task = tasks(names)
    learned = re.compile(r"(sib\w*_unbalanced)(_5w\ds_\w+)/novel")
    for key, found in of_task.items():
        if match := learned.fullmatch(key):
            for other, of_other in of_task.items():
                if other.endswith(f"{match[2]}/novel") and other != key:
                    gain = cell(*interval(found - of_other))
                    yield f"{names[0]} {key} - {other}: {gain}"


def keep(run: Path, name: str) -> None:
    """Copies the results of a finished run that the tables need."""
    shutil.copy(run / "results.json", HERE / f"{name}.json")
    with np.load(run / "tasks.npz") as arrays:
        wanted = {
            key.replace("/test/", "/"): arrays[key]
            for key in arrays.files
            if re.search(r"/test/(novel|base|both|both_offset)$", key)
        }
    np.savez_compressed(HERE / f"{name}.tasks.npz", **wanted)


def main() -> int:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="only say which tables differ")
    parser.add_argument("--differences", action="store_true", help="print them task by task")
    parser.add_argument("--keep", nargs=2, metavar=("RUN", "NAME"), help="take over a finished run")
    chosen = parser.parse_args()
    if chosen.keep:
        if not (Path(chosen.keep[0]) / "results.json").exists():
            parser.error(f"{chosen.keep[0]} holds no results.json: no run has ended there")
        keep(Path(chosen.keep[0]), chosen.keep[1])
        return 0
    if chosen.differences:
        for files in (MINI, CIFAR):
            print(*differences_standard(files), sep="\n")
        print(*differences_lwof(MINI_LWOF), sep="\n")
        print(*differences_seeds(), sep="\n")
        for names in (UNBALANCED_MINI, UNBALANCED_CIFAR):
            print(*differences_unbalanced(names), sep="\n")
        return 0
    stale = False
    for document in DOCUMENTS:
        text = document.read_text()
        anew = made_anew(text)
        if anew != text:
            stale = True
            print(f"{document.name}: tables differ from what the files say")
            if not chosen.check:
                document.write_text(anew)
    return int(stale and chosen.check)


if __name__ == "__main__":
    sys.exit(main())
