"""The peers in the paper's tables, as pure functions of one episode of features.

Prototypical and matching networks, and the two weight generators of Gidaris and Komodakis, whose
feature averaging is SIB's theta^0. All agree with the code of Gidaris and Komodakis.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sib_jax.classifier import normalize
from sib_jax.init_net import class_means


def prototypical_logits(
    support: jax.Array,
    support_labels: jax.Array,
    query: jax.Array,
    *,
    ways: int,
    scale: float | jax.Array = 1.0,
) -> jax.Array:
    """Minus the mean squared difference between a query and each class's mean feature.

    Args:
      support: features [m, d].
      support_labels: int [m], in 0..ways-1.
      query: features [n, d].
      ways: k.
      scale: learned factor.

    Returns:
      [n, k].

    References:
      Snell, Swersky and Zemel, "Prototypical networks for few-shot learning", NIPS 2017.
    """
    prototypes = class_means(support, support_labels, ways)
    difference = query[:, None, :] - prototypes[None, :, :]
    return -scale * jnp.mean(jnp.square(difference), axis=-1)


def matching_logits(
    support: jax.Array,
    support_labels: jax.Array,
    query: jax.Array,
    *,
    ways: int,
    scale: float | jax.Array = 10.0,
) -> jax.Array:
    """Log of the attention that a query pays to the examples of each class.

    Args:
      support: features [m, d].
      support_labels: int [m], in 0..ways-1; each class at least once.
      query: features [n, d].
      ways: k.
      scale: learned factor on the cosine similarities.

    Returns:
      Log-probabilities, [n, k].

    References:
      Vinyals et al., "Matching networks for one shot learning", NIPS 2016.
    """
    attention = jax.nn.log_softmax(scale * normalize(query) @ normalize(support).T)  # [n, m]
    of_class = support_labels[None, :] == jnp.arange(ways)[:, None]  # [k, m]
    of_class = jnp.where(of_class, 0.0, -jnp.inf)
    return jax.nn.logsumexp(attention[:, None, :] + of_class[None, :, :], axis=-1)


class Average(NamedTuple):
    """Weight generation by feature averaging; coefficient [d]."""

    coefficient: jax.Array


class Attention(NamedTuple):
    """Weight generation by averaging and by attention over the base classes.

    Attributes:
      average: coefficient of the averaged feature, [d].
      attended: coefficient of the attended base weights, [d].
      query_kernel: of the map from a support feature to its question, [d, d] (x @ kernel).
      query_bias: [d].
      keys: of the base classes, [base, d].
      scale: of the cosine similarity of question and key, scalar.
    """

    average: jax.Array
    attended: jax.Array
    query_kernel: jax.Array
    query_bias: jax.Array
    keys: jax.Array
    scale: jax.Array


def novel_weights(
    generator: Average | Attention,
    support: jax.Array,
    support_labels: jax.Array,
    base_weights: jax.Array,
    *,
    ways: int,
) -> jax.Array:
    """Classification weights of the novel classes, for `classifier.logits` beside the base ones.

    Args:
      generator: its type says which of the two.
      support: features [m, d].
      support_labels: int [m], in 0..ways-1.
      base_weights: classification weights of the base classes, [base, d]; row i has key i.
      ways: k, number of novel classes.

    Returns:
      [k, d].

    References:
      Gidaris and Komodakis, "Dynamic few-shot visual learning without forgetting", CVPR 2018,
      section 3.2.
    """
    unit = normalize(support)
    average = class_means(unit, support_labels, ways)
    if isinstance(generator, Average):
        return average * generator.coefficient[None]
    question = normalize(unit @ generator.query_kernel + generator.query_bias[None])
    scores = generator.scale * question @ normalize(generator.keys).T  # [m, base]
    recalled = jax.nn.softmax(scores) @ normalize(base_weights)
    attended = class_means(recalled, support_labels, ways)
    return average * generator.average[None] + attended * generator.attended[None]
