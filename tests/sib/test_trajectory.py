import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sib_jax
from sib_jax.sib import classifier, distributions, elbo, gradient_net
from sib_jax.sib.inner_loop import Inner
from sib_jax.sib.trajectory import trajectory

WAYS, FEATURES, QUERIES, BASE = 3, 6, 9, 4


def _episode(base=False):
    rng = np.random.default_rng(0)
    labels = np.arange(QUERIES) % (WAYS + BASE if base else WAYS)
    return sib_jax.Episode(
        rng.normal(size=(WAYS, FEATURES)).astype(np.float32),
        np.arange(WAYS),
        rng.normal(size=(QUERIES, FEATURES)).astype(np.float32),
        labels,
        np.arange(BASE) if base else None,
    )


_trajectory = jax.jit(trajectory, static_argnums=2)
_predict = jax.jit(elbo.predict, static_argnums=2)


def _params(posterior, prior):
    return sib_jax.init(
        jax.random.key(0),
        ways=WAYS,
        features=FEATURES,
        posterior=posterior,
        prior=prior,
        components=BASE,
        initial_std=0.1,
        summary_size=1 if prior == "mixture" else 0,
    )


@pytest.mark.parametrize(
    ("posterior", "prior"), [("point", None), ("gaussian", "gaussian"), ("point", "mixture")]
)
def test_it_ends_where_the_evaluated_head_ends(posterior, prior):
    params, episode = _params(posterior, prior), _episode(prior == "mixture")
    summary = "max" if prior == "mixture" else "none"
    inner, key = Inner(4, 0.1, 2, 0.01, base_summary=summary), jax.random.key(1)
    found = _trajectory(params, episode, inner, key)
    for steps in (0, 1, 4):
        expected = _predict(params, episode, inner._replace(steps=steps), key)
        np.testing.assert_allclose(found.logits[steps], expected, atol=1e-4)


def test_a_loop_by_hand_finds_the_same():
    """Eq. 9 one query and one logit at a time; the true gradient by automatic differentiation."""
    params, episode, eta, beta = _params("point", "gaussian"), _episode(), 0.2, 0.01
    start = sib_jax.initial_posterior(params, episode.support, episode.support_labels, ways=WAYS)

    def scores(w):
        return classifier.logits(params.classifier, w, episode.query)

    def loss(w):
        return -jnp.sum(jax.nn.log_softmax(scores(w))[np.arange(QUERIES), episode.query_labels])

    def kl(w):
        return -jnp.sum(distributions.log_density(params.prior, w))

    @jax.jit
    def parts(w):
        synthetic = gradient_net.apply(params.gradient_net, scores(w))
        return synthetic, jax.jacrev(scores)(w), jax.grad(loss)(w), *jax.value_and_grad(kl)(w)

    w, weights, cosines, kls = np.asarray(start.mean), [], [], []
    for _ in range(3):
        synthetic, jacobian, true, of_kl, by_kl = map(np.asarray, parts(w))
        weights.append(w)
        kls.append(beta * of_kl)
        made = np.einsum("jc,jckd->kd", synthetic, jacobian)
        cosines.append(np.sum(made * true) / np.linalg.norm(made) / np.linalg.norm(true))
        w = w - eta * (made + beta * by_kl)
    found = _trajectory(params, episode, Inner(2, eta, beta=beta), None)
    np.testing.assert_allclose(found.weights, np.stack(weights), atol=1e-5)
    np.testing.assert_allclose(found.cosine, cosines[:2], atol=1e-5)
    np.testing.assert_allclose(found.kl, kls, rtol=1e-5)


def test_the_true_gradient_has_cosine_one_beside_base_classes(monkeypatch):
    """A gradient network that knows the labels; the loss is among all k + b classes."""
    params, episode = _params("gaussian", "mixture"), _episode(base=True)
    inner, key = Inner(1, 0.1, 3, base_summary="max"), jax.random.key(2)
    base = jax.jit(lambda p: elbo.begin(p, episode, inner)[2])(params)

    def knowing(net, seen):
        del net
        loss = lambda y: jnp.sum(  # noqa: E731
            jax.nn.logsumexp(jnp.concatenate([y, base], 1), axis=1)
            - jnp.concatenate([y, base], 1)[np.arange(QUERIES), episode.query_labels]
        )
        return jax.grad(loss)(seen[:, :WAYS])

    monkeypatch.setattr(gradient_net, "apply", knowing)
    found = jax.jit(lambda p: trajectory(p, episode, inner, key))(params)
    np.testing.assert_allclose(found.cosine, 1, atol=1e-5)


def test_a_gaussian_needs_a_key():
    params = sib_jax.init(
        jax.random.key(0), ways=2, features=3, posterior="gaussian", prior="gaussian"
    )
    episode = sib_jax.Episode(jnp.eye(2, 3), jnp.arange(2), jnp.ones((4, 3)), jnp.zeros(4, int))
    with pytest.raises(ValueError, match="pass key="):
        trajectory(params, episode, Inner(2, 0.1))
