"""Accuracies of one episode, read from its logits."""

import jax
import jax.numpy as jnp

NOVEL, BASE, BOTH = "novel", "base", "both"


def accuracies(logits: jax.Array, labels: jax.Array, ways: int) -> dict[str, jax.Array]:
    """Shares of correct answers, 0 to 1, each a scalar (section 3).

    Args:
      logits: [n, k], or [n, k + b] where base classes are present.
      labels: int [n], the column of the right answer.
      ways: k.

    Returns:
      "novel", of the queries of the k classes among these. Where base classes are present also
      "base", of base queries among base classes, and "both", of all queries among all classes.
    """
    if logits.shape[1] == ways:
        return {NOVEL: jnp.mean(jnp.argmax(logits, axis=1) == labels)}
    is_novel = labels < ways

    def share(scores: jax.Array, wanted: jax.Array, of: jax.Array) -> jax.Array:
        return jnp.sum((jnp.argmax(scores, axis=1) == wanted) & of) / jnp.sum(of)

    return {
        NOVEL: share(logits[:, :ways], labels, is_novel),
        BASE: share(logits[:, ways:], labels - ways, ~is_novel),
        BOTH: share(logits, labels, jnp.ones_like(is_novel)),
    }
