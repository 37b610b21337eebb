"""Differences of gradients: near the exact products, equal to the published formulas, and possible without them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mass_jax import metagrad
from mass_jax.metagrad import cost, optimizers
from mass_jax.types import InnerProblem
from tests.metagrad import problems
from tests.metagrad.problems import cosine, flat, lora_case, meta_gradient, plain_run, quick_jit
from tests.metagrad.test_truncated import check_vmap
from tests.metagrad.test_what_is_learned import normalized_case


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


def adam_slope(grads_K, rate, b1=0.9, b2=0.999, eps=1e-8, eps_root=1e-6):
    """∂/∂g of Adam's last step −rate · m̂ / (√(v̂ + eps_root) + eps), elementwise, from all the gradients so far."""
    m, v = 0.0, 0.0
    for grads in grads_K:
        m, v = b1 * m + (1 - b1) * grads, b2 * v + (1 - b2) * grads**2
    debias_m, debias_v = 1 - b1 ** len(grads_K), 1 - b2 ** len(grads_K)
    root = np.sqrt(v / debias_v + eps_root)
    slope_root = (1 - b2) * grads_K[-1] / debias_v / root
    return -rate * ((1 - b1) / debias_m / (root + eps) - m / debias_m * slope_root / (root + eps) ** 2)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_sama_adapts_the_direction_to_the_optimiser_and_looks_from_where_the_run_ended(optimizer, steps):
    problem, meta, batch, _, after, cotangent = last_step(optimizer, steps)
    init, _, batches = lora_case(optimizer, steps).arguments
    at = lambda t: jax.tree.map(lambda leaf: leaf[t], batches)  # noqa: E731
    until = lambda t: jax.tree.map(lambda leaf: leaf[:t], batches)  # noqa: E731
    gradient = quick_jit(jax.grad(problem.loss))
    grads_K = [gradient(plain_run(problem, init, meta, until(t)), meta, at(t)) for t in range(steps)]
    rate = problems.RATES[optimizer]
    slope = (lambda *past: adam_slope(past, rate)) if optimizer == "adam" else (lambda *past: -rate)
    adapted = jax.tree.map(lambda bar, *past: bar * slope(*map(np.asarray, past)), cotangent, *grads_K)
    expected = mixed_difference(problem, after, meta, batch, adapted, 0.01)
    _, found = meta_gradient(metagrad.make("finite_difference", kind="sama", microbatch=2), optimizer, steps)
    np.testing.assert_allclose(flat(found.meta), expected, rtol=1e-6, atol=1e-13)


def test_sama_is_darts_for_sgd_where_it_does_not_matter_from_where_one_looks():
    """Terms linear in φ, so that ∂²ℓ/∂w∂φ is the same at φ_{K−1} and φ_K, beside a curvature that is not weighted."""
    rate = 0.3
    problem = InnerProblem(lambda p, w_N, x_NxD: w_N @ (x_NxD @ p) + 0.5 * jnp.sum(p**2), optimizers.sgd(rate))
    rng = np.random.default_rng(0)
    arguments = (jnp.asarray(rng.normal(size=3)), jnp.asarray(rng.random(4)), jnp.asarray(rng.normal(size=(2, 4, 3))))
    darts, sama = (
        quick_jit(metagrad.make("finite_difference", **options).value_and_grad(problem, lambda p: jnp.sum(p**3)))(
            *arguments
        )[1].meta
        for options in ({"kind": "darts", "scale": rate}, {"kind": "sama"})
    )
    np.testing.assert_allclose(sama, darts, rtol=1e-9)
    after = plain_run(problem, *arguments)
    np.testing.assert_allclose(darts, -rate * arguments[2][-1] @ (3 * after**2), rtol=1e-9)


def test_how_near_the_kinds_come_to_the_exact_direction_under_adam(record_property):
    """On the last step's own weights adapting the direction pays; to what only earlier steps read both are blind."""
    exact = meta_gradient(metagrad.make("unroll", init_grad=True), "adam", 5)[1].meta["weights_KxN"]
    overall, last = {}, {}
    for kind in ("walk", "darts", "sama"):
        found = meta_gradient(metagrad.make("finite_difference", kind=kind), "adam", 5)[1].meta["weights_KxN"]
        overall[kind], last[kind] = cosine(found, exact), cosine(found[4], exact[4])
        record_property(kind, (overall[kind], last[kind]))
    assert min(overall["walk"], last["walk"]) > 0.9999
    assert last["darts"] < 0.95 < 0.99 < last["sama"]
    assert max(overall["darts"], overall["sama"]) < 0.2


@pytest.mark.parametrize("kind", ["walk", "darts", "sama"])
def test_vmap_over_problems_equals_one_by_one(kind):
    check_vmap(metagrad.make("finite_difference", kind=kind))


def test_what_is_kept_does_not_grow_with_the_run_where_the_last_step_is_all_that_counts():
    adapter = cost.tree_bytes(lora_case("adam", 1).arguments[0])

    def kept(kind: str, steps: int) -> int:
        problem, _, arguments = lora_case("adam", steps)
        estimator = metagrad.make("finite_difference", kind=kind)
        run = jax.eval_shape(lambda *args: estimator.adapt(problem, *args), *arguments)
        return cost.tree_bytes(run.residuals) - 8 * steps  # the losses

    count = 4
    assert [kept("walk", steps) for steps in (1, 5)] == [2 * adapter, 6 * adapter]
    for kind in ("darts", "sama"):
        # φ_0, φ_K, and of the last step φ, g and Adam's two moments.
        assert kept(kind, 1) == kept(kind, 5) == 6 * adapter + count


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
    for broken in ("curvature", "rounding"):
        told = {"curvature": 0.0, "rounding": 0.0} | {broken: float("nan")}
        assert metagrad.make("finite_difference").assumption(told)


def test_a_zero_cotangent_gives_zero_and_not_nan():
    problem, _, arguments = lora_case("sgd", 2)
    for kind in ("walk", "darts", "sama"):
        joined = metagrad.make("finite_difference", kind=kind).value_and_grad(problem, lambda p: jnp.zeros(()))
        found = quick_jit(joined)(*arguments)
        assert not np.any(flat(found[1].meta))


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="kind = 'betty' is unknown; use one of walk, darts, sama"):
        metagrad.make("finite_difference", kind="betty")
    with pytest.raises(ValueError, match="epsilon = 0.0"):
        metagrad.make("finite_difference", epsilon=0.0)
    with pytest.raises(ValueError, match='knows nothing of the initial point; use kind="walk"'):
        metagrad.make("finite_difference", kind="sama", init_grad=True)
    problem, outer, arguments = normalized_case()
    for kind in ("walk", "darts", "sama"):
        estimator = metagrad.make("finite_difference", kind=kind)
        with pytest.raises(ValueError, match="needs a symmetric Jacobian of the inner gradient"):
            jax.eval_shape(estimator.value_and_grad(problem, outer), *arguments)
