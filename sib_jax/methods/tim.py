"""TIM: class weights that maximize the mutual information between queries and their labels.

The classifier is softmax(-scale / 2 |w_k - f(x)|^2) on features of unit length, and starts at the
class means. Minimized is lambda CE(support) - marginal * H(Y) + conditional * H(Y | X), the
entropies being over the queries. Two ways to do so:
  "gradient" (TIM-GD): Adam, 1,000 steps.
  "adm" (TIM-ADM): auxiliary labels q of the queries and the weights are updated alternately, each
    in closed form, 150 times.

Differences from the authors' code: everything is in the log domain, where the code adds 1e-12
inside logarithms (and nothing in H(Y), which is NaN where a class has no query at all);
"adm" has no step length other than 1.

References:
  Boudiaf et al., "Transductive information maximization for few-shot learning", NeurIPS 2020 (arXiv
    2008.11297). github.com/mboudiaf/TIM.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from sib_jax.methods.method import Method
from sib_jax.methods.parts.distances import squared_distances
from sib_jax.methods.parts.untrained import untrained
from sib_jax.sib.classifier import normalize
from sib_jax.sib.init_net import class_means


class Settings(NamedTuple):
    """Hyper-parameters.

    Attributes:
      variant: "adm" or "gradient".
      scale: of half the squared distance; the paper's temperature.
      steps: updates; None for 150 ("adm") or 1,000 ("gradient").
      step_size: of Adam, only for "gradient".
      support_weight: lambda, of the cross-entropy.
      marginal_weight: of H(Y).
      conditional_weight: of H(Y | X), the paper's alpha.
    """

    variant: str = "adm"
    scale: float = 15.0
    steps: int | None = None
    step_size: float = 1e-4
    support_weight: float = 0.1
    marginal_weight: float = 1.0
    conditional_weight: float = 0.1


def log_probabilities(weights: jax.Array, features: jax.Array, scale: float) -> jax.Array:
    """The classifier, log softmax(-scale / 2 |w_k - x|^2).

    Args:
      weights: [k, d].
      features: [n, d].
      scale: of half the squared distance.

    Returns:
      [n, k].
    """
    return jax.nn.log_softmax(-scale / 2 * squared_distances(features, weights), axis=1)


def log_marginal(log_probs: jax.Array) -> jax.Array:
    """Log of the mean over the queries.

    Args:
      log_probs: [n, k].

    Returns:
      [k].
    """
    return jax.nn.logsumexp(log_probs, axis=0) - jnp.log(log_probs.shape[0])


def entropy(log_probs: jax.Array) -> jax.Array:
    """Shannon's entropy.

    Args:
      log_probs: [.., k].

    Returns:
      [..].
    """
    return -jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1)


def descend(
    gradient: Callable[[jax.Array], jax.Array], weights: jax.Array, *, steps: int, step_size: float
) -> jax.Array:
    """Weights after a number of steps of Adam.

    Args:
      gradient: of what is minimized, weights [k, d] -> [k, d].
      weights: where to start, [k, d].
      steps: how many.
      step_size: learning rate.

    Returns:
      [k, d].
    """
    # eps_root keeps 0 / 0 out of derivatives through the steps where a gradient is 0, as it is for
    # a dimension that is 0 in all examples.
    optimizer = optax.adam(step_size, eps_root=1e-24)

    def step(
        state: tuple[jax.Array, optax.OptState], _: None
    ) -> tuple[tuple[jax.Array, optax.OptState], None]:
        weights, moments = state
        updates, moments = optimizer.update(gradient(weights), moments)
        return (optax.apply_updates(weights, updates), moments), None

    return jax.lax.scan(step, (weights, optimizer.init(weights)), None, length=steps)[0][0]


def by_gradient(
    settings: Settings,
    weights: jax.Array,
    support: jax.Array,
    support_labels: jax.Array,
    query: jax.Array,
    entropy: Callable[[jax.Array], jax.Array] = entropy,
) -> jax.Array:
    """TIM-GD: the loss minimized by Adam.

    Args:
      settings: hyper-parameters.
      weights: where to start, [k, d].
      support: features of unit length [m, d].
      support_labels: int [m].
      query: features of unit length [n, d].
      entropy: of log-probabilities, [.., k] -> [..]; both terms of the queries use it.

    Returns:
      Weights [k, d].
    """

    examples = jnp.concatenate([support, query])
    # Distances stay the same when everything is moved. Relative to one of the examples, dimensions
    # in which they do not differ are 0, and so are their gradients: otherwise Adam would make whole
    # steps of rounding errors.
    origin = examples[:1]
    examples = examples - origin
    # With both layouts at hand a step on a CPU takes half to two thirds of the time.
    transposed = examples.T

    def loss(scores: jax.Array) -> jax.Array:
        log_probs = jax.nn.log_softmax(settings.scale * scores, axis=0).T
        labelled, found = log_probs[: len(support)], log_probs[len(support) :]
        information = settings.marginal_weight * entropy(log_marginal(found))
        information -= settings.conditional_weight * jnp.mean(entropy(found))
        of_labels = jnp.take_along_axis(labelled, support_labels[:, None], axis=1)
        return -settings.support_weight * jnp.mean(of_labels) - information

    def gradient(weights: jax.Array) -> jax.Array:
        # Minus half the squared distances, but for what all classes share.
        scores = weights @ transposed - jnp.sum(jnp.square(weights), axis=1, keepdims=True) / 2
        of_scores = jax.grad(loss)(scores)  # [k, m + n]
        return of_scores @ examples - jnp.sum(of_scores, axis=1, keepdims=True) * weights

    steps = 1000 if settings.steps is None else settings.steps
    found = descend(gradient, weights - origin, steps=steps, step_size=settings.step_size)
    return found + origin


def by_alternation(
    settings: Settings,
    weights: jax.Array,
    support: jax.Array,
    support_labels: jax.Array,
    query: jax.Array,
) -> jax.Array:
    """TIM-ADM: labels of the queries and weights alternately, each in closed form.

    Args:
      settings: hyper-parameters.
      weights: where to start, [k, d].
      support: features of unit length [m, d].
      support_labels: int [m].
      query: features of unit length [n, d].

    Returns:
      Weights [k, d].
    """
    ways, shots = weights.shape[0], support.shape[0]
    member = jax.nn.one_hot(support_labels, ways, dtype=support.dtype, axis=0)  # [k, m]
    of_support = settings.support_weight / (1 + settings.conditional_weight)
    of_query = shots / query.shape[0]
    share = settings.marginal_weight / (1 + settings.marginal_weight)
    # Weights stay sums of the vectors at the start: coefficients and inner products suffice, and a
    # step costs nothing that grows with d.
    vectors = jnp.concatenate([weights, support, query])
    products = vectors @ vectors.T

    def step(coefficients: jax.Array, _: None) -> tuple[jax.Array, None]:
        inner = coefficients @ products  # [k, k + m + n]
        lengths = jnp.sum(inner * coefficients, axis=1, keepdims=True)
        log_probs = jax.nn.log_softmax(settings.scale * (inner - lengths / 2), axis=0)
        of_labelled, found = log_probs[:, ways : ways + shots], log_probs[:, ways + shots :]
        sharper = (1 + settings.conditional_weight) * found
        shared = share * jax.nn.logsumexp(sharper, axis=1, keepdims=True)
        labels = jax.nn.softmax(sharper - shared, axis=0)
        # Sums over examples of label * feature + p * (weight - feature).
        p_support, p_query = jnp.exp(of_labelled), jnp.exp(found)
        own = of_support * jnp.sum(p_support, axis=1) + of_query * jnp.sum(p_query, axis=1)
        of_features = jnp.concatenate(
            [of_support * (member - p_support), of_query * (labels - p_query)], axis=1
        )
        total = (own[:, None] * coefficients).at[:, ways:].add(of_features)
        count = of_support * jnp.sum(member, axis=1) + of_query * jnp.sum(labels, axis=1)
        return total / count[:, None], None

    steps = 150 if settings.steps is None else settings.steps
    start = jnp.eye(ways, len(vectors), dtype=support.dtype)
    return jax.lax.scan(step, start, None, length=steps)[0] @ vectors


_VARIANTS = {"adm": by_alternation, "gradient": by_gradient}


def logits(
    settings: Settings,
    support: jax.Array,
    support_labels: jax.Array,
    query: jax.Array,
    *,
    ways: int,
) -> jax.Array:
    """Log-probabilities of the queries under the weights found.

    Args:
      settings: hyper-parameters.
      support: features [m, d].
      support_labels: int [m], in 0..ways-1.
      query: features [n, d].
      ways: k.

    Returns:
      [n, k].

    Raises:
      ValueError: the variant is unknown.
    """
    if settings.variant not in _VARIANTS:
        raise ValueError(f"unknown variant {settings.variant!r}; known are 'adm' and 'gradient'")
    support, query = normalize(support), normalize(query)
    start = class_means(support, support_labels, ways)
    weights = _VARIANTS[settings.variant](settings, start, support, support_labels, query)
    return log_probabilities(weights, query, settings.scale)


def make(settings: Settings, ways: int) -> Method:
    """TIM on features."""
    return untrained(f"tim {settings.variant}", logits, settings, ways, balances=True)
