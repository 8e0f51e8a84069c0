"""Learning without forgetting: k novel classes beside the base classes (section 4, (b)).

The prior is a mixture whose component means are the weights of the base classes. The queries mix
novel and base images, without labels; the gradient network sees, beside the k novel logits, a
summary of the base logits, so that it can leave base queries alone.

References:
  Gidaris and Komodakis, "Dynamic few-shot visual learning without forgetting", CVPR 2018.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sib_jax import classifier, inner_loop, model
from sib_jax.classifier import Classifier
from sib_jax.elbo import Aux, elbo
from sib_jax.episodes import FeatureTable, distinct, sample
from sib_jax.gaussian import Gaussian, Mixture
from sib_jax.model import Params


class LwofEpisode(NamedTuple):
    """One task of k novel classes and b base classes.

    Attributes:
      support: features of the novel classes [m, d].
      support_labels: int [m], in 0..k-1.
      query: features [n, d], of novel and of base classes.
      query_labels: int [n]; 0..k-1 are the novel classes, k..k+b-1 the base classes.
      base: int [b], the components of the prior that are the base classes of this task.
    """

    support: jax.Array
    support_labels: jax.Array
    query: jax.Array
    query_labels: jax.Array
    base: jax.Array


class Accuracies(NamedTuple):
    """Shares of correct answers, 0 to 1, each a scalar.

    Attributes:
      novel: of novel queries among the novel classes.
      base: of base queries among the base classes.
      both: of all queries among all classes.
    """

    novel: jax.Array
    base: jax.Array
    both: jax.Array


def for_episode(params: Params, base: jax.Array) -> Params:
    """`params` whose prior has the components `base` [b] alone.

    A base class that an episode pretends to be novel must not be in its prior: the component would
    give its weights away.
    """
    return params._replace(prior=_mixture(params)._replace(chosen=base))


def base_logits(params: Params, query: jax.Array) -> jax.Array:
    """Scores of the base classes; those of the k novel classes are `model.logits`.

    The learned bias is left out, so that it is an offset of the novel against the base classes:
    their weights come from a few examples, those of the base classes from hundreds.

    Args:
      params: with a mixture prior; its chosen components are the base classes present.
      query: features [n, d].

    Returns:
      [n, b].
    """
    prior = _mixture(params)
    unbiased: Classifier = params.classifier._replace(bias=jnp.zeros(()))
    logits = classifier.logits(unbiased, prior.means, query)
    return logits if prior.chosen is None else logits[:, prior.chosen]


SUMMARIES = ("logsumexp", "max", "none")


def summarize(base: jax.Array, kind: str) -> jax.Array:
    """What the gradient network sees of the base classes.

    Args:
      base: their logits [n, b].
      kind: "logsumexp", all that a softmax over both kinds of classes needs of them; "max"; or
        "none".

    Returns:
      [n, 1], or for "none" [n, 0].
    """
    if kind == "logsumexp":
        return jax.nn.logsumexp(base, axis=1, keepdims=True)
    if kind == "max":
        return jnp.max(base, axis=1, keepdims=True)
    if kind == "none":
        return base[:, :0]
    raise ValueError(f"unknown summary {kind!r}; known are {', '.join(SUMMARIES)}")


def negative_elbo(
    params: Params,
    episode: LwofEpisode,
    *,
    steps: int,
    step_size: float | jax.Array,
    key: jax.Array | None = None,
    samples: int = 1,
    beta: float | jax.Array = 1.0,
    checkpoint: bool = False,
    summary: str = "logsumexp",
) -> tuple[jax.Array, tuple[Aux, Accuracies]]:
    """The training loss of one episode; arguments as in `sib_jax.negative_elbo`, and `summarize`.

    Returns:
      Minus the ELBO in nats, over the novel and base queries; (`Aux`, `Accuracies`).
    """
    params = for_episode(params, episode.base)
    inner_key, outer_key = (None, None) if key is None else jax.random.split(key)
    posterior, novel, base = _adapt(
        params,
        episode,
        steps=steps,
        step_size=step_size,
        key=inner_key,
        samples=samples,
        beta=beta,
        checkpoint=checkpoint,
        summary=summary,
    )
    bound, (expected, divergence) = elbo(
        params,
        posterior,
        episode.query,
        episode.query_labels,
        key=outer_key,
        samples=samples,
        beta=beta,
        base_logits=base,
        mean_logits=novel,
    )
    found = _accuracies(episode, novel, base)
    return -bound, (Aux(expected, divergence, found.both, posterior), found)


def accuracies(
    params: Params,
    episode: LwofEpisode,
    *,
    steps: int,
    step_size: float | jax.Array,
    key: jax.Array | None = None,
    samples: int = 1,
    beta: float | jax.Array = 1.0,
    checkpoint: bool = False,
    summary: str = "logsumexp",
) -> Accuracies:
    """Novel, Base and Both at the mean of theta^T; arguments as in `negative_elbo`."""
    params = for_episode(params, episode.base)
    _, novel, base = _adapt(
        params,
        episode,
        steps=steps,
        step_size=step_size,
        key=key,
        samples=samples,
        beta=beta,
        checkpoint=checkpoint,
        summary=summary,
    )
    return _accuracies(episode, novel, base)


def sample_training(
    key: jax.Array, table: FeatureTable, *, ways: int, shots: int, queries: int
) -> LwofEpisode:
    """Draws an episode from the base classes: k of them pretend to be novel, the others stay base.

    Args:
      key: PRNG key.
      table: features of the base classes, in the order of the prior's components.
      ways: k.
      shots: support examples of each pretended novel class.
      queries: queries of each; and k times as many from all base classes together.

    Returns:
      Episode with n = 2 k queries.
    """
    class_key, novel_key, base_key = jax.random.split(key, 3)
    order = jax.random.permutation(class_key, table.counts.shape[0])
    novel, base = order[:ways], order[ways:]
    return _sample(
        (novel_key, base_key), _classes(table, novel), _classes(table, base), base, shots, queries
    )


def sample_evaluation(
    key: jax.Array,
    novel_table: FeatureTable,
    base_table: FeatureTable,
    *,
    ways: int,
    shots: int,
    queries: int,
) -> LwofEpisode:
    """Draws an episode of novel classes beside all base classes.

    Args:
      key: PRNG key.
      novel_table: features of the novel classes.
      base_table: features of the base classes that no training stage saw, in the order of the
        prior's components.
      ways: k.
      shots: support examples of each novel class.
      queries: queries of each; and k times as many from all base classes together.
    """
    class_key, novel_key, base_key = jax.random.split(key, 3)
    novel = distinct(class_key, novel_table.counts.shape[0], ways)
    base = jnp.arange(base_table.counts.shape[0])
    return _sample(
        (novel_key, base_key), _classes(novel_table, novel), base_table, base, shots, queries
    )


def _mixture(params: Params) -> Mixture:
    if not isinstance(params.prior, Mixture):
        raise ValueError("learning without forgetting needs parameters with prior='mixture'")
    return params.prior


def _adapt(
    params: Params, episode: LwofEpisode, *, key: jax.Array | None, summary: str, **inner: Any
) -> tuple[Gaussian, jax.Array, jax.Array]:
    """theta^T, and the logits of the novel [n, k] and of the base classes [n, b] at its mean."""
    ways = params.gradient_net.layers[2].kernel.shape[1]
    posterior = model.initial_posterior(
        params, episode.support, episode.support_labels, ways=ways, query=episode.query
    )
    base = base_logits(params, episode.query)
    posterior, novel = inner_loop.adapt_with_logits(
        params, posterior, episode.query, key=key, summary=summarize(base, summary), **inner
    )
    return posterior, novel, base


def _accuracies(episode: LwofEpisode, novel: jax.Array, base: jax.Array) -> Accuracies:
    ways = novel.shape[1]
    labels = episode.query_labels
    is_novel = labels < ways

    def share(logits: jax.Array, wanted: jax.Array, of: jax.Array) -> jax.Array:
        return jnp.sum((jnp.argmax(logits, axis=1) == wanted) & of) / jnp.sum(of)

    return Accuracies(
        novel=share(novel, labels, is_novel),
        base=share(base, labels - ways, ~is_novel),
        both=share(jnp.concatenate([novel, base], axis=1), labels, jnp.ones_like(is_novel)),
    )


def _classes(table: FeatureTable, classes: jax.Array) -> FeatureTable:
    return table._replace(starts=table.starts[classes], counts=table.counts[classes])


def _sample(
    keys: tuple[jax.Array, jax.Array],
    novel: FeatureTable,
    base: FeatureTable,
    components: jax.Array,
    shots: int,
    queries: int,
) -> LwofEpisode:
    ways = novel.counts.shape[0]
    task = sample(keys[0], novel, ways=ways, shots=shots, queries=queries)
    # Distinct images, every image of every base class equally likely.
    ends = jnp.cumsum(base.counts)
    drawn = distinct(keys[1], ends[-1], ways * queries)
    label = jnp.searchsorted(ends, drawn, side="right")
    rows = base.starts[label] + drawn - (ends[label] - base.counts[label])
    return LwofEpisode(
        task.support,
        task.support_labels,
        jnp.concatenate([task.query, base.features[rows]]),
        jnp.concatenate([task.query_labels, ways + label]),
        components,
    )
