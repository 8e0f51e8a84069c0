import jax
import jax.numpy as jnp
import numpy as np

from sib_jax.sib import gradient_net

LOGITS = np.random.default_rng(1).standard_normal((7, 3)).astype(np.float32)
apply = jax.jit(gradient_net.apply)


def test_hidden_layers_have_eight_times_the_ways():
    net = gradient_net.init(jax.random.key(0), ways=5)
    assert [layer.kernel.shape for layer in net.layers] == [(5, 40), (40, 40), (40, 5)]


def test_without_normalization_each_query_stands_alone():
    net = gradient_net.init(jax.random.key(0), ways=3, normalize=False)
    x = LOGITS
    whole = apply(net, LOGITS)
    np.testing.assert_allclose(apply(net, LOGITS[:2]), whole[:2], rtol=1e-5)
    for i, layer in enumerate(net.layers):
        x = x @ np.asarray(layer.kernel) + np.asarray(layer.bias)
        x = np.maximum(x, 0) if i < 2 else x
    np.testing.assert_allclose(whole, x, rtol=1e-4, atol=1e-6)


def test_with_normalization_a_query_depends_on_the_others():
    net = gradient_net.init(jax.random.key(0), ways=3)
    whole = apply(net, LOGITS)
    assert not np.allclose(apply(net, LOGITS[:2]), whole[:2], rtol=1e-2)


def test_parameters_share_no_buffer_so_they_can_be_donated():
    net = gradient_net.init(jax.random.key(0), ways=3)
    step = jax.jit(lambda n: jax.tree.map(lambda x: x + 1, n), donate_argnums=0)
    assert jnp.all(step(net).normalizations[0].scale == 2)
