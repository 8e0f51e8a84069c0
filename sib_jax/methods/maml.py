"""MAML: a network whose initial parameters are learned so that a few gradient steps fit a task.

phi_0 = phi;  phi_{t+1} = phi_t - alpha grad L_support(phi_t);  phi is learned from L_query(phi_T),
through the steps (second order), or as if each step's gradient were a constant (first order).

It has a network of its own and reads images. As in the authors' code, batch normalization uses the
statistics of the current batch, the support set or all queries: the queries are answered together.

Differences from the authors' code:
  Scale and bias of the batch normalization are adapted with all else; the code has no scale, and
  learns the bias without adapting it. The convolutions have no bias, which batch normalization
  would cancel.
  Gradients are not clipped to +-10.
  The training loss is that of the queries after the last of `steps` inner steps.

References:
  Finn et al., "Model-agnostic meta-learning for fast adaptation of deep networks", ICML 2017 (arXiv
    1703.03400). github.com/cbfinn/maml.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from sib_jax.methods.method import Classes, Method, cross_entropy
from sib_jax.methods.parts import conv_net
from sib_jax.methods.parts.checked import scored
from sib_jax.methods.parts.conv_net import ConvNet
from sib_jax.tasks.calibration import negative_log_likelihood
from sib_jax.tasks.episode import Episode


class Settings(NamedTuple):
    """Hyper-parameters; the defaults are those of the paper for mini-ImageNet.

    Attributes:
      order: 2, or 1 for first-order MAML.
      step_size: alpha.
      steps: T in training.
      test_steps: T in evaluation.
      filters: of each convolution.
      blocks: of the network.
    """

    order: int = 2
    step_size: float = 0.01
    steps: int = 5
    test_steps: int = 10
    filters: int = 32
    blocks: int = 4


def adapt(
    loss: Callable[[Any], jax.Array], params: Any, *, steps: int, step_size: float, order: int
) -> Any:
    """Gradient descent from `params`, differentiable in them.

    Args:
      loss: parameters -> scalar.
      params: pytree of float arrays.
      steps: how many.
      step_size: of each.
      order: 1 takes the gradients as constants, 2 differentiates through them.

    Returns:
      Parameters like `params`.
    """

    def step(params: Any, _: None) -> tuple[Any, None]:
        gradient = jax.grad(loss)(params)
        if order == 1:
            gradient = jax.lax.stop_gradient(gradient)
        return jax.tree.map(lambda p, g: p - step_size * g, params, gradient), None

    return jax.lax.scan(step, params, None, length=steps)[0]


def check(settings: Any) -> None:
    """Raises ValueError for an order other than 1 and 2, or a negative number of steps."""
    if settings.order not in (1, 2):
        raise ValueError(f"order is {settings.order!r}, but must be 1 or 2")
    for name in ("steps", "test_steps"):
        if getattr(settings, name) < 0:
            raise ValueError(f"{name} is {getattr(settings, name)!r}, but must be 0 or more")


def logits(
    settings: Settings,
    params: ConvNet,
    support: jax.Array,
    support_labels: jax.Array,
    query: jax.Array,
    *,
    steps: int,
) -> jax.Array:
    """Scores of the queries after adaptation to the support set.

    Args:
      settings: hyper-parameters.
      params: the network before adaptation.
      support: uint8 [m, height, width, channels].
      support_labels: int [m], in 0..k-1.
      query: uint8 [n, height, width, channels].
      steps: of adaptation.

    Returns:
      [n, k].
    """

    def loss(params: ConvNet) -> jax.Array:
        return negative_log_likelihood(conv_net.logits(params, support), support_labels)

    adapted = adapt(loss, params, steps=steps, step_size=settings.step_size, order=settings.order)
    return conv_net.logits(adapted, query)


def make(settings: Settings, ways: int) -> Method:
    """MAML on images."""
    check(settings)

    def init(key: jax.Array, classes: Classes) -> ConvNet:
        return conv_net.init(
            key, classes.shape, ways=ways, filters=settings.filters, blocks=settings.blocks
        )

    def after(steps: int) -> Callable[[ConvNet, Episode, jax.Array], jax.Array]:
        return scored(functools.partial(logits, settings, steps=steps), ways, reads="images")

    name = "maml" if settings.order == 2 else "maml first-order"
    return Method(
        name,
        init,
        after(settings.test_steps),
        cross_entropy(after(settings.steps)),
        reads="images",
    )
