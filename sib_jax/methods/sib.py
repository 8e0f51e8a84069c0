"""SIB as a method: theta^0 from the support set, T steps of eq. 9 on the queries, the ELBO as loss.

References:
  Hu et al., "Empirical Bayes Meta-Learning with Synthetic Gradients", whose equation numbers are
    used; its later form is "Empirical Bayes Transductive Meta-Learning with Synthetic Gradients",
    ICLR 2020 (arXiv 2004.12696).
"""

import functools
from typing import Any, NamedTuple

import jax

from sib_jax.methods.method import Classes, Method
from sib_jax.sib import elbo, params
from sib_jax.sib.inner_loop import Inner
from sib_jax.sib.params import Params
from sib_jax.sib.trajectory import Trajectory, trajectory
from sib_jax.tasks.episode import Episode


class Settings(NamedTuple):
    """Hyper-parameters; see `sib_jax.init` and `sib_jax.adapt` for what each means.

    Attributes:
      inner: the inner loop.
      posterior: "point" or "gaussian".
      prior: None, "gaussian", or "mixture" of the base classes.
      learn_prior: False keeps the prior as it starts.
      classifier: "cosine" or "dot".
      initial_std: of a Gaussian posterior, before training.
      prior_std: of the prior, before training.
    """

    inner: Inner = Inner(steps=3, step_size=1e-3)
    posterior: str = "point"
    prior: str | None = None
    learn_prior: bool = True
    classifier: str = "cosine"
    initial_std: float = 0.01
    prior_std: float = 1.0


def make(settings: Settings, ways: int) -> Method:
    """SIB with T = `settings.inner.steps`."""
    inner = settings.inner

    def init(key: jax.Array, classes: Classes) -> Params:
        return _start(
            key,
            classes.base_weights if settings.prior == "mixture" else None,
            ways=ways,
            features=classes.shape[-1],
            posterior=settings.posterior,
            prior=settings.prior,
            classifier=settings.classifier,
            initial_std=settings.initial_std,
            prior_std=settings.prior_std,
            components=max(classes.base, 1),
            summary_size=0 if inner.base_summary == "none" else 1,
        )

    def loss(
        parameters: Params, episode: Episode, key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        # In nats per query: without a KL term, the mean cross-entropy of the official code.
        total, aux = elbo.loss(parameters, episode, inner, key)
        queries = len(episode.query)
        logged = {
            "log_likelihood": aux.log_likelihood / queries,
            "kl": aux.kl / queries,
            "accuracy": aux.accuracy,
        }
        return total / queries, logged

    def logits(parameters: Params, episode: Episode, key: jax.Array) -> jax.Array:
        return elbo.predict(parameters, episode, inner, key)

    def steps(parameters: Params, episode: Episode, key: jax.Array) -> Trajectory:
        return trajectory(parameters, episode, inner, key)

    def samples(parameters: Params, episode: Episode, key: jax.Array, count: int) -> jax.Array:
        return elbo.samples(parameters, episode, inner, key, count)

    return Method(
        name=f"SIB {settings.posterior}",
        init=init,
        logits=logits,
        loss=loss,
        serves=("lwof",) if settings.prior == "mixture" else ("standard",),
        steps=inner.steps,
        trajectory=steps if inner.steps else None,
        samples=None if settings.posterior == "point" else samples,
        frozen=None if settings.learn_prior else _prior,
    )


# As one program, for all heads alike: compiled one by one, its small steps would take seconds.
@functools.partial(
    jax.jit,
    static_argnames=(
        *("ways", "features", "posterior", "prior", "classifier", "initial_std", "prior_std"),
        *("components", "summary_size"),
    ),
)
def _start(key: jax.Array, base_weights: jax.Array | None, **settings: Any) -> Params:
    return params.init(key, base_weights=base_weights, **settings)


def _prior(parameters: Params) -> Any:
    learned = jax.tree.map(lambda _: False, parameters)
    return learned._replace(prior=jax.tree.map(lambda _: True, parameters.prior))
