"""The convolution of networks that are adapted, against XLA's own, up to second derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sib_jax.methods.parts.conv_net import _convolution, _kernel_gradient


def by_xla(x, kernel):
    return jax.lax.conv_general_dilated(
        x,
        kernel.reshape(3, 3, x.shape[-1], -1),
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def once(convolution, x, kernel):
    return jnp.sum(jnp.sin(convolution(x, kernel)))


def twice(convolution, x, kernel):
    """Depends on the first derivatives in both operands."""
    both = jax.grad(once, (1, 2))(convolution, x, kernel)
    return sum(jnp.sum(jnp.cos(gradient)) for gradient in both)


@pytest.mark.parametrize("channels", [2, 16])  # whole patches, and rows of them
@pytest.mark.parametrize("size", [(5, 4), (1, 1)])
def test_convolution(channels, size):
    keys = jax.random.split(jax.random.key(channels), 2)
    x = jax.random.normal(keys[0], (3, *size, channels))
    kernel = jax.random.normal(keys[1], (9 * channels, 3)) / channels

    @jax.jit
    def found(x, kernel):
        of = {"value": _convolution(x, kernel), "by XLA": by_xla(x, kernel)}
        for what in (once, twice):
            of[what.__name__] = [
                jax.grad(what, (1, 2))(c, x, kernel) for c in (_convolution, by_xla)
            ]
        return of

    of = found(x, kernel)
    np.testing.assert_allclose(of["value"], of["by XLA"], atol=1e-5)
    for what in ("once", "twice"):
        for ours, wanted in zip(*of[what], strict=True):
            scale = float(jnp.abs(wanted).max())
            np.testing.assert_allclose(ours, wanted, atol=1e-5 * scale, err_msg=what)


def test_a_kernel_s_gradient_of_each_example_of_a_batch():
    keys = jax.random.split(jax.random.key(0), 2)
    x, dy = (
        jax.random.normal(keys[0], (2, 3, 4, 5, 16)),
        jax.random.normal(keys[1], (2, 3, 4, 5, 2)),
    )
    found = jax.vmap(_kernel_gradient)(x, dy)
    for i in range(2):
        wanted = jax.vjp(lambda k, i=i: by_xla(x[i], k), jnp.zeros((144, 2)))[1](dy[i])[0]
        np.testing.assert_allclose(found[i], wanted, atol=1e-5)
