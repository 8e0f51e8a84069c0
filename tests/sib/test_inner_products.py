"""The fast form of eq. 9 against the general one."""

import functools

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
    rng = np.random.default_rng(seed)
    draw = lambda *shape: rng.standard_normal(shape).astype(np.float32)  # noqa: E731
    params = sib_jax.init(
        jax.random.key(seed), ways=WAYS, features=FEATURES, prior=None, summary_size=int(summary)
    )
    return (
        params,
        draw(WAYS, FEATURES),
        draw(QUERIES, FEATURES),
        draw(QUERIES, int(summary)),
    )


@functools.partial(jax.jit, static_argnames=("steps", "checkpoint"))
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


@functools.partial(jax.jit, static_argnames="steps")
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


@pytest.mark.parametrize(("steps", "summary"), [(1, False), (3, True), (12, True)])
def test_theta_and_logits_are_those_of_the_general_form(steps, summary):
    given = (*_given(summary), 0.02)
    pairs = zip(_fast(*given, steps=steps), _general(*given, steps=steps), strict=True)
    for got, wanted in pairs:
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


def test_gradients_are_those_of_the_general_form():
    given = (*_given(), 0.02)
    weights = np.random.default_rng(9).standard_normal((QUERIES, WAYS)).astype(np.float32)

    def gradient(form, **options):
        def loss(*given):
            theta, logits = form(*given, **options)
            return jnp.sum(jnp.square(theta)) + jnp.sum(weights * logits)

        return jax.jit(jax.grad(loss, (0, 1, 2, 3, 4)))(*given)  # every argument

    wanted = jax.tree_util.tree_leaves_with_path(gradient(_general, steps=4))
    for checkpoint in (False, True):
        got = jax.tree.leaves(gradient(_fast, steps=4, checkpoint=checkpoint))
        for (path, w), g in zip(wanted, got, strict=True):
            atol = 1e-3 * np.max(np.abs(w), initial=1e-3)
            np.testing.assert_allclose(g, w, rtol=1e-3, atol=atol, err_msg=str(path))


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
    theta[1] = 0
    end, logits = inner_loop.adapt_with_logits(params, PointMass(theta), query, Inner(3, 1e-3))
    assert np.all(np.isfinite(end.mean))
    assert np.all(np.isfinite(logits))
