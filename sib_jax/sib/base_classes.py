"""Base classes beside the k novel ones: their scores, and what the gradient network sees of them.

The prior of learning without forgetting is a mixture whose component means are the weights of the
base classes (section 3, (b)). The queries mix novel and base images; beside the k novel logits, the
gradient network may see a summary of the base logits, so that it can leave base queries alone.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from sib_jax.compiled_once import is_traced
from sib_jax.sib import classifier
from sib_jax.sib.classifier import Classifier
from sib_jax.sib.distributions import Mixture
from sib_jax.sib.params import Params

SUMMARIES = ("none", "max", "logsumexp")


def present(params: Params, base: jax.Array) -> Params:
    """`params` whose prior has only the components `base` [b].

    A base class that an episode pretends to be novel must not be in its prior: the component would
    give its weights away.

    Raises:
      TypeError: `base` are not integers.
      ValueError: one is not a component, or is given twice (known only outside jit).
    """
    prior = _mixture(params)
    return params._replace(prior=prior._replace(chosen=_components(base, prior.means.shape[0])))


def logits(params: Params, query: jax.Array) -> jax.Array:
    """Scores of the base classes; those of the k novel classes are `sib_jax.logits`.

    Their weights are the means of the prior's components, where the paper samples them from it.

    The learned bias is left out, so that it is an offset of the novel against the base classes: the
    novel weights come from a few examples, those of the base classes from hundreds.

    Args:
      params: with a mixture prior; its chosen components are the base classes present.
      query: features [n, d].

    Returns:
      [n, b].
    """
    prior = _mixture(params)
    unbiased: Classifier = params.classifier._replace(bias=jnp.zeros(()))
    scores = classifier.logits(unbiased, prior.means, query)
    return scores if prior.chosen is None else scores[:, prior.chosen]


def summarize(scores: jax.Array, kind: str) -> jax.Array:
    """What the gradient network sees of the base classes.

    Args:
      scores: their logits [n, b].
      kind: one of `SUMMARIES`: "logsumexp", all that a softmax over both kinds of classes needs of
        them; "max"; or "none".

    Returns:
      [n, 1], or for "none" [n, 0].
    """
    if kind == "logsumexp":
        return jax.nn.logsumexp(scores, axis=1, keepdims=True)
    if kind == "max":
        return jnp.max(scores, axis=1, keepdims=True)
    check_kind(kind)
    return scores[:, :0]


def check_kind(kind: str) -> None:
    """Raises `ValueError` where `kind` is not one of `SUMMARIES`."""
    if kind not in SUMMARIES:
        raise ValueError(f"unknown base_summary {kind!r}; known are {', '.join(SUMMARIES)}")


def _components(base: ArrayLike, count: int) -> jax.Array:
    values = None if is_traced(base) else np.asarray(base)  # a list inside jit is one of tracers
    array = jnp.asarray(base) if values is None else values
    if not array.size:
        raise ValueError("the episode's base is empty: leave base=None where no class is present")
    if not jnp.issubdtype(array.dtype, jnp.integer) or array.ndim != 1:
        raise TypeError(
            "the base classes of an episode must be integers [b], the components of the prior that "
            f"are present; got {array.dtype} of shape {array.shape}"
        )
    if values is not None and values.size and (values.min() < 0 or values.max() >= count):
        raise ValueError(
            f"the base classes of an episode must be in 0..{count - 1}, the prior's components, "
            f"got {values.min()}..{values.max()}"
        )
    if values is not None and len(np.unique(values)) < len(values):
        raise ValueError("the base classes of an episode must be distinct, but one is given twice")
    return jnp.asarray(array)


def _mixture(params: Params) -> Mixture:
    if not isinstance(params.prior, Mixture):
        raise ValueError(
            "the episode has base classes, but the parameters have none: make parameters with "
            "prior='mixture' and base_weights="
        )
    return params.prior
