"""BD-CSPN: prototypes rectified by pseudo-labelled queries that were shifted to the support set.

The cross-class bias is reduced by adding mean(support) - mean(query) to every query, the
intra-class bias by replacing each class mean p_k with a weighted mean of the class's support
examples and its most confident pseudo-labelled queries, p'_k = sum_i w_ik x_i, w_ik being a softmax
over these examples i of 10 cos(x_i, p_k). The shift is right where the classes are as frequent
among the queries as in the support set; elsewhere it moves queries towards the wrong classes.

BD-CSPN's authors have no public code that we know. LaplacianShot's authors wrote their own, which
alpha-TIM's comparison uses too, and it differs; so there are two forms:
  "code", the default, which published comparisons ran: support examples, like all queries, count
    for the class they are nearest to; each is weighted with its softmax over the *classes*, and a
    plain mean is taken; the score is minus the squared distance to the unshifted query. Where no
    example is nearest to a class, that code fails; here the class mean stays.
  "paper", our reading of it, which no code of the authors confirms: support examples count for
    their own class, with at most `pseudo_labels` of the most confident queries of each class;
    weights sum to 1 over them; the score is 10 times the cosine to the shifted query.

Both centre with the mean of the base classes, as `centre="base"` does in a run (see `simple_shot`).
The default is the mean of the episode, which needs no base classes.

References:
  Liu et al., "Prototype rectification for few-shot learning", ECCV 2020 (arXiv 1911.10713).
  github.com/imtiazziko/LaplacianShot, github.com/oveilleux/Realistic_Transductive_Few_Shot.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sib_jax.methods.method import Method
from sib_jax.methods.parts.distances import transform
from sib_jax.methods.parts.examples import Examples, cosines, mean_weights, prepare
from sib_jax.methods.parts.untrained import centred_untrained
from sib_jax.sib.classifier import normalize
from sib_jax.sib.init_net import class_means


class Settings(NamedTuple):
    """Hyper-parameters.

    Attributes:
      form: "paper" or "code".
      normalization: "UN", "L2N" or "CL2N", see `simple_shot`.
      centre: whose mean CL2N subtracts, the "episode"'s or the "base" classes'.
      scale: of the cosine.
      pseudo_labels: of each class, at most; the paper's Z.
    """

    form: str = "code"
    normalization: str = "CL2N"
    centre: str = "episode"
    scale: float = 10.0
    pseudo_labels: int = 8


def shift(support: jax.Array, query: jax.Array) -> jax.Array:
    """The queries, moved so that their mean is that of the support examples.

    Args:
      support: features [m, d].
      query: features [n, d].

    Returns:
      [n, d].
    """
    return query + (jnp.mean(support, axis=0) - jnp.mean(query, axis=0))[None]


def rectified(
    support: jax.Array,
    support_labels: jax.Array,
    query: jax.Array,
    *,
    ways: int,
    scale: float = 10.0,
    pseudo_labels: int = 8,
) -> jax.Array:
    """Prototypes in the paper's form.

    Args:
      support: features [m, d].
      support_labels: int [m], in 0..ways-1.
      query: features [n, d], shifted.
      ways: k.
      scale: of the cosine in the weights.
      pseudo_labels: of each class, at most.

    Returns:
      [k, d].
    """
    directions = normalize(class_means(support, support_labels, ways))
    nearness = scale * normalize(query) @ directions.T  # [n, k]
    best = jnp.max(nearness, axis=1, keepdims=True)
    own = jnp.where(nearness >= best, jax.nn.log_softmax(nearness, axis=1), -jnp.inf)
    wanted = min(pseudo_labels, query.shape[0])
    if wanted:
        least = jax.lax.top_k(own.T, wanted)[0][:, -1]  # [k], confidence of the last one taken
        taken = (own >= least[None]) & (own > -jnp.inf)
    else:
        taken = jnp.zeros_like(own, dtype=bool)
    labelled = jax.nn.one_hot(support_labels, ways, dtype=bool)
    members = jnp.concatenate([labelled, taken])  # [m + n, k]
    examples = jnp.concatenate([support, query])
    similar = jnp.concatenate([scale * normalize(support) @ directions.T, nearness])
    # Weights of a class without any example are 0, not 0 / 0.
    least_of_all = jnp.finfo(similar.dtype).min
    weights = members * jax.nn.softmax(jnp.where(members, similar, least_of_all), axis=0)
    return weights.T @ examples


def rectified_as_code(
    examples: Examples, support_labels: jax.Array, *, ways: int, scale: float = 10.0
) -> jax.Array:
    """Prototypes in the form of LaplacianShot's code.

    Args:
      examples: m support examples, then n queries that are not shifted.
      support_labels: int [m], in 0..ways-1.
      ways: k.
      scale: of the cosine in the weights.

    Returns:
      The prototypes as weights of the examples, [k, m + n].
    """
    shots, total = support_labels.shape[0], examples.vectors.shape[0]
    is_query = (jnp.arange(total) >= shots).astype(examples.squares.dtype)
    means = mean_weights(examples, support_labels, ways)
    of_support = 1 - is_query
    move = of_support / jnp.maximum(jnp.sum(of_support), 1) - is_query / jnp.sum(is_query)
    # What the shift x_i + move changes in inner products with the means, and in lengths.
    inner, squares = examples.inner(examples.combined(jnp.concatenate([means, move[None]])))
    of_move, inner = inner[-1], inner[:-1]
    inner += (means @ of_move)[:, None] * is_query[None]
    shifted = examples.squares + is_query * (2 * of_move + squares[-1])
    nearness = scale * cosines(inner, squares[:-1], shifted)  # [k, m + n]
    member = jax.nn.one_hot(jnp.argmax(nearness, axis=0), ways, dtype=nearness.dtype, axis=0)
    count = jnp.sum(member, axis=1, keepdims=True)
    weights = member * jax.nn.softmax(nearness, axis=0) / jnp.maximum(count, 1)
    weights += (weights @ is_query)[:, None] * move[None]
    return jnp.where(count > 0, weights, means)


def logits(
    settings: Settings,
    support: jax.Array,
    support_labels: jax.Array,
    query: jax.Array,
    *,
    ways: int,
    centre: jax.Array | None = None,
) -> jax.Array:
    """Scores under the rectified prototypes.

    Args:
      settings: hyper-parameters.
      support: features [m, d].
      support_labels: int [m], in 0..ways-1.
      query: features [n, d].
      ways: k.
      centre: what CL2N subtracts, [d]; the episode's mean where None.

    Returns:
      [n, k].

    Raises:
      ValueError: the form is unknown.
    """
    support, query = transform(support, query, normalization=settings.normalization, centre=centre)
    if settings.form == "paper":
        moved = shift(support, query)
        prototypes = rectified(
            support,
            support_labels,
            moved,
            ways=ways,
            scale=settings.scale,
            pseudo_labels=settings.pseudo_labels,
        )
        return settings.scale * normalize(moved) @ normalize(prototypes).T
    if settings.form == "code":
        examples = prepare(jnp.concatenate([support, query]), ways=ways, passes=4)
        weights = rectified_as_code(examples, support_labels, ways=ways, scale=settings.scale)
        return -examples.squared_distances(examples.combined(weights))[:, support.shape[0] :].T
    raise ValueError(f"unknown form {settings.form!r}; known are 'paper' and 'code'")


def make(settings: Settings, ways: int) -> Method:
    """BD-CSPN on features."""
    return centred_untrained("bd_cspn", logits, settings, ways)
