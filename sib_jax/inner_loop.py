"""Eq. 9: T steps on theta by synthetic gradients, from the queries without their labels."""

import operator

import jax
import jax.numpy as jnp

from sib_jax import classifier, gaussian, gradient_net, inner_products
from sib_jax.classifier import Cosine
from sib_jax.gaussian import Gaussian
from sib_jax.model import Params
from sib_jax.model import logits as mean_logits


def adapt(
    params: Params,
    posterior: Gaussian,
    query: jax.Array,
    *,
    steps: int,
    step_size: float | jax.Array,
    key: jax.Array | None = None,
    samples: int = 1,
    beta: float | jax.Array = 1.0,
    checkpoint: bool = False,
    summary: jax.Array | None = None,
) -> Gaussian:
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
        made to (see `sib_jax.lwof`).

    Returns:
      theta^T, of the form of `posterior`.

    Raises:
      ValueError: negative `steps`, `samples` below 1, no key for a Gaussian, or shapes that do not
        fit.
    """
    return adapt_with_logits(
        params,
        posterior,
        query,
        steps=steps,
        step_size=step_size,
        key=key,
        samples=samples,
        beta=beta,
        checkpoint=checkpoint,
        summary=summary,
    )[0]


def adapt_with_logits(
    params: Params,
    posterior: Gaussian,
    query: jax.Array,
    *,
    steps: int,
    step_size: float | jax.Array,
    key: jax.Array | None = None,
    samples: int = 1,
    beta: float | jax.Array = 1.0,
    checkpoint: bool = False,
    summary: jax.Array | None = None,
) -> tuple[Gaussian, jax.Array]:
    """theta^T, and the logits [n, k] of the queries at its mean; arguments as in `adapt`.

    A point mass without a KL term, under the cosine classifier, takes the fast form of
    `inner_products` where that pays, and then has its logits for nothing.
    """
    steps = operator.index(steps)
    _check(posterior, query, steps, key, samples)
    if steps == 0:
        return posterior, mean_logits(params, posterior, query)
    prepared = classifier.prepare(params.classifier, query)
    if summary is None:
        summary = jnp.zeros((query.shape[0], 0))
    if (
        isinstance(params.classifier, Cosine)
        and posterior.log_std is None
        and (params.prior is None or (isinstance(beta, float | int) and beta == 0))
        and inner_products.pays(query.shape[0], posterior.mean.shape[0], steps)
    ):
        mean, logits = inner_products.adapt(
            params.gradient_net,
            params.classifier,
            posterior.mean,
            prepared,
            summary,
            steps=steps,
            step_size=step_size,
            checkpoint=checkpoint,
        )
        return Gaussian(mean), logits
    adapted = general(
        params,
        posterior,
        prepared,
        summary,
        steps=steps,
        step_size=step_size,
        key=key,
        samples=samples,
        beta=beta,
        checkpoint=checkpoint,
    )
    return adapted, classifier.logits_of_prepared(params.classifier, adapted.mean, prepared)


def general(
    params: Params,
    posterior: Gaussian,
    prepared: jax.Array,
    summary: jax.Array,
    *,
    steps: int,
    step_size: float | jax.Array,
    key: jax.Array | None,
    samples: int,
    beta: float | jax.Array,
    checkpoint: bool,
) -> Gaussian:
    """Eq. 9 for every posterior, prior and classifier: each step one pull-back. The reference form.

    Args:
      params: meta-learned parameters.
      posterior: theta^0, mean [k, d].
      prepared: `classifier.prepare` of the query features, [n, d].
      summary: what the gradient network reads beside the logits, [n, s].
      steps: T, at least 1.
      step_size: as in `adapt`.
      key: likewise.
      samples: likewise.
      beta: likewise.
      checkpoint: likewise.
    """

    def step(theta: Gaussian, t: jax.Array) -> tuple[Gaussian, None]:
        noise = _noise(theta, key, t, samples)
        gradient = _synthetic_gradient(params, theta, prepared, summary, noise)
        prior = params.prior
        if prior is not None:
            pull = jax.grad(lambda q: jnp.sum(gaussian.kl(q, prior)))(theta)
            gradient = jax.tree.map(lambda g, p: g + beta * p, gradient, pull)
        return jax.tree.map(lambda x, g: x - step_size * g, theta, gradient), None

    if checkpoint:
        step = jax.checkpoint(step)
    unroll = inner_products.unroll(steps)
    return jax.lax.scan(step, posterior, jnp.arange(steps), unroll=unroll)[0]


def _synthetic_gradient(
    params: Params, theta: Gaussian, prepared: jax.Array, summary: jax.Array, noise: jax.Array
) -> Gaussian:
    """E_eps sum_j xi(y_j) dy_j/dw dw/dtheta, the mean over the S samples in `noise` [S, k, d]."""

    def sampled_logits(q: Gaussian, epsilon: jax.Array) -> jax.Array:
        weights = gaussian.sample(q, epsilon)
        return classifier.logits_of_prepared(params.classifier, weights, prepared)

    logits, pull_back = jax.vjp(lambda q: jax.vmap(sampled_logits, (None, 0))(q, noise), theta)
    seen = jax.vmap(lambda y: jnp.concatenate([y, summary], axis=1))(logits)
    synthetic = jax.vmap(gradient_net.apply, (None, 0))(params.gradient_net, seen)
    return pull_back(synthetic / noise.shape[0])[0]


def _noise(theta: Gaussian, key: jax.Array | None, t: jax.Array, samples: int) -> jax.Array:
    if theta.log_std is None or key is None:
        return jnp.zeros((1, *theta.mean.shape), theta.mean.dtype)  # a point mass ignores it
    return jax.random.normal(
        jax.random.fold_in(key, t), (samples, *theta.mean.shape), theta.mean.dtype
    )


def _check(
    posterior: Gaussian, query: jax.Array, steps: int, key: jax.Array | None, samples: int
) -> None:
    if steps < 0:
        raise ValueError(f"steps must be 0 or more, got {steps}")
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    if query.ndim != 2 or posterior.mean.ndim != 2 or query.shape[1] != posterior.mean.shape[1]:
        raise ValueError(
            "query must be [n, d] and the posterior mean [k, d], for one episode (use jax.vmap for "
            f"more); got query {query.shape} and mean {posterior.mean.shape}"
        )
    if posterior.log_std is not None and key is None and steps > 0:
        raise ValueError("a Gaussian posterior is sampled in each step: pass key=")
