"""Measures a method on each task: its accuracy, and how well calibrated its probabilities are."""

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sib_jax.experiment.evaluate import Answers
from sib_jax.tasks import calibration

_FITTED = 500  # tasks that choose a temperature: their logits are all in memory at once ...
_LOGITS, _FEWEST = 50_000_000, 20  # ... so with thousands of base classes fewer tasks are used


class Calibration(NamedTuple):
    """Calibration of all queries among all classes present ("both", without forgetting).

    Attributes:
      nll: [tasks], mean over a task's queries of -log p(right class).
      bins: [BINS, 3], `tasks.calibration.reliability` summed over the tasks.
    """

    nll: np.ndarray
    bins: np.ndarray

    @property
    def ece(self) -> float:
        """Expected calibration error over the queries of all tasks, in percent."""
        return 100 * float(calibration.expected_calibration_error(self.bins))


class Fitted(NamedTuple):
    """What validation tasks chose.

    Attributes:
      temperature: that divides logits.
      offset: `tasks.calibration.novel_offset`; None where there are no base classes.
    """

    temperature: float
    offset: float | None


class Measured(NamedTuple):
    """What was measured on some tasks.

    Attributes:
      accuracy: [tasks, len(setting.measures)], 0 to 1.
      predicted: columns of the answers, int [tasks, n].
      raw: of the logits as they are.
      scaled: of the logits divided by the temperature; None where there is none.
      both_offset: accuracy among all classes with the offset, [tasks], 0 to 1; None without one.
    """

    accuracy: np.ndarray
    predicted: np.ndarray
    raw: Calibration
    scaled: Calibration | None
    both_offset: np.ndarray | None

    def arrays(self, measures: Sequence[str]) -> dict[str, np.ndarray]:
        """Numbers of each task by name; accuracies under those of the setting's measures."""
        found = {name: self.accuracy[:, i] for i, name in enumerate(measures)}
        found |= self.raw._asdict()
        if self.scaled:
            found |= {f"{name}_scaled": x for name, x in self.scaled._asdict().items()}
        if self.both_offset is not None:
            found["both_offset"] = self.both_offset
        return found


def fit(answers: Iterator[Answers], ways: int) -> tuple[Fitted, Iterator[Answers]]:
    """The temperature under which the answers to the first tasks are likeliest, and the offset.

    Args:
      answers: to validation tasks.
      ways: k.

    Returns:
      What was found, and all of the answers, including those already read.
    """
    first: list[Answers] = []
    most = _FITTED
    for some in answers:
        first.append(some)
        most = min(_FITTED, max(_FEWEST, _LOGITS // some.logits[0].size))
        if sum(len(a.labels) for a in first) >= most:
            break
    logits = jnp.concatenate([some.logits for some in first])[:most]
    labels = jnp.concatenate([some.labels for some in first])[:most]
    offset = None
    if logits.shape[-1] > ways:
        rows = np.asarray(logits).reshape(-1, logits.shape[-1])
        offset = calibration.novel_offset(rows, np.asarray(labels).ravel(), ways)
    fitted = Fitted(float(_temperature(logits, labels)), offset)
    return fitted, itertools.chain(first, answers)


def measure(answers: Iterable[Answers], ways: int, fitted: Fitted | None = None) -> Measured:
    """Measures what was answered.

    Args:
      answers: to all tasks, batch after batch.
      ways: k.
      fitted: what the logits are also measured with.
    """
    temperatures = (1.0,) if fitted is None else (1.0, fitted.temperature)
    offset = None if fitted is None else fitted.offset
    # Nothing is read back before all batches are under way.
    found = [
        (
            some.accuracy,
            jnp.argmax(some.logits, axis=-1),
            [_calibration(some.logits, some.labels, t) for t in temperatures],
            None if offset is None else _both(some.logits, some.labels, offset, ways),
        )
        for some in answers
    ]
    accuracy, predicted = (np.concatenate([np.asarray(of[i]) for of in found]) for i in (0, 1))
    raw, *scaled = (_joined([of[2][i] for of in found]) for i in range(len(temperatures)))
    both = None if offset is None else np.concatenate([np.asarray(of[3]) for of in found])
    return Measured(accuracy, predicted, raw, scaled[0] if scaled else None, both)


def _joined(parts: list[tuple[jax.Array, jax.Array]]) -> Calibration:
    nll = np.concatenate([np.asarray(nll) for nll, _ in parts])
    bins = np.sum([np.asarray(bins, np.float64) for _, bins in parts], axis=0)
    return Calibration(nll, bins)


@jax.jit
def _calibration(
    logits: jax.Array, labels: jax.Array, temperature: jax.Array
) -> tuple[jax.Array, jax.Array]:
    logits = logits / temperature
    nll = jax.vmap(calibration.negative_log_likelihood)(logits, labels)
    bins = calibration.reliability(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1))
    return nll, bins


@functools.partial(jax.jit, static_argnums=3)
def _both(logits: jax.Array, labels: jax.Array, offset: jax.Array, ways: int) -> jax.Array:
    logits = logits.at[..., :ways].add(offset)
    return jnp.mean(jnp.argmax(logits, axis=-1) == labels, axis=-1)


@jax.jit
def _temperature(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return calibration.temperature(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1))
