"""The evidence lower bound of one task (eq. 4), on its query set."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from sib_jax import number, prng_key
from sib_jax.sib import base_classes, checks, classifier, distributions
from sib_jax.sib.distributions import PointMass, Posterior
from sib_jax.sib.inner_loop import Inner, adapt_with_logits
from sib_jax.sib.params import Params, initial_posterior, logits
from sib_jax.tasks.episode import Episode

_NO_STEP = 2**32 - 1  # so that the noise of samples at the end is not that of any inner step


class Aux(NamedTuple):
    """What a training loop logs beside the loss.

    Attributes:
      log_likelihood: E_q[sum_j log p(y_j | x_j, w)] in nats, a scalar.
      kl: KL(q || p) in nats, a scalar; 0 without a prior.
      accuracy: share of queries classified correctly at the posterior mean, 0 to 1.
      posterior: theta^T.
    """

    log_likelihood: jax.Array
    kl: jax.Array
    accuracy: jax.Array
    posterior: Posterior


def elbo(
    params: Params,
    posterior: Posterior,
    query: jax.Array,
    query_labels: jax.Array,
    *,
    key: jax.Array | None = None,
    samples: int = 1,
    beta: float | jax.Array = 1.0,
    base_logits: jax.Array | None = None,
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """E_q[sum_j log p(y_j | x_j, w)] - beta KL(q || p), in nats (eq. 4).

    Args:
      params: meta-learned parameters.
      posterior: q, mean [k, d].
      query: features [n, d].
      query_labels: int [n].
      key: PRNG key, needed for a Gaussian posterior.
      samples: S, samples that estimate the expectation; a point mass needs none.
      beta: weight of the KL term; 1 is the bound itself.
      base_logits: [n, b], scores of further classes k..k+b-1 (see `base_classes`).

    Returns:
      The bound, and its two parts (log-likelihood, KL), all scalars.

    Raises:
      ValueError: shapes or labels that do not fit, a Gaussian posterior without a key, `samples`
        below 1, a negative `beta`.
      TypeError: labels are not integers, `samples` is not a whole number, `beta` is not a number,
        or `posterior` is not a posterior.
    """
    checks.posterior(posterior)
    query = checks.features("query", query, posterior.mean.shape[-1])
    ways, base = posterior.mean.shape[0], 0
    if base_logits is not None:
        base_logits = checks.features("base_logits", base_logits)
        base = base_logits.shape[1]
        if len(base_logits) != len(query):
            raise ValueError(
                f"base_logits must have one row for each of {len(query)} queries, got "
                f"{len(base_logits)}"
            )
    query_labels = _checked_labels(query_labels, query, ways, base)
    if key is not None:
        prng_key.check(key)
    samples = number.whole("samples", samples, 1)
    number.not_negative("beta", beta)
    novel = logits(params, posterior, query)
    labelled = query, query_labels, novel, base_logits
    return _bound(params, posterior, *labelled, samples=samples, beta=beta, key=key)


def _bound(
    params: Params,
    posterior: Posterior,
    query: jax.Array,
    query_labels: jax.Array,
    novel: jax.Array,
    base: jax.Array | None,
    *,
    samples: int,
    beta: float | jax.Array,
    key: jax.Array | None,
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """`elbo`, given the logits at the mean: a point mass needs no others."""

    def log_likelihood(scores: jax.Array) -> jax.Array:
        scores = jax.nn.log_softmax(_joined(scores, base))
        return jnp.sum(jnp.take_along_axis(scores, query_labels[:, None], axis=1))

    def of_sample(epsilon: jax.Array) -> jax.Array:
        weights = distributions.sample(posterior, epsilon)
        return log_likelihood(classifier.logits(params.classifier, weights, query))

    if isinstance(posterior, PointMass):
        expected = log_likelihood(novel)
    elif key is None:
        raise ValueError("the expectation over a Gaussian posterior is sampled: pass key=")
    else:
        noise = jax.random.normal(key, (samples, *posterior.mean.shape))
        expected = jnp.mean(jax.vmap(of_sample)(noise))
    divergence = (
        jnp.zeros(())
        if params.prior is None
        else jnp.sum(distributions.kl(posterior, params.prior))
    )
    return expected - beta * divergence, (expected, divergence)


def negative_elbo(
    params: Params,
    episode: Episode,
    *,
    steps: int,
    step_size: float | jax.Array,
    key: jax.Array | None = None,
    samples: int = 1,
    beta: float | jax.Array = 1.0,
    checkpoint: bool = False,
    base_summary: str = "none",
) -> tuple[jax.Array, Aux]:
    """The training loss of one episode: minus the ELBO at theta^T, summed over its queries.

    To differentiate it, put `jax.jit` around the gradient; otherwise each call compiles again.

    The query labels enter only here, never theta^T. Where the episode has base classes, the
    queries are classified among both kinds (see `base_classes`).

    Args:
      params: meta-learned parameters.
      episode: support may be empty where the initialization network needs none.
      steps: T.
      step_size: eta.
      key: PRNG key, needed for a Gaussian posterior.
      samples: S, for the inner loop and for the expectation in the bound.
      beta: weight of the KL term, in the bound and in the inner loop alike: both descend on the
        same objective.
      checkpoint: see `adapt`.
      base_summary: what the gradient network sees of base classes: "none", "max" or "logsumexp".

    Returns:
      Loss in nats (a scalar), `Aux`.

    Raises:
      ValueError: the episode's ways, features, labels or base classes do not fit the parameters or
        each other, a Gaussian posterior without a key, no queries or no labels of them, an empty
        support set that is needed, an unknown `base_summary`.
      TypeError: `episode` is not an episode, labels or base classes are not integers, `steps` or
        `samples` is not a whole number, `step_size` or `beta` is not a number.
    """
    if key is not None:
        prng_key.check(key)
    episode = _checked(params, episode)
    base_classes.check_kind(base_summary)
    inner = Inner(steps, step_size, samples, beta, checkpoint, base_summary)
    return loss(params, episode, inner, key)


def loss(
    params: Params, episode: Episode, inner: Inner, key: jax.Array | None
) -> tuple[jax.Array, Aux]:
    """`negative_elbo`, with its settings in one value."""
    inner_key, outer_key = (None, None) if key is None else jax.random.split(key)
    params, posterior, novel, base = adapt_to(params, episode, inner, inner_key)
    labelled = episode.query, episode.true_labels, novel, base
    bound, (expected, divergence) = _bound(
        params, posterior, *labelled, samples=inner.samples, beta=inner.beta, key=outer_key
    )
    correct = jnp.argmax(_joined(novel, base), axis=1) == episode.true_labels
    return -bound, Aux(expected, divergence, jnp.mean(correct), posterior)


def predict(
    params: Params, episode: Episode, inner: Inner, key: jax.Array | None = None
) -> jax.Array:
    """Logits of the queries at the mean of theta^T: [n, k], or [n, k + b] with b base classes.

    The episode must hold arrays, and is not checked as in `negative_elbo`; labels of queries are
    not read.
    """
    _, _, novel, base = adapt_to(params, episode, inner, key)
    return _joined(novel, base)


def samples(
    params: Params, episode: Episode, inner: Inner, key: jax.Array, count: int
) -> jax.Array:
    """Logits of the queries under samples of theta^T, where `predict` takes its mean.

    Args:
      params: with a Gaussian posterior.
      episode: as in `predict`.
      inner: as in `predict`.
      key: as in `predict`; the samples have noise of their own.
      count: number of samples.

    Returns:
      [count, n, k], or [count, n, k + b] with b base classes.
    """
    adapted, posterior, _, base = adapt_to(params, episode, inner, key)

    def of_sample(noise: jax.Array) -> jax.Array:
        weights = distributions.sample(posterior, noise)
        return _joined(classifier.logits(adapted.classifier, weights, episode.query), base)

    noise_key = jax.random.fold_in(key, _NO_STEP)
    return jax.vmap(of_sample)(jax.random.normal(noise_key, (count, *posterior.mean.shape)))


def adapt_to(
    params: Params, episode: Episode, inner: Inner, key: jax.Array | None
) -> tuple[Params, Posterior, jax.Array, jax.Array | None]:
    """theta^T of an episode, from its support set and its queries without their labels.

    Returns:
      `params` with only the base classes of this episode; theta^T; the logits at its mean of the
      novel classes [n, k], and of the base classes [n, b], None where there are none.
    """
    params, start, base, seen = begin(params, episode, inner)
    posterior, novel = adapt_with_logits(params, start, episode.query, inner, key=key, summary=seen)
    return params, posterior, novel, base


def begin(
    params: Params, episode: Episode, inner: Inner
) -> tuple[Params, Posterior, jax.Array | None, jax.Array | None]:
    """What adaptation starts from.

    Returns:
      `params` with only the base classes of this episode; theta^0; and for the base classes, where
      there are any, the logits [n, b] and what the gradient network sees of them [n, s].
    """
    base = seen = None
    if episode.base is not None:
        params = base_classes.present(params, episode.base)
        base = base_classes.logits(params, episode.query)
        seen = base_classes.summarize(base, inner.base_summary)
    start = initial_posterior(
        params, episode.support, episode.support_labels, ways=params.ways, query=episode.query
    )
    return params, start, base, seen


def _checked(params: Params, episode: Episode) -> Episode:
    """The episode with arrays in place of lists; `initial_posterior` checks its support set."""
    checks.episode(episode)
    base = 0 if episode.base is None else len(episode.base)
    query = checks.features("query", episode.query, params.features)
    if not query.shape[0]:
        raise ValueError("the episode has no queries, but the bound is a sum over them")
    query_labels = _checked_labels(episode.true_labels, query, params.ways, base)
    return episode._replace(query=query, query_labels=query_labels)


def _checked_labels(labels: ArrayLike, query: jax.Array, ways: int, base: int) -> jax.Array:
    known_as = f"ways={ways}" + (f" and {base} base classes" if base else "")
    return checks.labels("query_labels", labels, query, ways + base, known_as=known_as)


def _joined(novel: jax.Array, base: jax.Array | None) -> jax.Array:
    return novel if base is None else jnp.concatenate([novel, base], axis=1)
