"""The two forms of the inner loop for a point mass, and where the one in inner products pays.

python benchmarks/forms.py [--json=FILE] [--toy]

For each combination of T, queries, ways and d, meta-training and evaluation run with both
`inner_loop.general` (one pull-back a step) and `inner_products` (the n-space form), whichever of
them `inner_products.pays` would choose. A ratio above 1 means that the form in inner products is
the faster one.
"""

import itertools
import sys
from collections.abc import Sequence
from typing import Any
from unittest import mock

import jax
import ours
import timing
from ours import Setting

from sib_jax.sib import inner_products

FORMS = {"general": False, "products": True}


def main(argv: Sequence[str]) -> None:
    """Measures the two forms in alternation, at each setting."""
    flags = timing.parser(__doc__)
    flags.add_argument("--steps", type=timing.numbers, default=(1, 3, 10))
    flags.add_argument("--queries", type=timing.numbers, default=(15, 50, 150), help="of a class")
    flags.add_argument("--ways", type=timing.numbers, default=(5, 20))
    flags.add_argument("--features", type=timing.numbers, default=(64, 640))
    flags.add_argument("--batch", type=int, default=8)
    flags.add_argument("--seconds", type=float, default=0.5, help="of one measurement, roughly")
    flags.add_argument(
        "--rounds", type=int, default=2, help="alternating rounds; medians are shown"
    )
    flags.add_argument("--toy", action="store_true", help="a rehearsal, at only two settings")
    args = flags.parse_args(argv)
    about = timing.describe()
    axes = itertools.product(args.features, args.ways, args.queries, args.steps)
    rows = []
    for features, ways, queries, steps in itertools.islice(axes, 2 if args.toy else None):
        setting = Setting(features, steps, ways, 1, queries, args.batch, images=queries + 1)
        for work in ours.WORK:
            rows.append(_compare(work, setting, args))
            print(rows[-1], flush=True)
    timing.report(rows, about, args.json)


def _compare(work: str, setting: Setting, args: Any) -> dict[str, Any]:
    found = dict.fromkeys(FORMS, 0.0)
    for _ in range(args.rounds):
        for form in FORMS:
            found[form] = max(found[form], _episodes_a_second(work, setting, form, args.seconds))
    queries = setting.ways * setting.queries
    pays = inner_products.pays(queries, setting.ways, setting.steps)
    return {
        "work": work,
        **{name: getattr(setting, name) for name in ("features", "ways", "queries", "steps")},
        **found,
        "ratio": found["products"] / found["general"],
        "chosen": "products" if pays else "general",
    }


def _episodes_a_second(work: str, setting: Setting, form: str, seconds: float) -> float:
    config, table = ours.config_of(setting), ours.table(setting)
    jax.clear_caches()  # or the compiled evaluation of the other form would be used
    with mock.patch.object(inner_products, "pays", return_value=FORMS[form]):
        took = timing.fastest(ours.WORK[work](config, table, setting.batch), 2)
        episodes = setting.batch * max(1, round(seconds / took))
        return episodes / timing.fastest(ours.WORK[work](config, table, episodes), 2)


if __name__ == "__main__":
    main(sys.argv[1:])
