"""The peers of the paper's tables: prototypical networks, matching networks and LwoF.

Each is a small pytree of parameters and a pure function of one episode. LwoF ("learning without
forgetting", Gidaris and Komodakis) generates a weight for each novel class, by feature averaging or
by attention over the base classes, and classifies among base and novel classes together.

References:
  github.com/gidariss/FewShotWithoutForgetting: the form of all four that is followed here.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sib_jax import classifier
from sib_jax.classifier import Cosine, normalize
from sib_jax.init_net import class_means


class Prototypical(NamedTuple):
    """Scale of the distances, a scalar."""

    scale: jax.Array


class Matching(NamedTuple):
    """Sharpness of the attention over the support examples, a scalar."""

    scale: jax.Array


class FeatureAveraging(NamedTuple):
    """LwoF, novel weight = average * class mean of normalised features.

    Attributes:
      base: weights of all base classes, [c, d].
      average: coefficient of each dimension, [d].
      classifier: cosine classifier, shared by base and novel classes.
    """

    base: jax.Array
    average: jax.Array
    classifier: Cosine


class Attention(NamedTuple):
    """LwoF, the same plus attention * class mean of the base weights that each example attends to.

    Attributes:
      base: weights of all base classes, [c, d].
      average: coefficient of each dimension for the class mean, [d].
      attention: coefficient of each dimension for what was attended to, [d].
      keys: one for each base class, [c, d].
      to_query: from a normalised feature to what it looks for, feature @ to_query + bias, [d, d].
      to_query_bias: [d].
      sharpness: factor on the cosine of query and key, a scalar.
      classifier: cosine classifier, shared by base and novel classes.
    """

    base: jax.Array
    average: jax.Array
    attention: jax.Array
    keys: jax.Array
    to_query: jax.Array
    to_query_bias: jax.Array
    sharpness: jax.Array
    classifier: Cosine


Generator = FeatureAveraging | Attention


def init_prototypical() -> Prototypical:
    """Prototypical networks before training; scale 1, for distances averaged over dimensions."""
    return Prototypical(jnp.asarray(1.0))


def init_matching() -> Matching:
    """Matching networks before training; scale 10."""
    return Matching(jnp.asarray(10.0))


def init_feature_averaging(key: jax.Array, *, classes: int, features: int) -> FeatureAveraging:
    """LwoF's generator by feature averaging, before training.

    Args:
      key: PRNG key.
      classes: c, all base classes.
      features: d.
    """
    base = _rows(key, classes, features)
    return FeatureAveraging(base, jnp.ones(features), Cosine(jnp.asarray(10.0), jnp.asarray(0.0)))


def init_attention(key: jax.Array, *, classes: int, features: int) -> Attention:
    """LwoF's generator by attention, before training.

    Args:
      key: PRNG key.
      classes: c, all base classes.
      features: d.
    """
    base_key, keys_key, query_key = jax.random.split(key, 3)
    base, average, cosine = init_feature_averaging(base_key, classes=classes, features=features)
    # Close to the identity: at first an example looks for keys like itself.
    to_query = jnp.eye(features) + 1e-3 * jax.random.normal(query_key, (features, features))
    return Attention(
        base=base,
        average=average,
        attention=jnp.ones(features),
        keys=_rows(keys_key, classes, features),
        to_query=to_query,
        to_query_bias=jnp.zeros(features),
        sharpness=jnp.asarray(10.0),
        classifier=cosine,
    )


def prototypical_logits(
    params: Prototypical,
    support: jax.Array,
    support_labels: jax.Array,
    query: jax.Array,
    *,
    ways: int,
) -> jax.Array:
    """Minus the scaled squared distance to each class mean.

    The squared distance is averaged over the d dimensions, as Gidaris and Komodakis do, rather than
    summed; `scale = d` gives the form of the paper.

    Args:
      params: the scale.
      support: features [m, d].
      support_labels: int [m], in 0..ways-1.
      query: features [n, d].
      ways: k.

    Returns:
      [n, k].

    Raises:
      ValueError: the support set is empty.

    References:
      Snell et al., "Prototypical networks for few-shot learning", NeurIPS 2017.
    """
    _check_support(support, support_labels)
    means = class_means(support, support_labels, ways)
    squares = jnp.sum(query * query, axis=1)[:, None] + jnp.sum(means * means, axis=1)[None]
    return -params.scale * (squares - 2 * query @ means.T) / query.shape[1]


def matching_logits(
    params: Matching,
    support: jax.Array,
    support_labels: jax.Array,
    query: jax.Array,
    *,
    ways: int,
) -> jax.Array:
    """Log of the attention that falls on the support examples of each class.

    The form without full context embeddings: attention is the softmax of the scaled cosine to every
    support example.

    Args:
      params: the scale.
      support: features [m, d].
      support_labels: int [m], in 0..ways-1.
      query: features [n, d].
      ways: k.

    Returns:
      Log-probabilities [n, k], no lower than log(1e-7).

    Raises:
      ValueError: the support set is empty.

    References:
      Vinyals et al., "Matching networks for one shot learning", NeurIPS 2016.
    """
    _check_support(support, support_labels)
    cosines = normalize(query) @ normalize(support).T
    attention = jax.nn.softmax(params.scale * cosines, axis=1)  # [n, m]
    probabilities = attention @ jax.nn.one_hot(support_labels, ways, dtype=attention.dtype)
    # Far classes would have log 0 and gradients without bound.
    return jnp.log(jnp.maximum(probabilities, 1e-7))


def novel_weights(
    params: Generator,
    base_ids: jax.Array,
    support: jax.Array,
    support_labels: jax.Array,
    *,
    ways: int,
) -> jax.Array:
    """LwoF's classifier weights of the novel classes.

    Args:
      params: its type says which of the two generators.
      base_ids: base classes that take part, int [b], in 0..c-1. In training the pretended novel
        classes are left out, so that no example attends to its own class.
      support: features of novel examples [m, d].
      support_labels: int [m], in 0..ways-1.
      ways: k, novel classes.

    Returns:
      [k, d].

    Raises:
      ValueError: the support set is empty.

    References:
      Gidaris and Komodakis, "Dynamic few-shot visual learning without forgetting", CVPR 2018,
      section 3.2.
    """
    _check_support(support, support_labels)
    support = normalize(support)
    weights = class_means(support, support_labels, ways) * params.average[None]
    if isinstance(params, FeatureAveraging):
        return weights
    attended = class_means(_attended(params, base_ids, support), support_labels, ways)
    return weights + attended * params.attention[None]


def base_and_novel_weights(
    params: Generator,
    base_ids: jax.Array,
    support: jax.Array,
    support_labels: jax.Array,
    *,
    ways: int,
) -> jax.Array:
    """Weights of the base classes in the order of `base_ids`, then those of the novel classes.

    Args:
      params: its type says which of the two generators.
      base_ids: int [b], in 0..c-1.
      support: features of novel examples [m, d].
      support_labels: int [m], in 0..ways-1.
      ways: k, novel classes.

    Returns:
      [b + k, d].
    """
    novel = novel_weights(params, base_ids, support, support_labels, ways=ways)
    return jnp.concatenate([params.base[base_ids], novel])


def generated_logits(
    params: Generator,
    base_ids: jax.Array,
    support: jax.Array,
    support_labels: jax.Array,
    query: jax.Array,
    *,
    ways: int,
) -> jax.Array:
    """LwoF's scores of base and novel classes; columns b.. are those of the novel classes.

    Args:
      params: its type says which of the two generators.
      base_ids: int [b], in 0..c-1.
      support: features of novel examples [m, d].
      support_labels: int [m], in 0..ways-1.
      query: features [n, d], of base or novel classes.
      ways: k, novel classes.

    Returns:
      [n, b + k].
    """
    weights = base_and_novel_weights(params, base_ids, support, support_labels, ways=ways)
    return classifier.logits(params.classifier, weights, query)


def _attended(params: Attention, base_ids: jax.Array, support: jax.Array) -> jax.Array:
    """Mean of the normalised base weights, weighted by how well their keys fit, [m, d]."""
    wanted = normalize(support @ params.to_query + params.to_query_bias[None])
    fit = params.sharpness * (wanted @ normalize(params.keys[base_ids]).T)  # [m, b]
    return jax.nn.softmax(fit, axis=1) @ normalize(params.base[base_ids])


def _rows(key: jax.Array, classes: int, features: int) -> jax.Array:
    return math.sqrt(2 / features) * jax.random.normal(key, (classes, features))


def _check_support(support: jax.Array, labels: jax.Array) -> None:
    if support.ndim != 2 or labels.shape != support.shape[:1]:
        raise ValueError(
            f"wanted support [m, d] and support_labels [m], got {support.shape} and {labels.shape}"
        )
    if support.shape[0] == 0:
        raise ValueError("the support set is empty, but the classes are known from it alone")
