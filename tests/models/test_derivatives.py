"""What the meta-gradient asks of the model: a jvp of its gradient, right to float64 precision."""

from collections.abc import Iterator
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from mass_jax.models import decoder
from tests.models.tiny import CONFIG, make_adapter, make_params, make_tokens, quick_jit, variant

WEIGHTS = np.array([0.5, 1.0, 1.5])


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


@cache
def second_order(scan_layers, remat, remat_keeps=()):
    """A point and a direction in parameters and adapter, and the program ``(x, v) -> gradient, H v``."""
    config = variant(CONFIG, scan_layers=scan_layers, remat=remat, remat_keeps=remat_keeps)
    params = make_params()
    both = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (params, make_adapter(params)))
    flat, unravel = ravel_pytree(both)
    tokens = make_tokens(3, 6)

    def loss(flat):
        return -jnp.sum(WEIGHTS[:, None] * decoder.token_log_probs(config, *unravel(flat), tokens))

    program = quick_jit(lambda x, v: jax.jvp(jax.grad(loss), (x,), (v,)))
    flat = np.asarray(flat)
    assert flat.dtype == np.float64
    return flat, np.random.default_rng(1).normal(size=flat.shape), program


@pytest.mark.parametrize(("scan_layers", "remat"), [(False, False), (True, True)])
def test_second_derivatives_match_finite_differences(scan_layers, remat):
    x, v, program = second_order(scan_layers, remat)
    exact = np.asarray(program(x, v)[1])
    assert np.abs(exact).max() > 0.1
    for step in (1e-5, 3e-6):
        numeric = (program(x + step * v, v)[0] - program(x - step * v, v)[0]) / (2 * step)
        np.testing.assert_allclose(exact, numeric, rtol=1e-6, atol=1e-6 * np.abs(exact).max())


def test_scan_and_remat_change_no_derivative():
    keeps = ("q_proj", "gate_proj", "down_proj")
    every = second_order(False, False), second_order(True, True), second_order(True, True, keeps)
    expected, *others = (program(x, v) for x, v, program in every)
    for found in others:
        for a, b in zip(expected, found, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


def test_the_mixed_derivative_of_example_weights_is_the_examples_own_gradient():
    config = variant(CONFIG, layers=1)
    params = make_params(config)
    params, adapter = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (params, make_adapter(params)))
    tokens = make_tokens(3, 6)

    def losses(adapter):
        return -decoder.token_log_probs(config, params, adapter, tokens).sum(axis=1)

    @quick_jit
    def both(adapter, weights):
        gradient = jax.grad(lambda adapter, weights: jnp.dot(weights, losses(adapter)))
        _, mixed = jax.jvp(partial(gradient, adapter), (weights,), (np.eye(3)[1],))
        return mixed, jax.grad(lambda adapter: losses(adapter)[1])(adapter)

    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12), *both(adapter, WEIGHTS))
