"""MAML in PyTorch: answers requests on standard input, one JSON object a line.

`maml.PyTorch` starts it; it needs torch. The network is that of `sib_jax.methods.maml`.
"""

import functools
import json
import sys
from typing import Any

import timing
import torch
from torch.nn import functional

_WAYS, _QUERIES, _SIZE = 5, 15, 32
_FILTERS, _BLOCKS, _STEPS, _STEP_SIZE = 32, 4, 5, 0.01

Parameters = list[torch.Tensor]


def _network() -> Parameters:
    found, channels = [], 3
    for _ in range(_BLOCKS):
        kernel = 0.1 * torch.randn(_FILTERS, channels, 3, 3)
        found += [kernel, torch.ones(_FILTERS), torch.zeros(_FILTERS)]
        channels = _FILTERS
    cells = (_SIZE // 2**_BLOCKS) ** 2
    found += [0.1 * torch.randn(_WAYS, cells * _FILTERS), torch.zeros(_WAYS)]
    return [parameter.requires_grad_() for parameter in found]


def _scores(parameters: Parameters, images: torch.Tensor) -> torch.Tensor:
    for i in range(_BLOCKS):
        kernel, scale, bias = parameters[3 * i : 3 * i + 3]
        images = functional.conv2d(images, kernel, padding=1)
        images = functional.batch_norm(images, None, None, scale, bias, training=True, eps=1e-3)
        images = functional.relu(functional.max_pool2d(images, 2))
    return functional.linear(images.flatten(1), parameters[-2], parameters[-1])


def _part(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.rand(_WAYS * count, 3, _SIZE, _SIZE)
    return images, torch.arange(_WAYS).repeat_interleave(count)


@functools.lru_cache(maxsize=1)
def _prepare(order: int, shots: int) -> Any:
    """A function that takes the gradient of some episodes, already warm."""
    initial, (support, labels), (query, query_labels) = _network(), _part(shots), _part(_QUERIES)

    def run(episodes: int) -> None:
        for _ in range(episodes):
            adapted = initial
            for _ in range(_STEPS):
                loss = functional.cross_entropy(_scores(adapted, support), labels)
                gradients = torch.autograd.grad(loss, adapted, create_graph=order == 2)
                steps = zip(adapted, gradients, strict=True)
                adapted = [value - _STEP_SIZE * gradient for value, gradient in steps]
            loss = functional.cross_entropy(_scores(adapted, query), query_labels)
            torch.autograd.grad(loss, initial)

    run(2)
    return run


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """The seconds that `units` episodes take."""
    if request.pop("work") == "about":
        return {"torch": torch.__version__}
    torch.set_num_threads(request.pop("threads", timing.cores()))
    units = request.pop("units")
    run = _prepare(**request)
    return {"seconds": timing.seconds(lambda: run(units))}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)
