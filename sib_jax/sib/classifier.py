"""The likelihood p(y | x, w) of a task's classifier (eqs. 1 and 10): cosine or dot product."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Cosine(NamedTuple):
    """logits = scale * (bias + cos(f(x), w)), what the paper uses; scale and bias are scalars."""

    scale: jax.Array
    bias: jax.Array


class Dot(NamedTuple):
    """logits = scale * (bias + f(x) . w), for comparison; scale and bias are scalars."""

    scale: jax.Array
    bias: jax.Array


Classifier = Cosine | Dot


def init(kind: str = "cosine") -> Classifier:
    """A classifier that has learned nothing yet.

    Args:
      kind: "cosine" (scale 10, as the official code starts it) or "dot" (scale 1).

    Raises:
      ValueError: another kind.
    """
    if kind == "cosine":
        return Cosine(scale=jnp.asarray(10.0, float), bias=jnp.asarray(0.0, float))
    if kind == "dot":
        return Dot(scale=jnp.asarray(1.0, float), bias=jnp.asarray(0.0, float))
    raise ValueError(f"unknown classifier {kind!r}; known are 'cosine' and 'dot'")


def normalize(x: jax.Array) -> jax.Array:
    """x / |x| along the last axis; a vector shorter than 1e-12 is divided by 1e-12 instead.

    At least float32: squares of half precision overflow from 256 on.
    """
    return x * inverse_length(x)


def at_least_single(x: jax.Array) -> jax.Array:
    """The same numbers in float32, unless they are in double precision: room for their squares."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def inverse_length(x: jax.Array) -> jax.Array:
    """What `normalize` multiplies by: [..., 1], at least float32."""
    x = at_least_single(x)
    square = jnp.sum(x * x, axis=-1, keepdims=True)
    # Two `where`s: derivatives of rsqrt at 0 are infinite, and NaN once multiplied by 0.
    short = square < 1e-24
    return jnp.where(short, 1e12, jax.lax.rsqrt(jnp.where(short, 1, square)))


def prepare(classifier: Classifier, features: jax.Array) -> jax.Array:
    """The part of `logits` that does not depend on the weights, to do once before many steps."""
    return normalize(features) if isinstance(classifier, Cosine) else features


def logits_of_prepared(
    classifier: Classifier, weights: jax.Array, prepared: jax.Array
) -> jax.Array:
    """`logits` of features that went through `prepare`."""
    if isinstance(classifier, Cosine):
        weights = normalize(weights)
    # In this order the gradient is a product [k, n] [n, d], several times faster on CPUs than the
    # [d, n] [n, k] that prepared @ weights.T would lead to.
    return classifier.scale * (classifier.bias + (weights @ prepared.T).T)


def logits(classifier: Classifier, weights: jax.Array, features: jax.Array) -> jax.Array:
    """Scores of every class, before softmax.

    Args:
      classifier: learned scale and bias, and by its type the form.
      weights: w, one row a class, [k, d].
      features: f(x), [n, d].

    Returns:
      [n, k].

    References:
      Gidaris and Komodakis, "Dynamic few-shot visual learning without forgetting", CVPR 2018.
    """
    return logits_of_prepared(classifier, weights, prepare(classifier, features))
