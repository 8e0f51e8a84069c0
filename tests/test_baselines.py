"""The peers of the paper's tables, against the numbers in tests/parity (see its README)."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from sib_jax import baselines
from sib_jax.baselines import Attention, FeatureAveraging, Matching, Prototypical
from sib_jax.classifier import Cosine

PARITY = Path(__file__).parent / "parity"
CLOSE = {"rtol": 4e-5, "atol": 4e-5}
WAYS = 5


def _prototypical(arrays):
    return Prototypical(arrays["param/scale_cls"][0])


def _matching(arrays):
    return Matching(arrays["param/scale_cls"][0])


def _cosine(arrays):
    return Cosine(arrays["param/scale_cls"][0], arrays["param/bias"][0])


def _average(arrays):
    return FeatureAveraging(
        base=arrays["param/weight_base"],
        average=arrays["param/wnLayerFavg.weight"],
        classifier=_cosine(arrays),
    )


def _attention(arrays):
    return Attention(
        base=arrays["param/weight_base"],
        average=arrays["param/wnLayerFavg.weight"],
        attention=arrays["param/wnLayerWatt.weight"],
        keys=arrays["param/attblock.wkeys"],
        to_query=arrays["param/attblock.queryLayer.weight"].T,
        to_query_bias=arrays["param/attblock.queryLayer.bias"],
        sharpness=arrays["param/attblock.scale_att"][0],
        classifier=_cosine(arrays),
    )


def _arrays(name):
    return {key: jnp.asarray(value) for key, value in np.load(PARITY / f"{name}.npz").items()}


def _random_episode(shots=(2, 1, 3), features=6, seed=0):
    support_key, query_key = jax.random.split(jax.random.key(seed))
    labels = jnp.repeat(jnp.arange(len(shots)), jnp.asarray(shots), total_repeat_length=sum(shots))
    support = jax.random.normal(support_key, (sum(shots), features))
    return support, labels, jax.random.normal(query_key, (4, features))


METRIC = [
    ("prototypical", _prototypical, baselines.prototypical_logits),
    ("matching", _matching, baselines.matching_logits),
]
GENERATORS = [("lwof_average", _average), ("lwof_attention", _attention)]


@pytest.mark.parametrize(("name", "params_of", "logits"), METRIC)
def test_agrees_with_the_official_metric_networks(name, params_of, logits):
    arrays, params = _arrays(name), params_of(_arrays(name))
    batched = jax.jit(jax.vmap(lambda *episode: logits(params, *episode, ways=WAYS)))
    found = batched(arrays["support"], arrays["support_labels"], arrays["query"])
    np.testing.assert_allclose(found, arrays["scores"], **CLOSE)
    one = logits(
        params, arrays["support"][1], arrays["support_labels"][1], arrays["query"][1], ways=WAYS
    )
    np.testing.assert_allclose(one, arrays["scores"][1], **CLOSE)


@pytest.mark.parametrize(("name", "params_of"), GENERATORS)
def test_agrees_with_the_official_weight_generators(name, params_of):
    arrays, params = _arrays(name), params_of(_arrays(name))
    given = (arrays["base_ids"], arrays["support"], arrays["support_labels"])

    def weights(*episode):
        return baselines.base_and_novel_weights(params, *episode, ways=WAYS)

    def scores(*episode):
        return baselines.generated_logits(params, *episode, ways=WAYS)

    np.testing.assert_allclose(jax.jit(jax.vmap(weights))(*given), arrays["weights"], **CLOSE)
    found = jax.jit(jax.vmap(scores))(*given, arrays["query"])
    np.testing.assert_allclose(found, arrays["scores"], **CLOSE)


def test_prototypical_network_with_scale_d_is_the_summed_squared_distance():
    support, labels, query = _random_episode()
    params = Prototypical(jnp.asarray(float(support.shape[1])))
    found = baselines.prototypical_logits(params, support, labels, query, ways=3)
    means = np.stack([np.mean(support[labels == k], axis=0) for k in range(3)])
    want = -np.sum(np.square(np.asarray(query)[:, None] - means[None]), axis=-1)
    np.testing.assert_allclose(found, want, rtol=1e-5)


def test_matching_network_gives_probabilities_that_sum_to_one():
    found = baselines.matching_logits(baselines.init_matching(), *_random_episode(), ways=3)
    np.testing.assert_allclose(jnp.sum(jnp.exp(found), axis=1), 1, rtol=1e-6)


def test_matching_network_is_bounded_for_a_class_without_examples():
    support, labels, query = _random_episode()
    params = Matching(jnp.asarray(1000.0))

    def total(support):
        return jnp.sum(baselines.matching_logits(params, support, labels, query, ways=4))

    found = baselines.matching_logits(params, support, labels, query, ways=4)
    np.testing.assert_allclose(found[:, 3], np.log(1e-7), rtol=1e-6)
    assert jnp.all(jnp.isfinite(jax.grad(total)(support)))


def test_attention_without_its_share_is_feature_averaging():
    support, labels, _ = _random_episode()
    attention = baselines.init_attention(jax.random.key(1), classes=7, features=6)
    averaging = FeatureAveraging(attention.base, attention.average, attention.classifier)
    found = baselines.novel_weights(
        attention._replace(attention=jnp.zeros(6)), jnp.arange(7), support, labels, ways=3
    )
    want = baselines.novel_weights(averaging, jnp.arange(7), support, labels, ways=3)
    np.testing.assert_allclose(found, want, rtol=1e-6)


def test_sharp_attention_picks_the_base_class_whose_key_fits():
    params = baselines.init_attention(jax.random.key(1), classes=7, features=6)
    params = params._replace(to_query=jnp.eye(6), sharpness=jnp.asarray(1e4), average=jnp.zeros(6))
    ids = jnp.asarray([5, 2, 6])
    support = 3 * params.keys[jnp.asarray([2, 6])]
    found = baselines.novel_weights(params, ids, support, jnp.arange(2), ways=2)
    base = params.base[jnp.asarray([2, 6])]
    want = base / jnp.linalg.norm(base, axis=1, keepdims=True)
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-6)


def test_classes_that_do_not_take_part_have_no_influence():
    params = baselines.init_attention(jax.random.key(1), classes=7, features=6)
    ids = jnp.asarray([0, 2, 3])

    def total(params):
        return jnp.sum(baselines.generated_logits(params, ids, *_random_episode(), ways=3))

    gradient = jax.grad(total)(params)
    for rows in (gradient.base, gradient.keys):
        np.testing.assert_array_equal(rows[jnp.asarray([1, 4, 5, 6])], 0)
        assert jnp.all(jnp.any(rows[ids] != 0, axis=1))


@pytest.mark.parametrize("kind", ["prototypical", "matching", "averaging", "attention"])
def test_gradients(kind):
    support, labels, query = _random_episode()
    logits, params = {
        "prototypical": (baselines.prototypical_logits, baselines.init_prototypical()),
        "matching": (baselines.matching_logits, baselines.init_matching()),
        "averaging": (
            baselines.generated_logits,
            baselines.init_feature_averaging(jax.random.key(2), classes=4, features=6),
        ),
        "attention": (
            baselines.generated_logits,
            baselines.init_attention(jax.random.key(2), classes=4, features=6),
        ),
    }[kind]
    ids = (jnp.asarray([3, 0]),) if kind in ("averaging", "attention") else ()

    @jax.jit
    def log_probabilities(params, support):
        scores = logits(params, *ids, support, labels, query, ways=3)
        return jax.nn.log_softmax(scores)

    check_grads(
        log_probabilities, (params, support), order=1, modes=["rev"], rtol=2e-2, atol=2e-2, eps=1e-3
    )


def test_an_empty_or_misshapen_support_set_is_told():
    params, query = baselines.init_prototypical(), jnp.ones((2, 3))
    with pytest.raises(ValueError, match="support set is empty"):
        baselines.prototypical_logits(
            params, jnp.zeros((0, 3)), jnp.zeros(0, jnp.int32), query, ways=5
        )
    with pytest.raises(ValueError, match=r"\(4, 3\) and \(3,\)"):
        baselines.prototypical_logits(
            params, jnp.zeros((4, 3)), jnp.zeros(3, jnp.int32), query, ways=5
        )
