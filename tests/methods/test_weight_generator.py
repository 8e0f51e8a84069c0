"""The weight generators of Gidaris and Komodakis, against the numbers in tests/parity."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from sib_jax.methods import Classes, weight_generator
from sib_jax.methods.weight_generator import Attention, Average, Settings
from sib_jax.sib.classifier import Cosine
from sib_jax.tasks.episode import Episode

PARITY = Path(__file__).parents[1] / "parity"
CLOSE = {"rtol": 4e-5, "atol": 4e-5}
WAYS = 5


def _average(arrays):
    return Average(
        base=arrays["param/weight_base"],
        average=arrays["param/wnLayerFavg.weight"],
        classifier=Cosine(arrays["param/scale_cls"][0], arrays["param/bias"][0]),
    )


def _attention(arrays):
    return Attention(
        **_average(arrays)._asdict(),
        attention=arrays["param/wnLayerWatt.weight"],
        keys=arrays["param/attblock.wkeys"],
        to_query=arrays["param/attblock.queryLayer.weight"].T,
        to_query_bias=arrays["param/attblock.queryLayer.bias"],
        sharpness=arrays["param/attblock.scale_att"][0],
    )


def _random_episode(shots=(2, 1, 3), features=6, seed=0):
    support_key, query_key = jax.random.split(jax.random.key(seed))
    labels = jnp.repeat(jnp.arange(len(shots)), jnp.asarray(shots), total_repeat_length=sum(shots))
    support = jax.random.normal(support_key, (sum(shots), features))
    return support, labels, jax.random.normal(query_key, (4, features))


def _init(generator, classes=7, features=6):
    base = jax.random.normal(jax.random.key(9), (classes, features))
    return weight_generator.init(jax.random.key(1), generator, base)


@pytest.mark.parametrize(
    ("name", "params_of"), [("lwof_average", _average), ("lwof_attention", _attention)]
)
def test_agrees_with_the_official_code(name, params_of):
    arrays = {k: jnp.asarray(v) for k, v in np.load(PARITY / f"{name}.npz").items()}
    params = params_of(arrays)
    given = (arrays["base_ids"], arrays["support"], arrays["support_labels"])
    base = arrays["base_ids"].shape[1]  # the official code has them first

    weights = jax.jit(jax.vmap(lambda *e: weight_generator.novel_weights(params, *e, ways=WAYS)))
    np.testing.assert_allclose(weights(*given), arrays["weights"][:, base:], **CLOSE)
    scores = jax.jit(jax.vmap(lambda *e: weight_generator.logits(params, *e, ways=WAYS)))
    found = scores(*given, arrays["query"])
    np.testing.assert_allclose(found[..., WAYS:], arrays["scores"][..., :base], **CLOSE)
    np.testing.assert_allclose(found[..., :WAYS], arrays["scores"][..., base:], **CLOSE)


def test_attention_without_its_share_is_feature_averaging():
    support, labels, _ = _random_episode()
    attention = _init("attention")
    averaging = Average(attention.base, attention.average, attention.classifier)
    found = weight_generator.novel_weights(
        attention._replace(attention=jnp.zeros(6)), jnp.arange(7), support, labels, ways=3
    )
    want = weight_generator.novel_weights(averaging, jnp.arange(7), support, labels, ways=3)
    np.testing.assert_allclose(found, want, rtol=1e-6)


def test_sharp_attention_picks_the_base_class_whose_key_fits():
    params = _init("attention")
    params = params._replace(to_query=jnp.eye(6), sharpness=jnp.asarray(1e4), average=jnp.zeros(6))
    ids = jnp.asarray([5, 2, 6])
    support = 3 * params.keys[jnp.asarray([2, 6])]
    found = weight_generator.novel_weights(params, ids, support, jnp.arange(2), ways=2)
    base = params.base[jnp.asarray([2, 6])]
    want = base / jnp.linalg.norm(base, axis=1, keepdims=True)
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-6)


def test_classes_that_do_not_take_part_have_no_influence():
    params = _init("attention")
    ids = jnp.asarray([0, 2, 3])

    def total(params):
        return jnp.sum(weight_generator.logits(params, ids, *_random_episode(), ways=3))

    gradient = jax.grad(total)(params)
    for rows in (gradient.base, gradient.keys):
        np.testing.assert_array_equal(rows[jnp.asarray([1, 4, 5, 6])], 0)
        assert jnp.all(jnp.any(rows[ids] != 0, axis=1))


@pytest.mark.parametrize("generator", weight_generator.GENERATORS)
def test_gradients(generator):
    support, labels, query = _random_episode()

    @jax.jit
    def log_probabilities(params, support):
        ids = jnp.asarray([3, 0])
        scores = weight_generator.logits(params, ids, support, labels, query, ways=3)
        return jax.nn.log_softmax(scores)

    given = (_init(generator, classes=4), support)
    check_grads(log_probabilities, given, order=1, modes=["rev"], rtol=2e-2, atol=2e-2, eps=1e-3)


def test_in_the_standard_setting_attention_has_nothing_to_attend_to():
    support, labels, query = _random_episode()
    episode = Episode(support, labels, query, jnp.zeros(4, jnp.int32))
    classes = Classes((6,), 7, jnp.ones((7, 6)))
    for generator in weight_generator.GENERATORS:
        method = weight_generator.make(Settings(generator), ways=3)
        params = method.init(jax.random.key(0), classes)
        if generator == "average":
            assert method.logits(params, episode, None).shape == (4, 3)
        else:
            with pytest.raises(ValueError, match="setting='lwof'"):
                method.logits(params, episode, None)
