"""The fast form of eq. 9 against the general one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sib_jax
from sib_jax import Gaussian, PointMass
from sib_jax.sib import classifier, inner_loop, inner_products
from sib_jax.sib.inner_loop import Inner

WAYS, FEATURES, QUERIES = 3, 20, 9


def _given(summary=False, seed=0):
    keys = jax.random.split(jax.random.key(seed), 4)
    params = sib_jax.init(
        keys[0], ways=WAYS, features=FEATURES, prior=None, summary_size=int(summary)
    )
    return (
        params,
        jax.random.normal(keys[1], (WAYS, FEATURES)),
        jax.random.normal(keys[2], (QUERIES, FEATURES)),
        jax.random.normal(keys[3], (QUERIES, int(summary))),
    )


def _fast(params, theta, query, summary, eta, steps, checkpoint=False):
    return inner_products.adapt(
        params.gradient_net,
        params.classifier,
        theta,
        classifier.normalize(query),
        summary,
        steps=steps,
        step_size=eta,
        checkpoint=checkpoint,
    )


def _general(params, theta, query, summary, eta, steps):
    end = inner_loop.general(
        params,
        PointMass(theta),
        classifier.normalize(query),
        summary,
        Inner(steps, eta),
        key=None,
    ).mean
    return end, classifier.logits(params.classifier, end, query)


@pytest.mark.parametrize("summary", [False, True])
@pytest.mark.parametrize("steps", [1, 3, 12])
def test_theta_and_logits_are_those_of_the_general_form(steps, summary):
    given = (*_given(summary), 0.02)
    for got, wanted in zip(_fast(*given, steps), _general(*given, steps), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("checkpoint", [False, True])
def test_gradients_are_those_of_the_general_form(checkpoint):
    given = (*_given(), 0.02)
    weights = jax.random.normal(jax.random.key(9), (QUERIES, WAYS))

    def loss(form, *given, **options):
        theta, logits = form(*given, steps=3, **options)
        return jnp.sum(jnp.square(theta)) + jnp.sum(weights * logits)

    of = (0, 1, 2, 3, 4)  # every argument
    wanted = jax.jit(jax.grad(lambda *a: loss(_general, *a), of))(*given)
    got = jax.jit(jax.grad(lambda *a: loss(_fast, *a, checkpoint=checkpoint), of))(*given)
    for (path, w), g in zip(
        jax.tree_util.tree_leaves_with_path(wanted), jax.tree.leaves(got), strict=True
    ):
        np.testing.assert_allclose(
            g, w, rtol=1e-3, atol=1e-3 * float(jnp.max(jnp.abs(w), initial=1e-3)), err_msg=str(path)
        )


def test_adapt_gives_the_same_whether_it_takes_the_fast_form_or_not(monkeypatch):
    params, theta, query, _ = _given()
    taken, adapt = [], inner_products.adapt
    monkeypatch.setattr(
        inner_products, "adapt", lambda *a, **options: taken.append(1) or adapt(*a, **options)
    )
    fast = sib_jax.adapt(params, PointMass(theta), query, steps=3, step_size=0.02)
    assert taken == [1]
    # A traced weight of a KL term may be anything, so the general form runs; here it is zero.
    with_prior = params._replace(prior=Gaussian(jnp.zeros(FEATURES), jnp.zeros(FEATURES)))
    general = sib_jax.adapt(
        with_prior, PointMass(theta), query, steps=3, step_size=0.02, beta=jnp.asarray(0.0)
    )
    assert taken == [1]
    np.testing.assert_allclose(fast.mean, general.mean, rtol=1e-5, atol=1e-5)


def test_a_class_without_direction_stays_finite():
    params, theta, query, _ = _given()
    theta = theta.at[1].set(0.0)
    end, logits = inner_loop.adapt_with_logits(params, PointMass(theta), query, Inner(3, 1e-3))
    assert np.all(np.isfinite(end.mean))
    assert np.all(np.isfinite(logits))
