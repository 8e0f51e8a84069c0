"""Measures others' few-shot methods: answers requests on standard input, one JSON object a line.

`methods.py` starts it. It needs torch, and easyfsl or the authors' code, whichever is asked for.
Their classes are used as they are, with the identity as backbone. Tasks are drawn here.
"""

import functools
import importlib
import importlib.util
import json
import sys
import types
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import timing
import torch

WAYS, QUERIES = 5, 15

Tasks = Callable[[int], tuple[torch.Tensor, torch.Tensor]]  # number -> support, query [b, .., d]
Run = Callable[[int], float]  # does that many tasks and returns their mean accuracy


def easyfsl(request: dict[str, Any], draw: Tasks) -> Run:
    """One task at a time: its classes take no more."""
    spec = importlib.util.find_spec("easyfsl")
    if spec is None:
        sys.exit("easyfsl is not installed: pip install easyfsl")
    # Its backbones need torchvision, but its methods do not.
    _package("easyfsl.methods", f"{(spec.submodule_search_locations or [''])[0]}/methods")
    module = importlib.import_module(f"easyfsl.methods.{request['module']}")
    name, options = request["name"], request["options"]
    method = getattr(module, name)(feature_normalization=2, **options)  # to unit length, as in ours
    support_labels = torch.arange(WAYS).repeat_interleave(request["shots"])
    query_labels = torch.arange(WAYS).repeat_interleave(QUERIES)

    def run(tasks: int) -> float:
        right = 0.0
        for _ in range(tasks):
            (support,), (query,) = draw(1)
            with torch.no_grad():
                method.process_support_set(support, support_labels)
                scores = method(query)
            right += (scores.argmax(1) == query_labels).float().mean().item()
        return right / tasks

    return run


def realistic(request: dict[str, Any], draw: Tasks) -> Run:
    """Batches of tasks, by the evaluation in oveilleux/Realistic_Transductive_Few_Shot."""
    setattr(np, "float", float)  # noqa: B010 - the code was written for older versions
    _package("src", f"{request['checkout']}/src")
    for part in ("methods", "models"):
        _package(f"src.{part}", f"{request['checkout']}/src/{part}")
    module = importlib.import_module(f"src.methods.{request['module']}")
    silent = types.SimpleNamespace(info=lambda *_: None, del_logger=lambda: None)
    vars(module).update(Logger=lambda *_: silent, tqdm=lambda iterable, **_: iterable)
    shots, batch = request["shots"], request["batch"]
    settings = types.SimpleNamespace(
        batch_size=batch,
        n_ways=WAYS,
        num_NN=1,
        norm_type="CL2N",
        arch="resnet18",
        dataset="mini",
        balanced="balanced",
        shots=[1, 5, 10, 20],
        n_query=QUERIES,
        **request["options"],
    )
    support_labels = torch.arange(WAYS).repeat_interleave(shots).repeat(batch, 1)[..., None]
    query_labels = torch.arange(WAYS).repeat_interleave(QUERIES).repeat(batch, 1)[..., None]

    def run(tasks: int) -> float:
        found = []
        for _ in range(-(-tasks // batch)):
            support, query = draw(batch)
            method = getattr(module, request["name"])(
                _Identity(), torch.device("cpu"), None, settings
            )
            task = {
                "x_s": support,
                "x_q": query,
                "y_s": support_labels,
                "y_q": query_labels,
                "train_mean": torch.zeros(support.shape[-1]),
            }
            logs = method.run_task(task, shots)
            found.append(np.asarray(logs["acc"])[..., -1].mean())
        return float(np.mean(found))

    return run


def _package(name: str, path: str) -> None:
    """A package without its __init__.py, which would import more than is needed."""
    package = types.ModuleType(name)
    package.__path__ = [path]
    sys.modules[name] = package


class _Identity:
    """A backbone that returns the features it is given."""

    def eval(self) -> None:
        """There is nothing to switch."""

    def train(self) -> None:
        """There is nothing to switch."""

    def __call__(self, x: torch.Tensor, feature: bool = True) -> tuple[torch.Tensor, None]:
        return x, None


_OF = {"easyfsl": easyfsl, "realistic": realistic}


@functools.lru_cache(maxsize=1)
def _table(path: str) -> torch.Tensor:
    return torch.from_numpy(np.load(path))


def _drawing(request: dict[str, Any]) -> Tasks:
    """Draws tasks from features [classes, images, d]."""
    table, shots = _table(request["features"]), request["shots"]
    random = np.random.default_rng(0)

    def draw(number: int) -> tuple[torch.Tensor, torch.Tensor]:
        tasks = []
        for _ in range(number):
            classes = random.choice(len(table), WAYS, replace=False)
            images = [random.choice(table.shape[1], shots + QUERIES, False) for _ in classes]
            tasks.append(
                table[torch.from_numpy(classes)[:, None], torch.from_numpy(np.stack(images))]
            )
        drawn = torch.stack(tasks)
        return drawn[:, :, :shots].flatten(1, 2), drawn[:, :, shots:].flatten(1, 2)

    return draw


@functools.lru_cache(maxsize=1)
def _prepare(settings: str) -> Run:
    """The work of a request, already warm; the last one is kept for the next round."""
    request = json.loads(settings)
    run = _OF[request["of"]](request, _drawing(request))
    run(1)
    return run


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """The seconds that `units` tasks take, and their accuracy in percent."""
    if request.pop("work") == "about":
        return {"torch": torch.__version__}
    torch.set_num_threads(request.pop("threads"))
    units = request.pop("units")
    run, accuracy = _prepare(json.dumps(request)), []
    took = timing.seconds(lambda: accuracy.append(run(units)))
    return {"seconds": took, "accuracy": 100 * accuracy[0]}


def main() -> None:
    """Answers until standard input ends."""
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
