"""Differences of gradients: near the exact products, equal to the published formulas, and possible without them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mass_jax import metagrad
from mass_jax.metagrad import optimizers
from mass_jax.types import InnerProblem
from tests.metagrad import problems
from tests.metagrad.problems import flat, lora_case, meta_gradient, plain_run


def relative_error(found, expected) -> float:
    return float(np.linalg.norm(flat(found) - flat(expected)) / np.linalg.norm(flat(expected)))


@pytest.mark.parametrize("optimizer", problems.OPTIMIZERS)
def test_the_walk_is_near_the_exact_one_and_its_error_falls_with_the_square_of_epsilon(optimizer):
    _, exact = meta_gradient(metagrad.make("unroll", init_grad=True), optimizer, 5)
    errors = []
    for epsilon in (1e-2, 1e-3, 1e-4):
        estimator = metagrad.make("finite_difference", epsilon=epsilon, init_grad=True, microbatch=2)
        errors.append(relative_error(meta_gradient(estimator, optimizer, 5)[1][:2], exact[:2]))
    np.testing.assert_allclose(errors[0] / errors[1], 100, rtol=0.05)
    assert errors[2] < 1e-6


def last_step(optimizer: str, steps: int):
    """(problem, meta, last batch, φ before it, φ after it, λ)."""
    problem, outer, (init, meta, batches) = lora_case(optimizer, steps)
    before = plain_run(problem, init, meta, jax.tree.map(lambda leaf: leaf[:-1], batches))
    after = plain_run(problem, init, meta, batches)
    return problem, meta, jax.tree.map(lambda leaf: leaf[-1], batches), before, after, jax.grad(outer)(after)


def mixed_difference(problem, params, meta, batch, along, epsilon):
    """(∇_w ℓ(φ + h v) − ∇_w ℓ(φ − h v)) / 2h, written out."""
    h = epsilon / np.linalg.norm(flat(along))

    def by_meta(sign):
        moved = jax.tree.map(lambda p, v: p + sign * h * v, params, along)
        return flat(jax.grad(problem.loss, argnums=1)(moved, meta, batch))

    return (by_meta(1) - by_meta(-1)) / (2 * h)


def test_darts_is_the_published_formula_at_the_last_step():
    problem, meta, batch, before, _, cotangent = last_step("sgd", 2)
    expected = -0.3 * mixed_difference(problem, before, meta, batch, cotangent, 0.01)
    _, found = meta_gradient(metagrad.make("finite_difference", kind="darts", scale=0.3), "sgd", 2)
    np.testing.assert_allclose(flat(found.meta), expected, rtol=1e-8, atol=1e-14)


def test_the_walk_is_darts_for_one_step_of_sgd():
    rate = problems.RATES["sgd"]
    _, darts = meta_gradient(metagrad.make("finite_difference", kind="darts", scale=rate), "sgd", 1)
    _, walk = meta_gradient(metagrad.make("finite_difference"), "sgd", 1)
    for part in ("weights_KxN", "sharpness"):
        np.testing.assert_allclose(walk.meta[part], darts.meta[part], rtol=1e-9, atol=1e-15)
    assert darts.meta["log_lr"] == 0.0 != walk.meta["log_lr"]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_sama_adapts_the_direction_to_the_optimiser_and_looks_from_where_the_run_ended(optimizer):
    problem, meta, batch, before, after, cotangent = last_step(optimizer, 1)
    grads = jax.grad(problem.loss)(before, meta, batch)
    state = problem.optimizer.init(before)

    def moved(grads):
        return problem.optimizer.update(grads, state, before, meta)[0]

    # The Jacobian of Adam's first step is diagonal, so that a directional derivative along λ is its product with λ.
    adapted = jax.jvp(moved, (grads,), (cotangent,))[1]
    expected = mixed_difference(problem, after, meta, batch, adapted, 0.01)
    _, found = meta_gradient(metagrad.make("finite_difference", kind="sama"), optimizer, 1)
    np.testing.assert_allclose(flat(found.meta), expected, rtol=1e-7, atol=1e-14)


def opaque_problem():
    """A kernel with a first derivative and no second: its backward pass calls out of the program."""

    @jax.custom_vjp
    def kernel(x):
        return jnp.sum(x**4)

    kernel.defvjp(lambda x: (kernel(x), x), lambda x, bar: (bar * jax.pure_callback(lambda v: 4 * v**3, x, x),))
    optimizer = optimizers.sgd(0.01)
    opaque = InnerProblem(lambda p, meta, batch: meta * kernel(batch * p), optimizer)
    clear = InnerProblem(lambda p, meta, batch: meta * jnp.sum((batch * p) ** 4), optimizer)
    return opaque, clear, (jnp.asarray([1.0, -0.5]), jnp.asarray(0.7), jnp.asarray([[1.0, 2.0], [0.5, 1.0]]))


def test_a_kernel_without_a_second_derivative_is_no_obstacle_here_and_an_error_that_names_the_way_out_elsewhere():
    opaque, clear, arguments = opaque_problem()
    _, expected = metagrad.make("adjoint").value_and_grad(clear, jnp.sum)(*arguments)
    _, found = metagrad.make("finite_difference", epsilon=1e-4).value_and_grad(opaque, jnp.sum)(*arguments)
    np.testing.assert_allclose(found.meta, expected.meta, rtol=1e-6)
    for name in ("adjoint", "mixed_mode"):
        with pytest.raises(TypeError, match="without a second derivative .*callback.*finite_difference or evolution"):
            metagrad.make(name).value_and_grad(opaque, jnp.sum)(*arguments)


def test_the_diagnostics_tell_too_wide_from_too_narrow():
    def diagnose(epsilon):
        estimator = metagrad.make("finite_difference", epsilon=epsilon, init_grad=True)
        found = meta_gradient(estimator, "sgd", 2)[1].diagnostics
        return estimator.assumption({name: float(value) for name, value in found.items()})

    assert diagnose(1e-3) is None
    assert "far from linear" in diagnose(10.0)
    assert "is rounding" in diagnose(1e-15)


def test_a_zero_cotangent_gives_zero_and_not_nan():
    problem, _, arguments = lora_case("sgd", 2)
    for kind in ("walk", "darts", "sama"):
        joined = metagrad.make("finite_difference", kind=kind).value_and_grad(problem, lambda p: jnp.zeros(()))
        found = joined(*arguments)
        assert not np.any(flat(found[1].meta))


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="kind = 'betty' is unknown; use one of walk, darts, sama"):
        metagrad.make("finite_difference", kind="betty")
    with pytest.raises(ValueError, match="epsilon = 0.0"):
        metagrad.make("finite_difference", epsilon=0.0)
    with pytest.raises(ValueError, match='knows nothing of the initial point; use kind="walk"'):
        metagrad.make("finite_difference", kind="sama", init_grad=True)
    problem, _, arguments = lora_case("sgd", 1)
    with pytest.raises(ValueError, match="takes the Jacobian of the inner gradient as symmetric"):
        metagrad.make("finite_difference").adapt(problem._replace(gradient=lambda p, m, b: (0.0, p)), *arguments)
