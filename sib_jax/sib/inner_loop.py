"""Eq. 9: T steps on theta by synthetic gradients, from the queries without their labels."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sib_jax import number, prng_key
from sib_jax.compiled_once import compiled_once
from sib_jax.sib import checks, classifier, distributions, gradient_net, inner_products
from sib_jax.sib.classifier import Cosine
from sib_jax.sib.distributions import PointMass, Posterior
from sib_jax.sib.params import Params
from sib_jax.sib.params import logits as mean_logits


class Inner(NamedTuple):
    """How theta is adapted to a task.

    Attributes:
      steps: T, 0 or more; static.
      step_size: eta.
      samples: S, samples that estimate the expectation in each step; static.
      beta: weight of the KL term; 1 is eq. 9.
      checkpoint: recompute each step in the backward pass instead of storing it: memory for the
        activations of one step instead of T, for about a third more time.
      base_summary: what the gradient network sees of base classes, see `base_classes.summarize`.
    """

    steps: int
    step_size: float | jax.Array
    samples: int = 1
    beta: float | jax.Array = 1.0
    checkpoint: bool = False
    base_summary: str = "none"


def adapt(
    params: Params,
    posterior: Posterior,
    query: jax.Array,
    *,
    steps: int,
    step_size: float | jax.Array,
    key: jax.Array | None = None,
    samples: int = 1,
    beta: float | jax.Array = 1.0,
    checkpoint: bool = False,
    summary: jax.Array | None = None,
) -> Posterior:
    """theta^T from theta^0, by eq. 9:

        theta <- theta - eta [ E_eps sum_j xi(y_j) dy_j/dw dw/dtheta + beta grad_theta KL(q || p) ]

    A scan over T, differentiable with respect to every array, through all steps.

    Args:
      params: meta-learned parameters. Where `params.prior` is None there is no KL term.
      posterior: theta^0, mean [k, d]; a Gaussian's mean and log-std are both updated.
      query: query features [n, d], unlabelled.
      steps: T, static; 0 returns `posterior` unchanged.
      step_size: eta.
      key: PRNG key, needed to sample a Gaussian posterior; a point mass ignores it.
      samples: S, samples that estimate the expectation in each step.
      beta: weight of the KL term; 1 is eq. 9.
      checkpoint: recompute each step in the backward pass instead of storing it: memory for the
        activations of one step instead of T, for about a third more time.
      summary: [n, s], what the gradient network reads of each query beside its k logits, if it was
        made to (see `sib_jax.sib.base_classes`).

    Returns:
      theta^T, of the form of `posterior`; at least float32.

    Raises:
      TypeError: `steps` or `samples` is not a whole number, `step_size` or `beta` is not a number,
        `posterior` is not a posterior, or `key` is not a key.
      ValueError: negative `steps`, `step_size` or `beta`, `samples` below 1, no key for a Gaussian,
        or shapes that do not fit.
    """
    checks.posterior(posterior)
    inner = Inner(steps, step_size, samples, beta, checkpoint)
    query = checks.features("query", query)
    return adapt_with_logits(params, posterior, query, inner, key=key, summary=summary)[0]


def adapt_with_logits(
    params: Params,
    posterior: Posterior,
    query: jax.Array,
    inner: Inner,
    *,
    key: jax.Array | None = None,
    summary: jax.Array | None = None,
) -> tuple[Posterior, jax.Array]:
    """theta^T, and the logits [n, k] of the queries at its mean; arguments as in `adapt`.

    A point mass without a KL term, under the cosine classifier, takes the fast form of
    `inner_products` where that pays, and then gets its logits for free.
    """
    inner = inner._replace(
        steps=number.whole("steps", inner.steps, 0),
        samples=number.whole("samples", inner.samples, 1),
    )
    if key is not None:
        prng_key.check(key)
    number.not_negative("step_size", inner.step_size)
    number.not_negative("beta", inner.beta)
    if summary is None:
        summary = jnp.zeros((query.shape[0], 0), query.dtype)
    _check(params, posterior, query, inner, summary)
    if inner.steps == 0:
        return posterior, mean_logits(params, posterior, query)
    arrays = params, posterior, query, inner.step_size, inner.beta, key, summary
    no_kl = params.prior is None or (isinstance(inner.beta, float | int) and inner.beta == 0)
    return _adapted(
        *arrays,
        steps=inner.steps,
        samples=inner.samples,
        checkpoint=inner.checkpoint,
        no_kl=no_kl,
    )


@compiled_once
def _adapted(
    params: Params,
    posterior: Posterior,
    query: jax.Array,
    step_size: float | jax.Array,
    beta: float | jax.Array,
    key: jax.Array | None,
    summary: jax.Array,
    *,
    steps: int,
    samples: int,
    checkpoint: bool,
    no_kl: bool,
) -> tuple[Posterior, jax.Array]:
    """`adapt_with_logits` of at least one step, after the checks."""
    inner = Inner(steps, step_size, samples, beta, checkpoint)
    posterior = in_one_type(params, posterior, query, inner)
    if no_kl:
        params = params._replace(prior=None)  # 0 times its gradient would still be computed
    prepared = classifier.prepare(params.classifier, query)
    if (
        isinstance(params.classifier, Cosine)
        and isinstance(posterior, PointMass)
        and no_kl
        and inner_products.pays(query.shape[0], posterior.mean.shape[0], inner.steps)
    ):
        mean, logits = inner_products.adapt(
            params.gradient_net,
            params.classifier,
            posterior.mean,
            prepared,
            summary,
            steps=inner.steps,
            step_size=inner.step_size,
            checkpoint=inner.checkpoint,
        )
        return PointMass(mean), logits
    adapted = general(params, posterior, prepared, summary, inner, key)
    return adapted, classifier.logits_of_prepared(params.classifier, adapted.mean, prepared)


def in_one_type(params: Params, posterior: Posterior, query: jax.Array, inner: Inner) -> Posterior:
    """`posterior` in the type that steps give, at least float32: a scan keeps its type."""
    arrays = params, posterior, query, inner.step_size, inner.beta
    dtype = jnp.promote_types(jnp.result_type(*jax.tree.leaves(arrays)), jnp.float32)
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), posterior)


def general(
    params: Params,
    posterior: Posterior,
    prepared: jax.Array,
    summary: jax.Array,
    inner: Inner,
    key: jax.Array | None,
) -> Posterior:
    """Eq. 9 for every posterior, prior and classifier: each step one pull-back. The reference form.

    Args:
      params: meta-learned parameters.
      posterior: theta^0, mean [k, d].
      prepared: `classifier.prepare` of the query features, [n, d].
      summary: what the gradient network reads beside the logits, [n, s].
      inner: with at least one step.
      key: as in `adapt`.
    """

    def advance(theta: Posterior, t: jax.Array) -> tuple[Posterior, None]:
        noise = noise_of_step(theta, key, t, inner.samples)
        return step(params, theta, prepared, summary, inner, noise), None

    if inner.checkpoint:
        advance = jax.checkpoint(advance)
    unroll = inner_products.unroll(inner.steps)
    return jax.lax.scan(advance, posterior, jnp.arange(inner.steps), unroll=unroll)[0]


def step(
    params: Params,
    theta: Posterior,
    prepared: jax.Array,
    summary: jax.Array,
    inner: Inner,
    noise: jax.Array,
) -> Posterior:
    """theta after one step; arguments as in `general`, and `noise_of_step`."""
    gradient = _synthetic_gradient(params, theta, prepared, summary, noise)
    prior = params.prior
    if prior is not None:
        pull = jax.grad(lambda q: jnp.sum(distributions.kl(q, prior)))(theta)
        gradient = jax.tree.map(lambda g, p: g + inner.beta * p, gradient, pull)
    return jax.tree.map(lambda x, g: x - inner.step_size * g, theta, gradient)


def _synthetic_gradient(
    params: Params, theta: Posterior, prepared: jax.Array, summary: jax.Array, noise: jax.Array
) -> Posterior:
    """E_eps sum_j xi(y_j) dy_j/dw dw/dtheta, the mean over the S samples in `noise` [S, k, d]."""
    logits, pull_back = sampled_logits(params, theta, prepared, noise)
    return pull_back(synthetic(params, logits, summary) / noise.shape[0])[0]


def sampled_logits(
    params: Params, theta: Posterior, prepared: jax.Array, noise: jax.Array
) -> tuple[jax.Array, Callable[[jax.Array], tuple[Posterior]]]:
    """Logits of each sample of w [S, n, k], and their pull-back to theta."""

    def of_sample(q: Posterior, epsilon: jax.Array) -> jax.Array:
        weights = distributions.sample(q, epsilon)
        return classifier.logits_of_prepared(params.classifier, weights, prepared)

    return jax.vjp(lambda q: jax.vmap(of_sample, (None, 0))(q, noise), theta)


def synthetic(params: Params, logits: jax.Array, summary: jax.Array) -> jax.Array:
    """xi of each sample's logits, [S, n, k]."""
    seen = jax.vmap(lambda y: jnp.concatenate([y, summary], axis=1))(logits)
    return jax.vmap(gradient_net.apply, (None, 0))(params.gradient_net, seen)


def noise_of_step(theta: Posterior, key: jax.Array | None, t: jax.Array, samples: int) -> jax.Array:
    """epsilon of step t, [S, k, d]; a point mass has one sample."""
    if isinstance(theta, PointMass):
        return jnp.zeros((1, *theta.mean.shape), theta.mean.dtype)  # which it ignores
    if key is None:
        raise ValueError("a Gaussian posterior is sampled in each step: pass key=")
    return jax.random.normal(
        jax.random.fold_in(key, t), (samples, *theta.mean.shape), theta.mean.dtype
    )


def _check(
    params: Params,
    posterior: Posterior,
    query: jax.Array,
    inner: Inner,
    summary: jax.Array,
) -> None:
    mean, net = posterior.mean, params.gradient_net
    if query.ndim != 2 or mean.ndim != 2 or query.shape[1] != mean.shape[1]:
        raise ValueError(
            "query must be [n, d] and the posterior mean [k, d], for one episode (use jax.vmap for "
            f"more); got query {query.shape} and mean {mean.shape}"
        )
    if inner.steps == 0:
        return
    if mean.shape[0] != params.ways:
        raise ValueError(
            f"the posterior has {mean.shape[0]} ways, but the gradient network of these "
            f"parameters is for {params.ways}: make parameters with ways={mean.shape[0]}"
        )
    if summary.shape != (query.shape[0], net.summary_size):
        raise ValueError(
            f"the gradient network reads {net.summary_size} further numbers of each of the "
            f"{query.shape[0]} queries, but summary has shape {summary.shape}"
        )
