"""What a method is: something that learns from episodes and answers their queries."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sib_jax.sib.trajectory import Trajectory
from sib_jax.tasks.calibration import negative_log_likelihood
from sib_jax.tasks.episode import Episode


class Classes(NamedTuple):
    """What a method's parameters are made for.

    Attributes:
      shape: of one input: (d,) for features, (height, width, channels) for images.
      base: number of base classes, which are the training classes.
      base_weights: their weights under the backbone's own cosine classifier, of unit length,
        [base, d]; None where there are none (images as inputs).
      base_mean: mean of their features, [d]; None where there are none.
    """

    shape: tuple[int, ...]
    base: int
    base_weights: jax.Array | None = None
    base_mean: jax.Array | None = None


class Method(NamedTuple):
    """A method, its hyper-parameters and the number of ways k closed over. Pure functions.

    Each is for one episode, of any number of shots and queries; a job vmaps them.

    Attributes:
      name: begins with the system's name, such as "SIB point"; results.json has it.
      init: (key, `Classes`) -> parameters, a pytree of float arrays; {} where there are none.
      logits: (parameters, `Episode`, key) -> [n, k], or [n, k + b] where the episode has b base
        classes. The query labels are not read.
      loss: (parameters, `Episode`, key) -> (loss, {name: scalar to log}), both means over the
        queries. One of the names is "accuracy", 0 to 1. None for a method that is not trained.
      reads: "features" of the frozen backbone, or "images".
      serves: names of the settings whose episodes it can answer, see `tasks.setting`.
      steps: T of the inner loop of SIB and SIB+; None for others.
      trajectory: (parameters, `Episode`, key) -> `Trajectory`: the steps to what `logits` gives,
        for a report; None for a method without an inner loop of this kind.
      balances: whether it assigns every class the same number of queries, whatever these show:
        with fewer queries than classes, its answers mean nothing.
      samples: (parameters, `Episode`, key, count) -> logits as above for so many samples of the
        posterior, [count, n, k]; None where there is none to sample.
      frozen: parameters -> pytree of bools like it, True where they stay as they start, even under
        weight decay; None if all are learned.
      fitted: whether it has parameters that nothing trains: `init` computes them from the base
        classes.
    """

    name: str
    init: Callable[[jax.Array, Classes], Any]
    logits: Callable[[Any, Episode, jax.Array], jax.Array]
    loss: Callable[[Any, Episode, jax.Array], tuple[jax.Array, dict[str, jax.Array]]] | None = None
    reads: str = "features"
    serves: tuple[str, ...] = ("standard",)
    steps: int | None = None
    trajectory: Callable[[Any, Episode, jax.Array], Trajectory] | None = None
    frozen: Callable[[Any], Any] | None = None
    balances: bool = False
    samples: Callable[[Any, Episode, jax.Array, int], jax.Array] | None = None
    fitted: bool = False

    @property
    def trained(self) -> bool:
        """Whether a job meta-trains it."""
        return self.loss is not None

    @property
    def keeps(self) -> bool:
        """Whether a run keeps its parameters: without the base classes they cannot be made."""
        return self.trained or self.fitted


def parameter_shapes(method: Method, shape: tuple[int, ...], base: int) -> Any:
    """Structure, shapes and types of a method's parameters; nothing is computed.

    Args:
      method: for a given number of ways.
      shape: of one input, as in `Classes`.
      base: number of base classes.
    """
    sizes = [(base, *shape), shape] if method.reads == "features" else []
    of_base = [jax.ShapeDtypeStruct(size, jnp.float32) for size in sizes]

    def init(key: jax.Array, *of_base: jax.Array) -> Any:
        return method.init(key, Classes(shape, base, *of_base))

    return jax.eval_shape(init, jax.random.key(0), *of_base)


def no_parameters(key: jax.Array, classes: Classes) -> dict[str, jax.Array]:
    """`Method.init` of a method that has nothing to learn."""
    del key, classes
    return {}


def cross_entropy(
    logits: Callable[[Any, Episode, jax.Array], jax.Array],
) -> Callable[[Any, Episode, jax.Array], tuple[jax.Array, dict[str, jax.Array]]]:
    """`Method.loss` of a method that learns by the mean cross-entropy of its logits."""

    def loss(
        params: Any, episode: Episode, key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        scores = logits(params, episode, key)
        labels = episode.true_labels
        found = negative_log_likelihood(scores, labels)
        return found, {"accuracy": jnp.mean(jnp.argmax(scores, axis=1) == labels)}

    return loss
