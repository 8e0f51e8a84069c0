"""Few-shot weight generators: a classifier weight for each novel class, beside the base classes'.

By feature averaging, or by feature averaging and attention over the base classes' weights. Base and
novel classes share one cosine classifier, so both are recognised without forgetting.

References:
  Gidaris and Komodakis, "Dynamic few-shot visual learning without forgetting", CVPR 2018 (arXiv
  1804.09458), section 3.2.
  github.com/gidariss/FewShotWithoutForgetting: initialization.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sib_jax.methods.method import Classes, Method, cross_entropy
from sib_jax.methods.parts.checked import checked
from sib_jax.sib import classifier
from sib_jax.sib.classifier import Cosine, normalize
from sib_jax.sib.init_net import class_means
from sib_jax.tasks.episode import Episode

GENERATORS = ("average", "attention")


class Settings(NamedTuple):
    """Hyper-parameters.

    Attributes:
      generator: "average", or "attention" for averaging and attention.
    """

    generator: str = "average"


class Average(NamedTuple):
    """novel weight = average * class mean of normalised features.

    Attributes:
      base: weights of all base classes, [c, d].
      average: coefficient of each dimension, [d].
      classifier: cosine classifier, shared by base and novel classes.
    """

    base: jax.Array
    average: jax.Array
    classifier: Cosine


class Attention(NamedTuple):
    """The same plus attention * class mean of the base weights that each example attends to.

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


Params = Average | Attention


def init(key: jax.Array, generator: str, base: jax.Array) -> Params:
    """A generator before training.

    Args:
      key: PRNG key.
      generator: "average" or "attention".
      base: weights of the base classes, [c, d].
    """
    features = base.shape[1]
    cosine = Cosine(jnp.asarray(10.0, float), jnp.asarray(0.0, float))
    if generator == "average":
        return Average(base, jnp.ones(features), cosine)
    keys_key, query_key = jax.random.split(key)
    return Attention(
        base=base,
        average=jnp.ones(features),
        attention=jnp.ones(features),
        keys=math.sqrt(2 / features) * jax.random.normal(keys_key, base.shape),
        # Close to the identity: at first an example looks for keys like itself.
        to_query=jnp.eye(features) + 1e-3 * jax.random.normal(query_key, (features, features)),
        to_query_bias=jnp.zeros(features),
        sharpness=jnp.asarray(10.0, float),
        classifier=cosine,
    )


def novel_weights(
    params: Params,
    base: jax.Array,
    support: jax.Array,
    support_labels: jax.Array,
    *,
    ways: int,
) -> jax.Array:
    """Classifier weights of the novel classes.

    Args:
      params: its type says which of the two generators.
      base: base classes that take part, int [b], in 0..c-1. In training the pretended novel classes
        are left out, so that no example attends to its own class.
      support: features of novel examples [m, d].
      support_labels: int [m], in 0..ways-1.
      ways: k, novel classes.

    Returns:
      [k, d].
    """
    support = normalize(support)
    weights = class_means(support, support_labels, ways) * params.average[None]
    if isinstance(params, Average):
        return weights
    attended = class_means(_attended(params, base, support), support_labels, ways)
    return weights + attended * params.attention[None]


def logits(
    params: Params,
    base: jax.Array,
    support: jax.Array,
    support_labels: jax.Array,
    query: jax.Array,
    *,
    ways: int,
) -> jax.Array:
    """Scores of the novel classes, then of the base classes in the order of `base`.

    Args:
      params: its type says which of the two generators.
      base: int [b], in 0..c-1.
      support: features of novel examples [m, d].
      support_labels: int [m], in 0..ways-1.
      query: features [n, d], of base or novel classes.
      ways: k, novel classes.

    Returns:
      [n, k + b].
    """
    novel = novel_weights(params, base, support, support_labels, ways=ways)
    weights = jnp.concatenate([novel, jnp.asarray(params.base)[base]])
    return classifier.logits(params.classifier, weights, query)


def make(settings: Settings, ways: int) -> Method:
    """A weight generator on frozen features, its base weights starting at the backbone's own.

    In the standard setting an episode has no base classes, so only "average" works there; the
    Novel accuracy of learning without forgetting is that of the standard setting.
    """
    if settings.generator not in GENERATORS:
        raise ValueError(f"generator is {settings.generator!r}, but must be one of {GENERATORS}")

    def start(key: jax.Array, classes: Classes) -> Params:
        if classes.base_weights is None:
            raise ValueError("a weight generator needs the weights of the base classes")
        return init(key, settings.generator, classes.base_weights)

    def of_episode(params: Params, episode: Episode, key: jax.Array) -> jax.Array:
        del key
        episode = checked(episode, ways)
        if episode.base is None and isinstance(params, Attention):
            raise ValueError("attention is over base classes: use it with setting='lwof'")
        base = jnp.arange(0) if episode.base is None else episode.base
        return logits(
            params, base, episode.support, episode.support_labels, episode.query, ways=ways
        )

    return Method(
        f"weight_generator {settings.generator}",
        start,
        of_episode,
        cross_entropy(of_episode),
        serves=("lwof",) if settings.generator == "attention" else ("standard", "lwof"),
    )


def _attended(params: Attention, base: jax.Array, support: jax.Array) -> jax.Array:
    """Mean of the normalised base weights, weighted by how well their keys fit, [m, d]."""
    wanted = normalize(support @ params.to_query + params.to_query_bias[None])
    fit = params.sharpness * (wanted @ normalize(jnp.asarray(params.keys)[base]).T)  # [m, b]
    return jax.nn.softmax(fit, axis=1) @ normalize(jnp.asarray(params.base)[base])
