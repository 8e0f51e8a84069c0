"""Measures the official PyTorch code: answers requests on standard input, one JSON object a line.

`timing.Official` starts it; it needs torch and numpy. The networks are the official ones, imported
from the checkout. The loops around them do what the official loops do, with frozen features or with
images in memory, but they read no files and show no progress bar.
"""

import functools
import json
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import timing
import torch
from torch.nn import functional

_LR = 1e-3  # of both the outer and the inner loop
_MEAN, _STD = (0.47, 0.45, 0.41), (0.28, 0.27, 0.28)

Run = Callable[[int], None]  # does that many units of work


def load(request: dict[str, Any]) -> Run:
    """Makes only the table of features, so that later measurements do not count it."""
    _table(request["classes"] * request["images"], request["features"])
    return lambda units: None


def train(request: dict[str, Any]) -> Run:
    """Meta-training of the head on a table of features; a unit is an episode."""
    head, draw = _head(request), _drawing(request)
    features = _table(request["classes"] * request["images"], request["features"])
    optimizer = torch.optim.SGD(
        head.parameters(), _LR, momentum=0.9, weight_decay=5e-4, nesterov=True
    )

    def run(episodes: int) -> None:
        for _ in range(episodes // request["batch"]):
            support, support_labels, query, query_labels = draw()
            optimizer.zero_grad()
            scores = head(features[support], support_labels, features[query], _LR).flatten(0, 1)
            labels = query_labels.flatten()
            loss = functional.cross_entropy(scores, labels)
            loss.backward()
            optimizer.step()
            _share_correct(scores, labels)
            loss.item()

    return run


def evaluate(request: dict[str, Any]) -> Run:
    """Evaluation of the head on a table of features; a unit is an episode.

    Gradients are recorded, as in the official code: its inner loop asks for second derivatives.
    """
    head, draw = _head(request), _drawing(request)
    features = _table(request["classes"] * request["images"], request["features"])

    def run(episodes: int) -> None:
        for _ in range(episodes // request["batch"]):
            support, support_labels, query, query_labels = draw()
            scores = head(features[support], support_labels, features[query], _LR).flatten(0, 1)
            _share_correct(scores, query_labels.flatten())

    return run


def images(request: dict[str, Any]) -> Run:
    """Evaluation from uint8 images; the backbone runs for every episode, and that is a unit."""
    head, draw, network = _head(request), _drawing(request), _conv4().eval()
    shape = (request["classes"] * request["images"], 84, 84, 3)
    stored = torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, np.uint8))

    def features(rows: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            central = stored[rows[0], 2:-2, 2:-2].permute(0, 3, 1, 2).float() / 255
            central = (central - torch.tensor(_MEAN).view(3, 1, 1)) / torch.tensor(_STD).view(
                3, 1, 1
            )
            return network(central.contiguous())[None]

    def run(episodes: int) -> None:
        for _ in range(episodes):
            support, support_labels, query, query_labels = draw()
            scores = head(features(support), support_labels, features(query), _LR).flatten(0, 1)
            _share_correct(scores, query_labels.flatten())

    return run


def forward(request: dict[str, Any]) -> Run:
    """Conv4 in evaluation mode, channels last; a unit is an image."""
    network = _channels_last(_conv4()).eval()
    batch = _images(request["batch"])

    def run(images: int) -> None:
        with torch.no_grad():
            for _ in range(images // len(batch)):
                network.conv_blocks(batch).flatten(1)

    return run


def forward_backward(request: dict[str, Any]) -> Run:
    """Conv4 in training mode and its gradient, channels last; a unit is an image."""
    network = _channels_last(_conv4()).train()
    batch = _images(request["batch"])
    weights = torch.randn(request["batch"], 1600)

    def run(images: int) -> None:
        for _ in range(images // len(batch)):
            network.zero_grad(set_to_none=True)
            # Its own forward ends in a view, which this layout does not allow.
            (network.conv_blocks(batch).flatten(1) * weights).sum().backward()

    return run


_WORK = {f.__name__: f for f in (load, train, evaluate, images, forward, forward_backward)}


def _head(request: dict[str, Any]) -> torch.nn.Module:
    from sib import ClassifierSIB

    return ClassifierSIB(request["ways"], request["features"], request["steps"]).train()


def _conv4() -> torch.nn.Module:
    from networks import ConvNet_4_64

    return ConvNet_4_64()


def _channels_last(network: torch.nn.Module) -> torch.nn.Module:
    return network.to(memory_format=torch.channels_last)


def _images(batch: int) -> torch.Tensor:
    return torch.randn(batch, 3, 80, 80).contiguous(memory_format=torch.channels_last)


@functools.lru_cache(maxsize=1)
def _table(rows: int, features: int) -> torch.Tensor:
    return torch.randn(rows, features)


def _drawing(request: dict[str, Any]) -> Callable[[], tuple[torch.Tensor, ...]]:
    """Draws a batch of episodes as the official sampler does, with rows in place of file names.

    Returns:
      A function that gives rows and labels of the support sets, [batch, m], and of the queries.
    """
    ways, shots, queries = request["ways"], request["shots"], request["queries"]
    classes, size = request["classes"], request["images"]
    random = np.random.RandomState(0)  # numpy.random.choice uses one of these
    labels = (
        torch.arange(ways).repeat_interleave(shots),
        torch.arange(ways).repeat_interleave(queries),
    )

    def episode() -> tuple[torch.Tensor, ...]:
        chosen = random.choice(classes, ways, replace=False)
        rows = np.stack(
            [c * size + random.choice(size, shots + queries, replace=False) for c in chosen]
        )
        parts = rows[:, :shots].reshape(-1), rows[:, shots:].reshape(-1)
        orders = [torch.randperm(len(part)) for part in parts]
        (support, query) = (
            torch.from_numpy(p)[order] for p, order in zip(parts, orders, strict=True)
        )
        return support, labels[0][orders[0]], query, labels[1][orders[1]]

    def batch() -> tuple[torch.Tensor, ...]:
        drawn = [episode() for _ in range(request["batch"])]
        return tuple(torch.stack(part) for part in zip(*drawn, strict=True))

    return batch


def _share_correct(scores: torch.Tensor, labels: torch.Tensor) -> float:
    return (scores.detach().argmax(1) == labels).float().mean().item()


@functools.lru_cache(maxsize=1)
def _prepare(work: str, settings: str) -> Run:
    """The work of a request, already warm; the last one is kept for the next round."""
    request = json.loads(settings)
    run = _WORK[work](request)
    for _ in range(2):
        run(request.get("batch", 1))
    return run


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """The seconds that `units` units of work take, and by how many bytes peak memory grows."""
    work = request.pop("work")
    if work == "about":
        return {"torch": torch.__version__}
    torch.set_num_threads(request.pop("threads", timing.cores()))
    units = request.pop("units")
    before = timing.peak_memory()
    run = _prepare(work, json.dumps(request))
    took = timing.seconds(lambda: run(units))
    return {"seconds": took, "memory": timing.peak_memory() - before}


def main(checkout: str) -> None:
    """Answers until standard input ends."""
    sys.path.append(checkout)
    warnings.simplefilter("ignore")  # the official code uses deprecated signatures
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
