"""What `sib_jax.predict --sure` sets aside: mistakes, right answers, and images of no class.

python -m sib_jax.features --backbone=mini_imagenet-conv4_128 --data_dir=DIR --out=FILE.npz
python results/sure.py FILE.npz

Each task has five test classes with 15 queries of each, and five queries of each of five further
classes without examples. The head is the one that ships with the backbone. Writes
sure_mini_imagenet.json to the folder of this file.
"""

import argparse
import json
from pathlib import Path

import numpy as np

import sib_jax
from sib_jax.experiment.predictor import Predictor

BACKBONE = "mini_imagenet-conv4_128"
WAYS, QUERIES, OTHERS = 5, 15, 5
SURE = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9)


def main() -> None:
    """Evaluates the head and writes the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("features", help="mini-ImageNet's, by the shipped Conv4-128")
    parser.add_argument("--tasks", type=int, default=400, help="to average over")
    options = parser.parse_args()
    with np.load(options.features) as stored:
        test = stored["split"] == "test"
        features, labels = stored["features"][test], stored["labels"][test]
    classes = [features[labels == label] for label in np.unique(labels)]
    predictor = sib_jax.load(backbone=BACKBONE, ways=WAYS)
    rows = []
    for shots in (1, 5):
        tasks = [_task(predictor, classes, shots, seed) for seed in range(options.tasks)]
        right, wrong, other = (np.concatenate(of) for of in zip(*tasks, strict=True))
        for sure in SURE:
            kept = [np.sum(of >= sure) for of in (right, wrong, other)]
            row = {"ways": WAYS, "shots": shots, "tasks": options.tasks, "sure": sure}
            for name, of in (("right", right), ("wrong", wrong), ("of_no_class", other)):
                row[f"{name}_set_aside"] = 100 * float(np.mean(of < sure))
            row["accuracy_of_the_rest"] = 100 * float(kept[0] / (kept[0] + kept[1]))
            rows.append(row)
            print(row, flush=True)
    path = Path(__file__).with_name("sure_mini_imagenet.json")
    path.write_text(json.dumps(rows, indent=1) + "\n")


def _task(
    predictor: Predictor, classes: list[np.ndarray], shots: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities of the answers: where right, where wrong, and for queries of no class."""
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(classes))[: 2 * WAYS]
    known = np.stack([_some(classes[c], shots + QUERIES, rng) for c in chosen[:WAYS]])
    others = np.stack([_some(classes[c], OTHERS, rng) for c in chosen[WAYS:]])
    support, query = known[:, :shots], known[:, shots:]
    d = known.shape[2]
    probabilities = predictor(
        support.reshape(-1, d),
        np.repeat(np.arange(WAYS), shots),
        np.concatenate([query.reshape(-1, d), others.reshape(-1, d)]),
    )
    sure, found = probabilities.max(axis=1), probabilities.argmax(axis=1)
    of_known = sure[: WAYS * QUERIES]
    right = found[: WAYS * QUERIES] == np.repeat(np.arange(WAYS), QUERIES)
    return of_known[right], of_known[~right], sure[WAYS * QUERIES :]


def _some(examples: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    return examples[rng.choice(len(examples), count, replace=False)]


if __name__ == "__main__":
    main()
