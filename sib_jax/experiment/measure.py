"""What a method reaches on each task: its accuracy, and how calibrated its probabilities are."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sib_jax.experiment.evaluate import Answers
from sib_jax.tasks import calibration

_FITTED = 500  # tasks that choose a temperature, at least: their logits are held at once


class Calibration(NamedTuple):
    """Of all queries among all classes present: "both" in learning without forgetting.

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


class Measured(NamedTuple):
    """Of some tasks.

    Attributes:
      accuracy: [tasks, len(setting.measures)], 0 to 1.
      predicted: columns of the answers, int [tasks, n].
      raw: of the logits as they are.
      scaled: of the logits divided by the temperature; None where there is none.
    """

    accuracy: np.ndarray
    predicted: np.ndarray
    raw: Calibration
    scaled: Calibration | None

    def arrays(self, measures: Sequence[str]) -> dict[str, np.ndarray]:
        """Numbers of each task by name; accuracies under those of the setting's measures."""
        found = {name: self.accuracy[:, i] for i, name in enumerate(measures)}
        found |= self.raw._asdict()
        if self.scaled:
            found |= {f"{name}_scaled": x for name, x in self.scaled._asdict().items()}
        return found


def fit_temperature(answers: Iterator[Answers]) -> tuple[float, Iterator[Answers]]:
    """The temperature under which the answers to the first tasks are likeliest.

    Args:
      answers: to validation tasks.

    Returns:
      The temperature, and the answers again, those that were looked at included.
    """
    first: list[Answers] = []
    for some in answers:
        first.append(some)
        if sum(len(a.labels) for a in first) >= _FITTED:
            break
    logits = jnp.concatenate([some.logits for some in first])
    labels = jnp.concatenate([some.labels for some in first])
    return float(_temperature(logits, labels)), itertools.chain(first, answers)


def measure(answers: Iterable[Answers], temperature: float | None = None) -> Measured:
    """Measures what was answered.

    Args:
      answers: to all tasks, batch after batch.
      temperature: that the logits are also divided by.
    """
    temperatures = (1.0,) if temperature is None else (1.0, temperature)
    # Nothing is read back before all is under way.
    found = [
        (
            some.accuracy,
            jnp.argmax(some.logits, axis=-1),
            [_calibration(some.logits, some.labels, t) for t in temperatures],
        )
        for some in answers
    ]
    accuracy, predicted = (np.concatenate([np.asarray(of[i]) for of in found]) for i in (0, 1))
    raw, *scaled = (_joined([of[i] for *_, of in found]) for i in range(len(temperatures)))
    return Measured(accuracy, predicted, raw, scaled[0] if scaled else None)


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


@jax.jit
def _temperature(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return calibration.temperature(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1))
