"""Test tasks a second from uint8 images, backbone included, against the official loop.

python benchmarks/images.py --official=DIR [--official_python=PYTHON] [--json=FILE]

Random images in the layout of mini-ImageNet's test split (20 classes of 600, 84 x 84), Conv4-64 on
the central 80 x 80, 5-way 1-shot, 15 queries, T = 3. Ours computes the features of the whole split,
with an empty feature cache every time, and evaluates on them. The official loop runs the backbone
again for every episode. In the first row our programs are already compiled; in the second the time
includes compiling them.
"""

import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import ours
import timing
from ours import Setting

from sib_jax.backbones.preprocess import Preprocessing
from sib_jax.backbones.pretrained import Pretrained
from sib_jax.data.split import Split
from sib_jax.experiment import features, settings
from sib_jax.tasks.table import feature_table


def main(argv: Sequence[str]) -> None:
    """Takes the three measurements in alternation."""
    flags = timing.parser(__doc__, official=True)
    flags.add_argument("--tasks", type=int, default=600)
    flags.add_argument(
        "--rounds", type=int, default=3, help="alternating rounds; medians are shown"
    )
    flags.add_argument("--images", type=int, default=600, help="in each of the 20 classes")
    args = flags.parse_args(argv)
    # Compiling is measured, so no programs kept by earlier runs may be found.
    jax.config.update("jax_enable_compilation_cache", False)
    setting = Setting(features=1600, classes=20, images=args.images)
    work = OurWork(setting, args.tasks)
    with timing.Official(args.official, args.official_python) as official:
        about = timing.describe(official)
        request = setting._asdict()
        threads = official.best_threads("images", units=args.tasks // 10, **request)

        def ask() -> float:
            return official.seconds("images", units=args.tasks, threads=threads, **request)

        with_compilation: list[float] = []

        def cold() -> float:
            with_compilation.append(work.seconds(compiled=False))
            return work.seconds(compiled=True)

        row = timing.compare(
            "images_compiled", args.tasks, "tasks", cold, ask, args.rounds, official_threads=threads
        )
    timing.report([row, _included(row, args.tasks, with_compilation)], about, args.json)


def _included(row: dict[str, Any], tasks: int, seconds: list[float]) -> dict[str, Any]:
    """The row in which the time of ours includes compiling."""
    median = statistics.median(seconds)
    rate = tasks / median
    return {
        **{name: row[name] for name in ("unit", "official")},
        "work": "images_compiling",
        "ours": rate,
        "ratio": rate / row["official"],
        "compile_seconds": median - tasks / row["ours"],
    }


class OurWork:
    """From images to the mean accuracy."""

    def __init__(self, setting: Setting, tasks: int):
        """Draws the images and the backbone's weights."""
        count = setting.classes * setting.images
        self._split = Split(
            images=np.random.default_rng(0).integers(0, 256, (count, 84, 84, 3), np.uint8),
            labels=np.repeat(np.arange(setting.classes, dtype=np.int32), setting.images),
            class_names=tuple(map(str, range(setting.classes))),
            fingerprint="random",
        )
        self._config = ours.experiment("official_5w1s", "mini_imagenet")
        backbone = settings.make_backbone(settings.read(self._config).backbone, channels=3)
        self._pretrained = Pretrained(
            backbone,
            backbone.init(jax.random.key(0)),
            Preprocessing(self._config.crop, (0.47, 0.45, 0.41), (0.28, 0.27, 0.28)),
        )
        self._tasks = tasks

    def seconds(self, *, compiled: bool) -> float:
        """How long it takes with an empty feature cache; includes compiling unless `compiled`."""
        if not compiled:
            jax.clear_caches()
        with tempfile.TemporaryDirectory() as directory:
            os.environ["SIB_JAX_CACHE"] = directory
            return timing.seconds(self._run)

    def _run(self) -> None:
        table = feature_table(features.cached(self._pretrained, self._split), self._split.labels)
        ours.evaluation(self._config, table, self._tasks)()


if __name__ == "__main__":
    main(sys.argv[1:])
