"""Everything that is meta-learned, as one pytree, and the two maps that need only parts of it."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from sib_jax import number, prng_key
from sib_jax.sib import checks
from sib_jax.sib import classifier as _classifier
from sib_jax.sib import gradient_net as _gradient_net
from sib_jax.sib import init_net as _init_net
from sib_jax.sib.distributions import Gaussian, Mixture, Posterior, Prior


class Params(NamedTuple):
    """The meta-learned parameters; their types say which form each part has.

    Attributes:
      init_net: lambda.
      gradient_net: xi.
      prior: psi, a Gaussian with mean [d] (every class alike) or [k, d], or a mixture over [d];
        None for no prior, that is, no KL term anywhere (as in the official code).
      classifier: scale and bias of the likelihood.
    """

    init_net: _init_net.InitNet
    gradient_net: _gradient_net.GradientNet
    prior: Prior | None
    classifier: _classifier.Classifier

    @property
    def ways(self) -> int:
        """k, the classes of the tasks that they are for."""
        return self.gradient_net.ways

    @property
    def features(self) -> int:
        """d, the length of the features that they are for."""
        net = self.init_net
        return (net.mean if isinstance(net, _init_net.Global) else net.coefficient).shape[-1]


def init(
    key: jax.Array,
    *,
    ways: int,
    features: int,
    posterior: str = "point",
    prior: str | None = None,
    init_net: str = "support",
    classifier: str = "cosine",
    hidden: int | None = None,
    normalize: bool = True,
    initial_std: float = 0.01,
    prior_std: float = 1.0,
    components: int = 64,
    base_weights: ArrayLike | None = None,
    summary_size: int = 0,
) -> Params:
    """Parameters before any training.

    Args:
      key: PRNG key.
      ways: k, the classes of a task.
      features: d, the length of the backbone's features.
      posterior: "gaussian", or "point" for a point mass.
      prior: "gaussian", "mixture" (for learning without forgetting), or None for no KL term, with
        which a Gaussian posterior would shrink to a point.
      init_net: where theta^0 comes from: "support", "query" (from only x) or "global".
      classifier: "cosine" or "dot".
      hidden: width of the gradient network's hidden layers, 8k unless given.
      normalize: whether the gradient network normalises over the queries.
      initial_std: standard deviation that a Gaussian posterior starts with. Features are
        normalised, so weights have entries of about 1/sqrt(d).
      prior_std: standard deviation that the prior starts with.
      components: of a mixture prior whose means are random.
      base_weights: [b, d], the means that a mixture prior starts with instead; it then has b
        components.
      summary_size: s, further numbers that the gradient network reads of each query beside its k
        logits; 1 for learning without forgetting (see `sib_jax.sib.base_classes`).

    Returns:
      `Params`; float32 throughout (float64 with `jax_enable_x64`).

    Raises:
      TypeError: a number that decides shapes is not a whole number.
      ValueError: one that is too small, an unknown word, base_weights of another shape or beside
        another prior.

    Examples:
      >>> params = init(jax.random.key(0), ways=5, features=640)
      >>> params.init_net.coefficient.shape
      (640,)
    """
    ways = number.whole("ways", ways, 1)
    features = number.whole("features", features, 1)
    components = number.whole("components", components, 1)
    summary_size = number.whole("summary_size", summary_size, 0)
    if hidden is not None:
        hidden = number.whole("hidden", hidden, 1)
    number.positive("initial_std", initial_std)
    number.positive("prior_std", prior_std)
    if base_weights is not None and prior != "mixture":
        raise ValueError(f"base_weights are the means of prior='mixture', but prior is {prior!r}")
    if posterior not in ("gaussian", "point"):
        raise ValueError(f"unknown posterior {posterior!r}; known are 'gaussian' and 'point'")
    if base_weights is not None and not np.size(base_weights):
        raise ValueError(f"base_weights are empty: shape {np.shape(base_weights)}")
    prng_key.check(key)
    init_key, gradient_key, prior_key = jax.random.split(key, 3)
    return Params(
        init_net=_init_net.init(
            init_key,
            kind=init_net,
            ways=ways,
            features=features,
            initial_std=initial_std if posterior == "gaussian" else None,
        ),
        gradient_net=_gradient_net.init(
            gradient_key,
            ways=ways,
            hidden=hidden,
            normalize=normalize,
            summary_size=summary_size,
        ),
        prior=_prior(prior_key, prior, features, prior_std, components, base_weights),
        classifier=_classifier.init(classifier),
    )


def initial_posterior(
    params: Params,
    support: jax.Array | None,
    support_labels: jax.Array | None,
    *,
    ways: int,
    query: jax.Array | None = None,
) -> Posterior:
    """theta^0, what the initialization network makes of a task (section 2 (b)).

    Args:
      params: meta-learned parameters.
      support: support features [m, d]; None for a zero-shot task.
      support_labels: int [m], in 0..ways-1; any number of each.
      ways: k.
      query: query features [n, d]; needed only by init_net="query".

    Returns:
      theta^0, a Gaussian with mean and log_std [k, d] or a point mass with mean [k, d].

    Raises:
      ValueError: the support set is empty but needed, a class has no example in it, shapes or
        labels do not fit.
      TypeError: labels are not integers.
    """
    ways = number.whole("ways", ways, 1)
    from_support = isinstance(params.init_net, _init_net.FromSupport)
    if not from_support and ways != params.ways:
        raise ValueError(f"ways is {ways}, but these parameters are for {params.ways}")
    if isinstance(params.init_net, _init_net.FromQuery) and query is not None:
        query = checks.features("query", query, params.features)
    if from_support and support is not None and support_labels is None:
        raise ValueError("support_labels are missing: give one label for each row of support")
    if support is not None and support_labels is not None:
        listed = isinstance(support_labels, list | tuple)
        empty = not support_labels if listed else np.shape(support_labels) == (0,)
        reads = from_support and not empty
        support = checks.features("support", support, params.features if reads else None)
        support_labels = checks.labels(
            "support_labels",
            support_labels,
            support,
            ways,
            every=ways if reads else 0,
            known_as=f"ways={ways}",
        )
    return _init_net.apply(params.init_net, support, support_labels, query, ways)


def logits(params: Params, posterior: Posterior, query: jax.Array) -> jax.Array:
    """Scores of the queries at the posterior mean.

    Args:
      params: meta-learned parameters.
      posterior: theta, mean [k, d].
      query: query features [n, d].

    Returns:
      [n, k].

    Raises:
      TypeError: `posterior` is not a posterior.
      ValueError: the queries are not [n, d] with the posterior's d.
    """
    checks.posterior(posterior)
    query = checks.features("query", query, posterior.mean.shape[-1])
    return _classifier.logits(params.classifier, posterior.mean, query)


def _prior(
    key: jax.Array,
    kind: str | None,
    features: int,
    std: float,
    components: int,
    means: ArrayLike | None,
) -> Prior | None:
    log_std = jnp.full((features,), math.log(std), float)
    if kind is None:
        return None
    if kind == "gaussian":
        return Gaussian(jnp.zeros(features), log_std)
    if kind == "mixture":
        if means is None:
            means = jax.random.normal(key, (components, features)) / jnp.sqrt(features)
        means = jnp.asarray(means, float)
        if means.ndim != 2 or means.shape[1] != features:
            raise ValueError(f"base_weights must be [components, {features}], got {means.shape}")
        return Mixture(means, log_std)
    raise ValueError(f"unknown prior {kind!r}; known are 'gaussian', 'mixture' and None")
