import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from differences import agrees_with_differences

import sib_jax
from sib_jax import Gaussian, Mixture, PointMass
from sib_jax.sib import gradient_net

WAYS, FEATURES, QUERIES = 3, 8, 12


def _params(posterior="point", prior="gaussian", **options):
    return sib_jax.init(
        jax.random.key(0),
        ways=WAYS,
        features=FEATURES,
        posterior=posterior,
        prior=prior,
        initial_std=0.1,
        components=4,
        **options,
    )


def _episode(seed=0, shots=2):
    rng = np.random.default_rng(seed)
    return sib_jax.Episode(
        rng.standard_normal((WAYS * shots, FEATURES)).astype(np.float32),
        np.repeat(np.arange(WAYS), shots),
        rng.standard_normal((QUERIES, FEATURES)).astype(np.float32),
        np.arange(QUERIES) % WAYS,
    )


def _assert_close(one, other, tolerance):
    close = functools.partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance)
    jax.tree.map(close, one, other)


def _start(params, episode):
    return sib_jax.initial_posterior(params, episode.support, episode.support_labels, ways=WAYS)


@pytest.mark.parametrize("posterior", ["point", "gaussian"])
def test_no_steps_change_nothing(posterior):
    params, episode = _params(posterior), _episode()
    start = _start(params, episode)
    end = sib_jax.adapt(params, start, episode.query, steps=0, step_size=1.0)
    jax.tree.map(np.testing.assert_array_equal, start, end)


def _logits_and_jacobian(kind, weights, query):
    """Scores [n, k], and their derivatives by the class's own weights [n, k, d], in float64."""
    weights, query = np.float64(weights), np.float64(query)
    if kind == "dot":
        return query @ weights.T, np.broadcast_to(query[:, None], (len(query), *weights.shape))
    lengths = np.linalg.norm(weights, axis=1, keepdims=True)
    directions = weights / lengths
    unit = query / np.linalg.norm(query, axis=1, keepdims=True)
    cosines = unit @ directions.T
    across = unit[:, None] - cosines[..., None] * directions
    return 10 * cosines, 10 * across / lengths


def _prior_gradient(prior, weights):
    """d log p / dw, in float64."""
    if prior is None:
        return np.zeros_like(weights)
    means = np.float64(prior.means if isinstance(prior, Mixture) else prior.mean[None])
    apart = (means - np.float64(weights)[:, None]) / np.exp(np.float64(prior.log_std))  # [k, c, d]
    near = np.exp(-0.5 * np.square(apart).sum(2))
    near /= near.sum(1, keepdims=True)
    return (near[..., None] * apart).sum(1) / np.exp(np.float64(prior.log_std))


_synthetic = jax.jit(gradient_net.apply)


@pytest.mark.parametrize(
    ("kind", "prior"),
    [("cosine", None), ("cosine", "mixture"), ("dot", None), ("dot", "gaussian")],
)
def test_a_step_of_a_point_mass_is_eq_9_written_out(kind, prior):
    # The sum over queries, with the derivative of each logit, and the prior's gradient.
    params, episode = _params(prior=prior, classifier=kind), _episode()
    start, eta, beta = _start(params, episode), 0.1, 0.5
    logits, jacobian = _logits_and_jacobian(kind, start.mean, episode.query)
    synthetic = _synthetic(params.gradient_net, logits.astype(np.float32))
    expected = np.einsum("nk,nkd->kd", synthetic, jacobian)
    expected -= beta * _prior_gradient(params.prior, start.mean)
    end = sib_jax.adapt(params, start, episode.query, steps=1, step_size=eta, beta=beta)
    np.testing.assert_allclose(end.mean, start.mean - eta * expected, atol=1e-5)


@pytest.mark.parametrize(("given", "samples"), [({}, 1), ({"samples": 4}, 4)])
def test_a_step_of_a_gaussian_moves_mean_and_log_std_by_the_reparameterized_gradient(
    given, samples
):
    params, episode = _params("gaussian", prior=None), _episode()
    start, key = _start(params, episode), jax.random.key(5)
    end = sib_jax.adapt(params, start, episode.query, steps=1, step_size=1.0, key=key, **given)
    noise = np.asarray(jax.random.normal(jax.random.fold_in(key, 0), (samples, WAYS, FEATURES)))
    mean, std = np.asarray(start.mean), np.exp(start.log_std)
    by_mean, by_log_std = 0.0, 0.0
    for epsilon in noise:
        logits, jacobian = _logits_and_jacobian("cosine", mean + std * epsilon, episode.query)
        synthetic = _synthetic(params.gradient_net, logits.astype(np.float32))
        by_weights = np.einsum("nk,nkd->kd", synthetic, jacobian)
        by_mean += by_weights / samples
        by_log_std += by_weights * std * epsilon / samples
    np.testing.assert_allclose(mean - end.mean, by_mean, atol=1e-5)
    np.testing.assert_allclose(start.log_std - end.log_std, by_log_std, atol=1e-5)


def test_without_synthetic_gradient_the_posterior_descends_to_the_prior():
    params, episode = _params("gaussian"), _episode()
    silent = jax.tree.map(jnp.zeros_like, params.gradient_net)
    prior = Gaussian(jnp.full(FEATURES, 0.2), jnp.full(FEATURES, -1.0))
    params = params._replace(gradient_net=silent, prior=prior)
    end = sib_jax.adapt(
        params,
        _start(params, episode),
        episode.query,
        steps=500,
        step_size=0.05,
        key=jax.random.key(0),
    )
    np.testing.assert_allclose(end.mean, 0.2, atol=1e-4)
    np.testing.assert_allclose(end.log_std, -1.0, atol=1e-4)


@pytest.mark.parametrize("posterior", ["point", "gaussian"])
def test_gradients_through_all_steps_are_those_of_finite_differences(posterior):
    params, episode = _params(posterior, "mixture"), _episode()

    def loss(params, support, query, step_size):
        return sib_jax.negative_elbo(
            params,
            episode._replace(support=support, query=query),
            steps=4,
            step_size=step_size,
            key=jax.random.key(1),
            samples=2,
            beta=0.1,
        )[0]

    with jax.enable_x64(True):
        arguments = jax.tree.map(np.float64, (params, episode.support, episode.query, 0.05))
        agrees_with_differences(loss, arguments, eps=1e-7, rtol=1e-5, atol=1e-5)


def test_checkpointing_changes_memory_not_values():
    """In the general form; `test_inner_products` has the fast one."""
    params, episode = _params("gaussian"), _episode()

    def loss(params, checkpoint):
        return sib_jax.negative_elbo(
            params,
            episode,
            steps=5,
            step_size=0.05,
            key=jax.random.key(1),
            checkpoint=checkpoint,
        )[0]

    gradient = jax.jit(jax.value_and_grad(loss), static_argnums=1)
    plain, checkpointed = gradient(params, False), gradient(params, True)
    _assert_close(plain, checkpointed, 1e-4)


def test_fifty_steps_stay_finite():
    params, episode = _params("gaussian"), _episode()
    loss = lambda p: sib_jax.negative_elbo(  # noqa: E731
        p, episode, steps=50, step_size=1e-3, key=jax.random.key(1), checkpoint=True
    )[0]
    gradient = jax.jit(jax.grad(loss))(params)
    assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(gradient))


@pytest.mark.parametrize("prior", ["gaussian", "mixture"])
def test_a_gaussian_of_vanishing_scale_is_the_point_mass(prior):
    point, episode = _params(prior=prior), _episode()
    thin = point._replace(init_net=point.init_net._replace(log_std=jnp.full(FEATURES, -14.0)))
    options = {"steps": 4, "step_size": 0.05}
    expected = sib_jax.adapt(point, _start(point, episode), episode.query, **options)
    found = sib_jax.adapt(
        thin, _start(thin, episode), episode.query, key=jax.random.key(3), **options
    )
    np.testing.assert_allclose(found.mean, expected.mean, atol=2e-4)


@pytest.mark.parametrize("posterior", ["point", "gaussian"])
def test_query_labels_cannot_influence_the_posterior(posterior):
    params, episode = _params(posterior), _episode()

    @jax.jit
    def final(labels):
        return sib_jax.negative_elbo(
            params,
            episode._replace(query_labels=labels),
            steps=4,
            step_size=0.1,
            key=jax.random.key(0),
        )

    (loss, aux), (other_loss, other) = final(episode.query_labels), final(episode.query_labels * 0)
    assert loss != other_loss
    jax.tree.map(np.testing.assert_array_equal, aux.posterior, other.posterior)


def test_the_order_of_the_queries_does_not_matter():
    params, episode = _params(), _episode()
    order = np.random.default_rng(2).permutation(QUERIES)
    start = _start(params, episode)
    one = sib_jax.adapt(params, start, episode.query, steps=3, step_size=0.1)
    other = sib_jax.adapt(params, start, episode.query[order], steps=3, step_size=0.1)
    np.testing.assert_allclose(one.mean, other.mean, atol=1e-5)


def test_permuted_classes_permute_the_result():
    # xi is no equivariant network: its first and last layer are permuted alike.
    params, episode = _params(), _episode()
    permutation = np.asarray([2, 0, 1])
    inverse = np.argsort(permutation)
    first, second, last = jax.tree.map(np.asarray, params.gradient_net.layers)
    layers = (
        first._replace(kernel=first.kernel[inverse]),
        second,
        last._replace(kernel=last.kernel[:, inverse], bias=last.bias[inverse]),
    )
    permuted = params._replace(gradient_net=params.gradient_net._replace(layers=layers))
    relabelled = episode._replace(support_labels=permutation[episode.support_labels])

    def scores(params, episode, steps):
        end = sib_jax.adapt(
            params, _start(params, episode), episode.query, steps=steps, step_size=0.1
        )
        return np.asarray(sib_jax.logits(params, end, episode.query))

    for steps in (0, 3):
        np.testing.assert_allclose(
            scores(permuted, relabelled, steps)[:, permutation],
            scores(params, episode, steps),
            atol=1e-4,
        )


def test_vmap_over_episodes_is_a_loop_over_them():
    params = _params("gaussian", "mixture")
    batch = [_episode(seed) for seed in range(4)]
    keys = jax.random.split(jax.random.key(9), 4)

    def loss(params, episode, key):
        return sib_jax.negative_elbo(params, episode, steps=4, step_size=0.05, key=key)[0]

    gradient = jax.jit(jax.value_and_grad(loss))
    stacked = jax.tree.map(lambda *x: np.stack(x), *batch)
    at_once = jax.jit(jax.vmap(gradient, (None, 0, 0)))(params, stacked, keys)
    one_by_one = [gradient(params, e, k) for e, k in zip(batch, keys, strict=True)]
    one_by_one = jax.tree.map(lambda *x: np.stack(x), *one_by_one)
    _assert_close(at_once, one_by_one, 2e-4)


def test_bad_arguments_are_named():
    params, episode = _params("gaussian"), _episode()
    start = _start(params, episode)
    with pytest.raises(ValueError, match="support_labels are missing"):
        sib_jax.initial_posterior(params, episode.support, None, ways=WAYS)
    with pytest.raises(ValueError, match="pass key="):
        sib_jax.adapt(params, start, episode.query, steps=1, step_size=0.1)
    with pytest.raises(ValueError, match="steps must be at least 0, got -1"):
        sib_jax.adapt(params, start, episode.query, steps=-1, step_size=0.1)
    with pytest.raises(ValueError, match=r"step_size must be one number, got .* shape \(3,\)"):
        sib_jax.adapt(params, start, episode.query, steps=1, step_size=np.full(3, 0.1))
    with pytest.raises(ValueError, match="samples must be at least 1"):
        sib_jax.adapt(
            params, start, episode.query, steps=1, step_size=0.1, samples=0, key=jax.random.key(0)
        )
    with pytest.raises(ValueError, match="one episode"):
        sib_jax.adapt(params, start, episode.query[None], steps=1, step_size=0.1)
    for wrong in ({"beta": -1.0}, {"step_size": jnp.asarray(-0.1)}, {"step_size": float("nan")}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be 0 or more"):
            sib_jax.adapt(params, start, episode.query, **({"steps": 1, "step_size": 0.1} | wrong))


def test_mixture_prior_pulls_towards_the_nearest_component():
    params, episode = _params(), _episode()
    means = 3 * np.eye(2, FEATURES, dtype=np.float32)
    params = params._replace(
        gradient_net=jax.tree.map(jnp.zeros_like, params.gradient_net),
        prior=Mixture(means, jnp.full(FEATURES, -1.0)),
    )
    start = PointMass(np.stack([means[0] * 0.9, means[1] * 0.9, means[0] * 0.8]))
    end = sib_jax.adapt(params, start, episode.query, steps=200, step_size=0.01)
    np.testing.assert_allclose(end.mean, means[[0, 1, 0]], atol=1e-2)


@pytest.mark.parametrize("classifier", ["cosine", "dot"])
def test_single_precision_stays_so_where_double_is_at_hand(classifier):
    params = sib_jax.init(jax.random.key(0), ways=3, features=4, classifier=classifier)
    query, mean = jnp.ones((5, 4)), jnp.eye(3, 4)

    def adapt(mean):
        return sib_jax.adapt(params, PointMass(mean), query, steps=2, step_size=0.1).mean

    wanted = adapt(mean)
    with jax.enable_x64(True):
        assert adapt(mean).dtype == jnp.float32
        np.testing.assert_allclose(adapt(mean), wanted, rtol=1e-6)
    for other in (jnp.bfloat16, jnp.int32):
        np.testing.assert_allclose(adapt(mean.astype(other)), wanted, rtol=1e-6)


@pytest.mark.parametrize(  # the fast form and the general one
    ("queries", "dtype"), [(5, jnp.bfloat16), (500, jnp.bfloat16), (500, jnp.float16)]
)
def test_half_precision_throughout(queries, dtype):
    params = sib_jax.init(jax.random.key(0), ways=3, features=4)
    given = params, PointMass(jnp.eye(3, 4)), jax.random.normal(jax.random.key(1), (queries, 4))
    wanted = sib_jax.adapt(*given, steps=2, step_size=0.1).mean
    half = jax.tree.map(lambda x: x.astype(dtype), given)
    found = sib_jax.adapt(*half, steps=2, step_size=0.1).mean
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, wanted, atol=0.1 * np.abs(wanted).max())


@pytest.mark.parametrize("posterior", ["point", "gaussian"])
def test_outside_jit_nothing_is_compiled_twice(posterior):
    """A scan is, where nothing is around it: seconds and megabytes a call."""
    params, episode = _params(posterior), _episode()
    table = sib_jax.feature_table(jnp.ones((40, FEATURES)), np.repeat(range(4), 10))
    start = _start(params, episode)

    def calls(seed):
        key = jax.random.key(seed)
        of_steps = {"steps": 3, "step_size": 0.1, "key": key}
        sib_jax.adapt(params, start, episode.query + seed, **of_steps)
        sib_jax.negative_elbo(params, episode, **of_steps)
        for shares in ("balanced", "dirichlet:2"):
            sib_jax.sample(key, table, ways=3, shots=1, queries=2, query_classes=shares)

    calls(0)
    compiled = []

    def listen(event, *_, **__):
        compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        calls(1)
        assert not [event for event in compiled if "backend_compile" in event]
        jax.jit(lambda x: x + len(compiled))(1.0)  # such events there are
        assert [event for event in compiled if "backend_compile" in event]
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.parametrize(
    ("posterior", "options"),
    [("point", {}), ("point", {"beta": 0.0}), ("gaussian", {"beta": 0.5, "samples": 2})],
)
def test_the_compiled_form_is_the_traced_one(posterior, options):
    params, episode = _params(posterior), _episode()
    of = {"steps": 4, "step_size": 0.1, "key": jax.random.key(3), **options}
    eager = sib_jax.adapt(params, _start(params, episode), episode.query, **of)
    traced = jax.jit(lambda p, e: sib_jax.adapt(p, _start(p, e), e.query, **of))
    _assert_close(eager, traced(params, episode), 1e-5)


@pytest.mark.parametrize("key", [0, 1.5, "0", np.arange(2)])
def test_a_seed_is_no_key(key):
    params, episode = _params("gaussian"), _episode()
    start = _start(params, episode)
    table = sib_jax.feature_table(jnp.ones((20, FEATURES)), np.repeat(range(4), 5))
    for call in (
        lambda: sib_jax.init(key, ways=2, features=3),
        lambda: sib_jax.adapt(params, start, episode.query, steps=1, step_size=0.1, key=key),
        lambda: sib_jax.negative_elbo(params, episode, steps=1, step_size=0.1, key=key),
        lambda: sib_jax.elbo(params, start, episode.query, episode.query_labels, key=key),
        lambda: sib_jax.sample(key, table, ways=2, shots=1, queries=1),
    ):
        with pytest.raises(TypeError, match=r"must be a PRNG key, such as jax\.random\.key\(0\)"):
            call()
