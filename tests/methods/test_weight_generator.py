"""The weight generators of Gidaris and Komodakis, against the numbers in tests/parity."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from differences import agrees_with_differences

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
    rng = np.random.default_rng(seed)
    draw = lambda n: rng.standard_normal((n, features)).astype(np.float32)  # noqa: E731
    return draw(sum(shots)), np.repeat(np.arange(len(shots)), shots), draw(4)


def _init(generator, classes=7, features=6):
    base = np.random.default_rng(9).standard_normal((classes, features)).astype(np.float32)
    init = jax.jit(weight_generator.init, static_argnums=1)
    return init(jax.random.key(1), generator, base)


_novel_weights = jax.jit(weight_generator.novel_weights, static_argnames="ways")


@pytest.mark.parametrize(
    ("name", "params_of"), [("lwof_average", _average), ("lwof_attention", _attention)]
)
def test_agrees_with_the_official_code(name, params_of):
    arrays = dict(np.load(PARITY / f"{name}.npz"))  # constants inside the program
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
    alone = attention._replace(attention=jnp.zeros(6))
    found = _novel_weights(alone, np.arange(7), support, labels, ways=3)
    want = _novel_weights(averaging, np.arange(7), support, labels, ways=3)
    np.testing.assert_allclose(found, want, rtol=1e-6)


def test_sharp_attention_picks_the_base_class_whose_key_fits():
    params = _init("attention")
    params = params._replace(to_query=jnp.eye(6), sharpness=jnp.asarray(1e4), average=jnp.zeros(6))
    keys, base = (np.asarray(rows)[[2, 6]] for rows in (params.keys, params.base))
    found = _novel_weights(params, np.asarray([5, 2, 6]), 3 * keys, np.arange(2), ways=2)
    want = base / np.linalg.norm(base, axis=1, keepdims=True)
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-6)


def test_classes_that_do_not_take_part_have_no_influence():
    params = _init("attention")
    ids = np.asarray([0, 2, 3])

    def total(params):
        return jnp.sum(weight_generator.logits(params, ids, *_random_episode(), ways=3))

    gradient = jax.jit(jax.grad(total))(params)
    for rows in map(np.asarray, (gradient.base, gradient.keys)):
        np.testing.assert_array_equal(rows[[1, 4, 5, 6]], 0)
        assert np.all(np.any(rows[ids] != 0, axis=1))


@pytest.mark.parametrize("generator", weight_generator.GENERATORS)
def test_gradients(generator):
    support, labels, query = _random_episode()

    weights = np.random.default_rng(1).standard_normal((4, 5)).astype(np.float32)

    def weighted(params, support):
        ids = np.asarray([3, 0])
        scores = weight_generator.logits(params, ids, support, labels, query, ways=3)
        return jnp.sum(weights * jax.nn.log_softmax(scores))

    given = (_init(generator, classes=4), support)
    agrees_with_differences(weighted, given, eps=1e-3, rtol=2e-2, atol=2e-2)


def test_in_the_standard_setting_attention_has_nothing_to_attend_to():
    support, labels, query = _random_episode()
    episode = Episode(support, labels, query, np.zeros(4, np.int32))
    classes = Classes((6,), 7, np.ones((7, 6), np.float32))
    for generator in weight_generator.GENERATORS:
        method = weight_generator.make(Settings(generator), ways=3)
        params = method.init(jax.random.key(0), classes)
        if generator == "average":
            found = jax.jit(lambda p, of=method: of.logits(p, episode, None))(params)
            assert found.shape == (4, 3)
        else:
            with pytest.raises(ValueError, match="setting='lwof'"):
                method.logits(params, episode, None)
