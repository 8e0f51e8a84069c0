"""How many examples of an episode are of each class: the same number of each, or not.

References:
  Veilleux et al., "Realistic evaluation of transductive few-shot learning", NeurIPS 2021 (arXiv
    2204.11181): shares of the queries from a symmetric Dirichlet distribution, alpha = 2. The
    authors draw query images that may be support images too; here they never are.
"""

import re

import jax
import jax.numpy as jnp

BALANCED, UNEVEN, MISSING, DIRICHLET = "balanced", "uneven", "missing", "dirichlet:"
PATTERN = rf"{BALANCED}|{MISSING}|{DIRICHLET}(?!0*\.?0*$)[0-9]{{1,4}}(\.[0-9]{{1,4}})?"
WANTED = "balanced, missing, or dirichlet:<alpha> such as dirichlet:2"


def check(name: str, shares: str) -> None:
    """Raises ValueError where `shares` is not one that `counts` knows."""
    if not isinstance(shares, str) or not re.fullmatch(PATTERN, shares):
        raise ValueError(f"{name} must be {WANTED}; got {shares!r}")


def counts(key: jax.Array, shares: str, classes: int, total: int) -> jax.Array:
    """Numbers of examples of each class that add up to `total`.

    Args:
      key: PRNG key.
      shares: "balanced"; "missing", where one class has none and the others have equal shares; or
        "dirichlet:<alpha>", where they are drawn from a symmetric Dirichlet distribution.
      classes: k.
      total: number of examples.

    Returns:
      int32 [k], at least 0.
    """
    if shares == BALANCED:  # which classes have one more is random, if total is not a multiple
        return jax.random.permutation(key, apportion(jnp.full(classes, 1 / classes), total))
    if shares == MISSING:
        others = apportion(jnp.full(classes - 1, 1 / (classes - 1)), total)
        return jax.random.permutation(key, jnp.append(others, 0))
    alpha = float(shares.removeprefix(DIRICHLET))
    return apportion(jax.random.dirichlet(key, jnp.full(classes, alpha)), total)


def apportion(shares: jax.Array, total: int) -> jax.Array:
    """Whole numbers nearest to shares of `total`, by largest remainders: [k] -> int32 [k]."""
    exact = shares * total
    whole = jnp.floor(exact).astype(jnp.int32)
    place = jnp.argsort(jnp.argsort(whole - exact))  # 0 is that of the largest remainder
    return whole + (place < total - jnp.sum(whole))


def uneven(key: jax.Array, classes: int, total: int) -> jax.Array:
    """Numbers with at least one example of each class, the rest divided at random: int32 [k]."""
    return 1 + counts(key, f"{DIRICHLET}1", classes, total - classes)


def most_shots(shares: str, classes: int, each: int) -> int:
    """The most support examples that one class can have when there are classes * each in all."""
    return each if shares == BALANCED else classes * (each - 1) + 1


def most(shares: str, classes: int, total: int) -> int:
    """The most queries that one class can have."""
    if shares == BALANCED:
        return -(-total // classes)
    return -(-total // (classes - 1)) if shares == MISSING else total
