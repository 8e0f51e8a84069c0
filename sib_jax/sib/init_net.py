"""The initialization network lambda: theta^0, from the support set, from only x, or global.

Each is a small pytree of parameters whose type says which form it is. All give a posterior over the
k classifier weights, [k, d]: a Gaussian, or a point mass where `log_std` is None.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sib_jax.sib.classifier import normalize
from sib_jax.sib.distributions import Gaussian, PointMass, Posterior


class FromSupport(NamedTuple):
    """Class means of normalised support features, times a coefficient per dimension.

    Attributes:
      coefficient: [d].
      log_std: [d] or None.
    """

    coefficient: jax.Array
    log_std: jax.Array | None


class FromQuery(NamedTuple):
    """For an empty support set: k learned seeds attend to the queries; permutation invariant in x.

    Attributes:
      seeds: [k, d], what each class looks for.
      log_sharpness: scalar, log of the factor on the attention's cosine scores.
      coefficient: [d].
      log_std: [d] or None.
    """

    seeds: jax.Array
    log_sharpness: jax.Array
    coefficient: jax.Array
    log_std: jax.Array | None


class Global(NamedTuple):
    """For an empty support set: theta^0 = lambda, the same for every task.

    Attributes:
      mean: [k, d].
      log_std: [k, d] or None.
    """

    mean: jax.Array
    log_std: jax.Array | None


InitNet = FromSupport | FromQuery | Global


def init(
    key: jax.Array, *, kind: str, ways: int, features: int, initial_std: float | None
) -> InitNet:
    """Parameters of an initialization network.

    Args:
      key: PRNG key.
      kind: "support", "query" or "global".
      ways: k.
      features: d.
      initial_std: standard deviation that the posterior starts with; None for a point mass.

    Raises:
      ValueError: another kind.
    """
    log_std = None if initial_std is None else jnp.full((features,), math.log(initial_std), float)
    # Entries of a unit vector have this size.
    rows = jax.random.normal(key, (ways, features)) / math.sqrt(features)
    if kind == "support":
        return FromSupport(jnp.ones(features), log_std)
    if kind == "query":
        return FromQuery(rows, jnp.asarray(math.log(10), float), jnp.ones(features), log_std)
    if kind == "global":
        return Global(rows, None if log_std is None else jnp.tile(log_std, (ways, 1)))
    raise ValueError(f"unknown init_net {kind!r}; known are 'support', 'query' and 'global'")


def class_means(features: jax.Array, labels: jax.Array, ways: int) -> jax.Array:
    """Mean feature of every class; classes may have unequal numbers of examples.

    Args:
      features: [m, d].
      labels: int [m], in 0..ways-1.
      ways: k.

    Returns:
      [k, d]; zero for a class without an example.
    """
    member = jax.nn.one_hot(labels, ways, dtype=features.dtype, axis=0)  # [k, m]
    return member @ features / jnp.maximum(jnp.sum(member, axis=1, keepdims=True), 1)


def apply(
    net: InitNet,
    support: jax.Array | None,
    support_labels: jax.Array | None,
    query: jax.Array | None,
    ways: int,
) -> Posterior:
    """theta^0 = lambda(d_supp), lambda(x) or lambda (section 2 (b)).

    Args:
      net: its type says which of the three.
      support: features [m, d]; used only by `FromSupport`.
      support_labels: int [m].
      query: features [n, d]; used only by `FromQuery`.
      ways: k.

    Returns:
      Posterior with mean [k, d].

    Raises:
      ValueError: what the network reads is not given, or empty.
    """
    if isinstance(net, FromSupport):
        if support is None or support_labels is None or support.shape[0] == 0:
            raise ValueError(
                "the support set is empty, but theta^0 is computed from it; for zero-shot tasks "
                "make the parameters with init_net='query' or init_net='global'"
            )
        mean = class_means(normalize(support), support_labels, ways) * net.coefficient[None]
        return _posterior(mean, _rows(net.log_std, ways))
    if isinstance(net, FromQuery):
        if query is None:
            raise ValueError("init_net='query' computes theta^0 from the queries: pass query=")
        unit = normalize(query)
        scores = jnp.exp(net.log_sharpness) * (normalize(net.seeds) @ unit.T)  # [k, n]
        mean = jax.nn.softmax(scores, axis=1) @ unit * net.coefficient[None]
        return _posterior(mean, _rows(net.log_std, ways))
    return _posterior(net.mean, net.log_std)


def _rows(log_std: jax.Array | None, ways: int) -> jax.Array | None:
    return None if log_std is None else jnp.tile(log_std, (ways, 1))


def _posterior(mean: jax.Array, log_std: jax.Array | None) -> Posterior:
    return PointMass(mean) if log_std is None else Gaussian(mean, log_std)
