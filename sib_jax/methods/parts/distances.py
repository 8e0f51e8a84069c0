"""Centres and normalises features before distances are taken, and takes Euclidean distances."""

import jax
import jax.numpy as jnp

from sib_jax.sib.classifier import at_least_single, normalize

NORMALIZATIONS = ("UN", "L2N", "CL2N")


def transform(
    support: jax.Array,
    query: jax.Array,
    *,
    normalization: str,
    centre: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Features before distances are taken.

    Args:
      support: features [m, d].
      query: features [n, d].
      normalization: "UN", "L2N" or "CL2N".
      centre: what CL2N subtracts, [d]; the mean of all m + n features where None.

    Returns:
      Support [m, d] and query [n, d].

    Raises:
      ValueError: the normalization is unknown.
    """
    support, query = centred(support, query, normalization, centre)
    return (support, query) if normalization == "UN" else (normalize(support), normalize(query))


def centred(
    support: jax.Array, query: jax.Array, normalization: str, centre: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """The part of `transform` that comes before lengths are divided out; at least float32."""
    support, query = at_least_single(support), at_least_single(query)
    if normalization not in NORMALIZATIONS:
        raise ValueError(
            f"unknown normalization {normalization!r}; known are 'UN', 'L2N' and 'CL2N'"
        )
    if normalization != "CL2N":
        return support, query
    if centre is None:
        centre = jnp.mean(jnp.concatenate([support, query]), axis=0)
    return support - centre[None], query - centre[None]


def squared_distances(features: jax.Array, centres: jax.Array) -> jax.Array:
    """Squared Euclidean distance of every feature to every centre.

    Args:
      features: [n, d].
      centres: [k, d].

    Returns:
      [n, k], not below 0; at least float32: squares of half precision overflow from 256 on.
    """
    features, centres = at_least_single(features), at_least_single(centres)
    squares = (
        jnp.sum(features * features, axis=1)[:, None] + jnp.sum(centres * centres, axis=1)[None]
    )
    return jnp.maximum(squares - 2 * features @ centres.T, 0)
