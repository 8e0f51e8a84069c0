"""The examples of an episode, and points that are combinations of them, such as prototypes.

An untrained method moves points that stay sums of the examples, and asks for their inner products
with these. Where examples are few, coefficients [k, n] and the products [n, n] of the examples
represent points [k, d]: one large matrix product is made once, and the cost of what follows does
not grow with d. Where they are many, points are vectors.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sib_jax.sib.classifier import at_least_single

_RATE = 8  # how much faster one large product runs than the thin ones that it saves


class Examples(NamedTuple):
    """Vectors, and their inner products where these represent them; make them with `prepare`.

    Attributes:
      vectors: [n, d].
      squares: of their lengths, [n].
      products: of every one with every one, [n, n]; None where points are vectors.
    """

    vectors: jax.Array
    squares: jax.Array
    products: jax.Array | None

    def combined(self, weights: jax.Array) -> jax.Array:
        """The points sum_i w_ki x_i, as the other functions take them.

        Args:
          weights: [k, n].
        """
        return weights if self.products is not None else weights @ self.vectors

    def inner(self, points: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Inner products of k points with the examples, [k, n], and with themselves, [k]."""
        if self.products is None:
            return points @ self.vectors.T, jnp.sum(points * points, axis=1)
        inner = points @ self.products
        return inner, jnp.sum(inner * points, axis=1)

    def cosines(self, points: jax.Array) -> jax.Array:
        """Of the angles between k points and the examples, [k, n]."""
        inner, squares = self.inner(points)
        return cosines(inner, squares, self.squares)

    def squared_distances(self, points: jax.Array) -> jax.Array:
        """Between k points and the examples, [k, n]; not below 0."""
        inner, squares = self.inner(points)
        return jnp.maximum(squares[:, None] + self.squares[None] - 2 * inner, 0)


def prepare(vectors: jax.Array, *, ways: int, passes: int) -> Examples:
    """Examples in the form that is cheaper for what is to be asked.

    Args:
      vectors: [n, d].
      ways: how many points there will be at a time.
      passes: how often all of them are combined or multiplied.
    """
    vectors = at_least_single(vectors)
    known = isinstance(vectors.shape[0], int)  # not where a program for any number is exported
    few = known and vectors.shape[0] <= min(vectors.shape[1], _RATE * ways * passes)
    products = vectors @ vectors.T if few else None
    return Examples(vectors, jnp.sum(vectors * vectors, axis=1), products)


def mean_weights(examples: Examples, support_labels: jax.Array, ways: int) -> jax.Array:
    """Weights of the examples that make class means, [k, n]; 0 for a class without any.

    Args:
      examples: m support examples, then others.
      support_labels: int [m], in 0..ways-1.
      ways: k.
    """
    total, dtype = examples.vectors.shape[0], examples.squares.dtype
    member = jax.nn.one_hot(support_labels, ways, dtype=dtype, axis=0)
    weights = member / jnp.maximum(jnp.sum(member, axis=1, keepdims=True), 1)
    return jnp.pad(weights, ((0, 0), (0, total - support_labels.shape[0])))


def cosines(inner: jax.Array, of_points: jax.Array, of_examples: jax.Array) -> jax.Array:
    """[k, n], of inner products [k, n] and the squares of lengths, [k] and [n].

    What is at most a millionth as long as the longest example is rounding, not a direction.
    """
    least = 1e-12 * jnp.max(of_examples) + 1e-24
    of_points, of_examples = jnp.maximum(of_points, least), jnp.maximum(of_examples, least)
    return inner * jax.lax.rsqrt(of_points)[:, None] * jax.lax.rsqrt(of_examples)[None]
