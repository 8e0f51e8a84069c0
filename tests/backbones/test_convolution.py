import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sib_jax.backbones import convolution


def lax_conv(x, kernel, stride):
    layout = ("NHWC", "HWIO", "NHWC")
    padding = ((1, 1), (1, 1))
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=layout
    )


@functools.partial(jax.jit, static_argnums=0)
def value_and_gradients(f, dy, *args):
    y, vjp = jax.vjp(f, *args)
    return y, *vjp(dy)


def normal(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def lax_pool(x):
    window = (1, 2, 2, 1)
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(2, 8, 8, 3), (3, 7, 9, 1), (5, 1, 2, 4)])
def test_conv3x3_equals_lax_in_value_and_gradient(shape, stride):
    x, kernel = normal(*shape), normal(3, 3, shape[-1], 6)
    dy = normal(shape[0], *(-(-n // stride) for n in shape[1:3]), 6)
    wanted = value_and_gradients(functools.partial(lax_conv, stride=stride), dy, x, kernel)
    got = value_and_gradients(lambda x, k: convolution.conv3x3(x, k, stride), dy, x, kernel)
    for ours, theirs in zip(got, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("batch", [6, 7], ids=["two chunks", "and a rest"])
@pytest.mark.parametrize(
    ("c_in", "stride"), [(2, 1), (1, 1), (2, 2)], ids=["rows", "few", "stride"]
)
def test_kernel_gradient_sums_chunks_and_the_rest(monkeypatch, batch, c_in, stride):
    floats = {(2, 1): 8 * 6 * (3 * 2 + 3 * 5), (1, 1): 6 * 6 * (9 + 5), (2, 2): 3 * 3 * (9 * 2 + 5)}
    three_images = 3 * 4 * floats[c_in, stride]
    monkeypatch.setattr(convolution, "_CHUNK_BYTES", three_images)
    x, kernel = normal(batch, 6, 6, c_in), normal(3, 3, c_in, 5)
    got = jax.jit(jax.grad(lambda k: (convolution.conv3x3(x, k, stride) ** 2).sum()))(kernel)
    wanted = jax.jit(jax.grad(lambda k: (lax_conv(x, k, stride) ** 2).sum()))(kernel)
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-3)


def test_both_kernel_gradients_agree():
    """The one for CPUs and the one for other devices."""
    x, dy = normal(4, 9, 7, 3), normal(4, 5, 4, 6)
    forms = convolution._kernel_gradient_by_patches, convolution._kernel_gradient
    found = [jax.jit(form, static_argnums=2)(x, dy, 2) for form in forms]
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-5)


def test_conv3x3_keeps_bfloat16():
    shapes = (2, 4, 4, 3), (3, 3, 3, 2), (2, 4, 4, 2)
    x, kernel, dy = (normal(*shape).astype(jnp.bfloat16) for shape in shapes)
    got = value_and_gradients(convolution.conv3x3, dy, x, kernel)
    exact = [a.astype(np.float32) for a in (dy, x, kernel)]
    wanted = value_and_gradients(functools.partial(lax_conv, stride=1), *exact)
    for ours, theirs in zip(got, wanted, strict=True):
        assert ours.dtype == jnp.bfloat16
        found = np.asarray(ours).astype(np.float32)
        np.testing.assert_allclose(found, theirs, rtol=0.02, atol=0.1)


def test_conv3x3_under_vmap():
    x, kernel = normal(2, 3, 5, 5, 2), normal(3, 3, 2, 4)
    grad = jax.jit(jax.grad(lambda k, x: (convolution.conv3x3(x, k) ** 2).sum()))
    got = jax.jit(jax.vmap(grad, (None, 0)))(kernel, x)
    wanted = np.stack([grad(kernel, x[0]), grad(kernel, x[1])])
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("shape", [(2, 8, 6, 3), (2, 7, 9, 1), (1, 2, 3, 4)])
def test_max_pool_equals_lax_in_value_and_gradient(shape):
    x, dy = normal(*shape), normal(shape[0], shape[1] // 2, shape[2] // 2, shape[3])
    wanted = value_and_gradients(lax_pool, dy, x)
    got = value_and_gradients(convolution.max_pool2x2, dy, x)
    for ours, theirs in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_max_pool_shares_the_gradient_among_ties():
    x = jnp.array([[3.0, 3.0, 1.0, 0.0], [3.0, 3.0, 0.0, 1.0]])[None, :, :, None]
    got = jax.jit(jax.grad(lambda x: convolution.max_pool2x2(x).sum()))(x)
    np.testing.assert_array_equal(got[0, :, :, 0], [[0.25, 0.25, 0.5, 0], [0.25, 0.25, 0, 0.5]])
