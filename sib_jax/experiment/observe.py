"""What a report shows beyond the results: confusions, inner loops, one episode in pictures."""

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sib_jax.data.split import DataSet, Split
from sib_jax.experiment.evaluate import STREAMS, keys_of_task
from sib_jax.experiment.inputs import Inputs
from sib_jax.experiment.settings import Experiment, Head
from sib_jax.methods.method import Method
from sib_jax.report import observed
from sib_jax.report.observed import Observed
from sib_jax.report.projection import plane
from sib_jax.report.results import Row
from sib_jax.runtime import programs
from sib_jax.runtime.seeds import key
from sib_jax.sib.classifier import normalize
from sib_jax.sib.trajectory import Trajectory
from sib_jax.tasks.episode import Episode
from sib_jax.tasks.setting import Setting, Sources, Task, single

TRACED = 200
"""Number of tasks whose inner loop is followed."""

_BATCH = 20  # of them at once
_SHOWN = 10  # classes of the episode in pictures ...
_EXAMPLES, _QUERIES = 3, 15  # ... and images of each


class Drawn(NamedTuple):
    """Tasks as rows of the tables that they are drawn from; with or without an axis of tasks.

    Attributes:
      support: int [..., m], rows of the novel classes' table.
      support_labels: int [..., m], 0..k-1.
      query: int [..., n], rows of the novel classes' table, or of the base classes'.
      query_labels: int [..., n]; k and more are base classes.
      base: int [..., b], the base classes present; None where there are none.
    """

    support: np.ndarray
    support_labels: np.ndarray
    query: np.ndarray
    query_labels: np.ndarray
    base: np.ndarray | None = None


def observe(
    experiment: Experiment,
    data: DataSet,
    of: Mapping[str, Inputs],
    params: Mapping[str, Any],
    predicted: Mapping[str, np.ndarray],
    rows: Sequence[Row],
) -> Observed:
    """Looks again at the tasks of a finished run: those of test, or else of validation.

    Only one process does this, on its first device.

    Args:
      experiment: the run.
      data: its data set.
      of: what methods read, by `Method.reads`.
      params: of each head.
      predicted: for each head, the columns of the answers to its test tasks, int [tasks, n].
      rows: of results.json.
    """
    split = split_shown(experiment.evaluation.tasks)
    seeds = key(experiment.evaluation.seed, STREAMS[split])
    part, shown = data.split(split), _shown_head(experiment.heads, rows)
    found = Observed({"split": split, "results": observed.results_of(rows)}, {}, {}, {})
    has_base = any(head.setting.has_base for head in experiment.heads)
    found.about["classes"] = [*part.class_names, *(data.train.class_names if has_base else ())]
    known: dict[tuple[str, Task], Drawn] = {}
    for head in experiment.heads:
        programs.make_room()
        # Arrays of this process: those of a job may be spread over several.
        sources = jax.tree.map(np.asarray, of[head.method.reads].evaluation[split])
        answers, parameters = predicted[head.name], params[head.name]
        size = head.setting.name, head.setting.task
        if size not in known:
            known[size] = draw(head.setting, sources, seeds, len(answers))
        drawn = known[size]
        found.confused[head.name] = confused(drawn, part.labels, answers)
        if head.method.trajectory is not None:
            few = jax.tree.map(lambda x: x[:TRACED], drawn)
            found.traced[head.name] = traced(head.method, parameters, few, sources, seeds)
        if head is shown:
            task = _typical(found.traced.get(head.name), answers, drawn.query_labels)
            one = jax.tree.map(lambda x, i=task: x[i], drawn)
            steps = None
            if head.method.trajectory is not None:
                follow, (_, method_key) = jax.jit(head.method.trajectory), keys_of_task(seeds, task)
                steps = follow(parameters, _gather(one, sources), method_key)
            found.episode.update(episode(one, sources, part, answers[task], steps))
            names = [part.class_names[c] for c in _classes(one, part.labels)]
            found.about["episode"] = {"head": head.name, "task": task, "classes": names}
    return found


def split_shown(splits: Iterable[str]) -> str:
    """The split that a report looks at again: test, if it is evaluated."""
    return max(splits, key=("val", "test").index)


def draw(setting: Setting, sources: Sources, key: jax.Array, tasks: int) -> Drawn:
    """The tasks of an evaluation.

    Args:
      setting: how episodes are drawn.
      sources: what they are drawn from.
      key: that of the evaluation.
      tasks: how many.
    """
    rows = jax.tree.map(jnp.asarray, Sources(*(_numbered(table) for table in sources)))
    return Drawn(*jax.tree.map(np.asarray, _draw(setting, rows, key, jnp.arange(tasks))))


@functools.partial(jax.jit, static_argnums=0)
def _draw(setting: Setting, rows: Sources, key: jax.Array, indices: jax.Array) -> Episode:
    def one(index: jax.Array) -> Episode:
        return setting.sample_evaluation(keys_of_task(key, index)[0], rows)

    return jax.vmap(one)(indices)


def confused(drawn: Drawn, labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Which class was taken for which.

    Args:
      drawn: of `draw`.
      labels: class of each row of the novel table, int [rows].
      predicted: columns of the answers, int [tasks, n].

    Returns:
      int [pairs, 4]: a class; the class that it was taken for (itself where the answer was right);
      how many of its queries were; and how many could have been, which are those in tasks with the
      second class. Base classes come after the others; a pair with one of them for which no query
      was taken is included only if both are in `observed.classes_shown`.
    """
    ways, count = _ways(drawn), int(labels.max()) + 1
    present = _classes(drawn, labels)

    def of_column(column: np.ndarray) -> np.ndarray:
        novel = np.take_along_axis(present, np.minimum(column, ways - 1), axis=1)
        return np.where(column < ways, novel, count + column - ways)

    true, taken = of_column(drawn.query_labels), of_column(predicted)
    classes = int(max(true.max(), taken.max(), present.max())) + 1
    answered = np.unique(true * classes + taken, return_counts=True)
    together = np.unique(true[:, :, None] * classes + present[:, None], return_counts=True)
    numbers, of_numbers = np.unique(true, return_counts=True)

    def rows(pairs: np.ndarray) -> np.ndarray:
        one, other = np.divmod(pairs, classes)
        met = _looked_up(pairs, *together)
        chances = np.where(other < count, met, _looked_up(one, numbers, of_numbers))
        return np.stack([one, other, _looked_up(pairs, *answered), chances], axis=1)

    # Base classes are in every task, so millions of pairs with one may never have been answered:
    # those of the classes that a picture shows are enough.
    shown = observed.classes_shown(rows(answered[0]), classes)
    base, given = shown[shown >= count], np.intersect1d(shown, numbers)
    beside = given[:, None] * classes + base
    return rows(np.unique(np.concatenate([answered[0], together[0], beside.ravel()])))


def traced(
    method: Method, params: Any, drawn: Drawn, sources: Sources, key: jax.Array
) -> dict[str, np.ndarray]:
    """What the inner loop does on some tasks.

    Args:
      method: one with a trajectory.
      params: its parameters.
      drawn: of `draw`.
      sources: what the tasks are drawn from.
      key: that of the evaluation.

    Returns:
      By step: "accuracy" (0 to 1), "entropy" of the answers, "loss" (minus the log-likelihood) and
      "negative_elbo", all [tasks, T + 1], the last three in nats a query; "cosine" [tasks, T].
    """
    tasks, found = len(drawn.query), []
    batch = min(_BATCH, tasks)
    for start in range(0, tasks, batch):
        # The last batch is padded, so that one compiled program serves all.
        indices = np.minimum(start + np.arange(batch), tasks - 1)
        some = jax.tree.map(lambda x, i=indices: x[i], drawn)
        followed = _follow(method, params, key, indices, _gather(some, sources))
        found.append(jax.tree.map(np.asarray, followed))
    return {name: np.concatenate([f[name] for f in found])[:tasks] for name in found[0]}


@functools.partial(jax.jit, static_argnums=0)
def _follow(
    method: Method, params: Any, key: jax.Array, indices: jax.Array, episodes: Episode
) -> dict[str, jax.Array]:
    """The inner loops of some tasks, see `traced`."""

    def one(index: jax.Array, episode: Episode) -> dict[str, jax.Array]:
        assert method.trajectory is not None
        steps = method.trajectory(params, episode, keys_of_task(key, index)[1])
        log_p = jax.nn.log_softmax(steps.logits)
        labels = episode.true_labels
        right = jnp.take_along_axis(log_p, labels[None, :, None], axis=2)[..., 0]
        loss = -jnp.mean(right, axis=1)
        return {
            "accuracy": jnp.mean(jnp.argmax(log_p, axis=2) == labels[None], axis=1),
            "entropy": -jnp.mean(jnp.sum(jnp.exp(log_p) * log_p, axis=2), axis=1),
            "loss": loss,
            "negative_elbo": loss + steps.kl / len(labels),
            "cosine": steps.cosine,
        }

    return jax.vmap(one)(indices, episodes)


def episode(
    drawn: Drawn, sources: Sources, part: Any, answer: np.ndarray, steps: Trajectory | None
) -> dict[str, np.ndarray]:
    """One task in pictures, see `Observed`; queries of base classes are left out.

    Args:
      drawn: of `draw`, one of its tasks.
      sources: what it is drawn from.
      part: the split.
      answer: columns, int [n].
      steps: of its inner loop.
    """
    novel = drawn.query_labels < _ways(drawn)
    rows, labels = drawn.query[novel], drawn.query_labels[novel]
    found = {"labels": labels, "after": answer[novel], "support_labels": drawn.support_labels}
    if steps is not None:
        found["before"] = np.asarray(steps.logits[0]).argmax(axis=1)[novel]
    parts = {"support": (drawn.support, drawn.support_labels), "query": (rows, labels)}
    if isinstance(part, Split):
        for name, (images, of) in parts.items():
            chosen = _first(of, _EXAMPLES if name == "support" else _QUERIES)
            found[f"{name}_shown"] = chosen
            found[f"{name}_images"] = np.asarray(part.images[images[chosen]])
    table = np.asarray(sources.novel.features)
    if table.ndim == 2:
        points = {name: _unit(table[index]) for name, (index, _) in parts.items()}
        if steps is not None:
            points["path"] = _unit(steps.weights)
        found |= plane(points)
    return found


def _ways(drawn: Drawn) -> int:
    return int(drawn.support_labels.max()) + 1


def _classes(drawn: Drawn, labels: np.ndarray) -> np.ndarray:
    """The classes of a task, or of each; [..., k]."""
    is_of = drawn.support_labels[..., None, :] == np.arange(_ways(drawn))[:, None]
    return labels[np.take_along_axis(drawn.support, is_of.argmax(axis=-1), axis=-1)]


def _first(labels: np.ndarray, count: int) -> np.ndarray:
    """The first `count` places of each of the first classes."""
    places = [np.flatnonzero(labels == c)[:count] for c in range(_SHOWN)]
    return np.concatenate(places)


def _shown_head(heads: Sequence[Head], rows: Sequence[Row]) -> Head:
    """The best on validation, or else on test, of those that have an inner loop, if any has."""
    accuracy = {row["head"]: row["novel"]["mean"] for row in rows if row["split"] == "test"}
    accuracy |= {row["head"]: row["novel"]["mean"] for row in rows if row["split"] == "val"}
    followed = [head for head in heads if head.method.trajectory is not None]
    return max(followed or heads, key=lambda head: accuracy[head.name])


def _typical(
    found: Mapping[str, np.ndarray] | None, answers: np.ndarray, labels: np.ndarray
) -> int:
    """The first of the tasks whose accuracies are nearest to the mean, before and after."""
    if found is not None:
        accuracy = found["accuracy"][:, [0, -1]]
    else:
        accuracy = np.mean(answers == labels, axis=1)[:, None]
    return int(np.abs(accuracy - accuracy.mean(axis=0)[None]).sum(axis=1).argmin())


def _gather(drawn: Drawn, sources: Sources) -> Episode:
    """Features in place of rows; with or without a leading axis of tasks."""
    novel = np.asarray(sources.novel.features)
    query = novel[np.minimum(drawn.query, len(novel) - 1)]
    if sources.base is not None and drawn.base is not None:
        base = np.asarray(sources.base.features)
        of_base = drawn.query_labels >= _ways(drawn)
        query = np.where(of_base[..., None], base[np.where(of_base, drawn.query, 0)], query)
    episode = drawn._replace(support=novel[drawn.support], query=query)
    return single(Episode(*jax.tree.map(jnp.asarray, episode)))


def _numbered(table: Any) -> Any:
    if table is None:
        return None
    return dataclasses.replace(table, features=np.arange(len(table.features)))


def _looked_up(wanted: np.ndarray, names: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The value of each wanted name; 0 for those that are missing."""
    place = np.minimum(np.searchsorted(names, wanted), len(names) - 1)
    return np.where(names[place] == wanted, values[place], 0)


def _unit(features: np.ndarray | jax.Array) -> np.ndarray:
    return np.asarray(normalize(jnp.asarray(features, jnp.float32)))
