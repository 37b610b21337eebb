"""One table for every exact estimator: closed forms, finite differences, and what callers may do around them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mass_jax import metagrad
from mass_jax.metagrad import optimizers
from mass_jax.types import InnerOptimizer, InnerProblem
from tests.metagrad import problems
from tests.metagrad.problems import flat, lora_case, meta_gradient, plain_run, quick_jit

NO_REMAT = {"hvp_remat": False, "grad_remat": False}
VARIANTS: dict[str, tuple[str, dict]] = {
    "unroll": ("unroll", {}),
    "unroll-step": ("unroll", {"remat": "step"}),
    "unroll-block": ("unroll", {"remat": "block"}),
    "unroll-python": ("unroll", {"loop": "python", "remat": "step"}),
    "unroll-segments": ("unroll", {"segments": True}),
    "mixed_mode": ("mixed_mode", {}),
    "mixed_mode-microbatch": ("mixed_mode", {"microbatch": 2, "hvp_microbatch": 1, **NO_REMAT}),
    "adjoint": ("adjoint", {}),
    "adjoint-microbatch": ("adjoint", {"microbatch": 2, "hvp_microbatch": 1, **NO_REMAT}),
    "adjoint-states": ("adjoint", {"trajectory": "states"}),
    "adjoint-host": ("adjoint", {"trajectory": "host"}),
    "adjoint-replay": ("adjoint", {"trajectory": "replay"}),
    "adjoint-replay-3": ("adjoint", {"trajectory": "replay", "arity": 3}),
    "forward": ("forward", {"microbatch": 2}),
}
EXACT = {name: metagrad.make(kind, init_grad=True, **options) for name, (kind, options) in VARIANTS.items()}
exact = pytest.mark.parametrize("name", EXACT)
each = pytest.mark.parametrize("name", ["unroll", "mixed_mode", "adjoint", "adjoint-replay", "forward"])


def finite_difference(optimizer: str, steps: int, part: str, step_size: float) -> tuple[np.ndarray, float]:
    """A random direction, and the central difference of the outer loss along it."""
    problem, outer, (init, meta, batches) = lora_case(optimizer, steps)
    place = init if part == "init" else meta[part]
    rng = np.random.default_rng(0)
    direction = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), place)

    def value(h: float) -> float:
        moved = jax.tree.map(lambda leaf, along: leaf + h * along, place, direction)
        start, changed = (moved, meta) if part == "init" else (init, meta | {part: moved})
        return float(outer(plain_run(problem, start, changed, batches)))

    return flat(direction), (value(step_size) - value(-step_size)) / (2 * step_size)


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("optimizer", problems.OPTIMIZERS)
def test_from_a_fresh_lora_they_agree_with_finite_differences_and_to_rounding_with_each_other(optimizer, steps):
    value, reference = meta_gradient(EXACT["unroll"], optimizer, steps)
    assert not np.any(reference.meta["weights_KxN"][steps:])
    assert np.all(np.abs(reference.meta["weights_KxN"][:steps]) > 1e-8)
    for part, gradient in (reference.meta | {"init": reference.init}).items():
        for step_size in (2e-6, 5e-7):
            direction, expected = finite_difference(optimizer, steps, part, step_size)
            np.testing.assert_allclose(flat(gradient) @ direction, expected, rtol=1e-5, atol=1e-9, err_msg=part)
    # The options of one estimator differ in memory, not in what the optimiser is: once, at the longest run.
    for name in EXACT if (optimizer, steps) == ("adam", 5) else ("adjoint", "mixed_mode", "forward"):
        other_value, other = meta_gradient(EXACT[name], optimizer, steps)
        np.testing.assert_allclose(other_value, value, rtol=1e-12)
        for leaf, expected in zip(jax.tree.leaves(other), jax.tree.leaves(reference), strict=True):
            np.testing.assert_allclose(leaf, expected, rtol=1e-10, atol=1e-10 * np.abs(expected).max(), err_msg=name)


@exact
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_closed_form_of_a_quadratic(name, steps):
    """SGD on ½ Σ w_i ‖φ − x_i‖² contracts by r = 1 − lr Σ w to the weighted mean: φ_K = r^K φ_0 + (1 − r^K) x̄."""
    rng = np.random.default_rng(4)
    start, direction, x_NxD, w_N, lr = (
        rng.normal(size=3),
        rng.normal(size=3),
        rng.normal(size=(4, 3)),
        rng.random(4),
        0.3,
    )
    problem = InnerProblem(
        lambda params, meta, batch: 0.5 * jnp.sum(meta["w_N"][:, None][batch["i"]] * (params - batch["x"]) ** 2),
        optimizers.sgd(lambda meta: meta["lr"]),
    )
    batches = {"x": np.tile(x_NxD, (steps, 1, 1)), "i": np.tile(np.arange(4), (steps, 1))}
    joined = EXACT[name].value_and_grad(problem, lambda params: direction @ params)
    # Without jit and on numpy batches it must work as well.
    value, gradient = (joined if (name, steps) == ("adjoint", 2) else quick_jit(joined))(
        jnp.asarray(start), {"w_N": jnp.asarray(w_N), "lr": jnp.asarray(lr)}, batches
    )
    total, mean = w_N.sum(), w_N @ x_NxD / w_N.sum()
    r = 1 - lr * total
    slope = steps * r ** (steps - 1)
    by_weight_NxD = -lr * slope * (start - mean) + (1 - r**steps) / total * (x_NxD - mean)
    np.testing.assert_allclose(value, direction @ (r**steps * start + (1 - r**steps) * mean), rtol=1e-12)
    np.testing.assert_allclose(gradient.meta["w_N"], by_weight_NxD @ direction, rtol=1e-12)
    np.testing.assert_allclose(gradient.meta["lr"], -total * slope * direction @ (start - mean), rtol=1e-12)
    np.testing.assert_allclose(gradient.init, r**steps * direction, rtol=1e-12)


@each
def test_adapt_and_pullback_compiled_apart_equal_the_joined_form(name):
    """And without ``init_grad`` the rest is the same."""
    estimator, (problem, outer, (init, meta, batches)) = (
        dataclasses.replace(EXACT[name], init_grad=False),
        lora_case("adam", 2),
    )
    run = quick_jit(lambda *arguments: estimator.adapt(problem, *arguments))(init, meta, batches)
    np.testing.assert_allclose(flat(run.params), flat(plain_run(problem, init, meta, batches)), rtol=1e-10, atol=1e-13)
    first = problem.loss(init, meta, jax.tree.map(lambda leaf: leaf[0], batches))
    assert run.losses_K.shape == (2,)
    np.testing.assert_allclose(run.losses_K[0], first, rtol=1e-12)
    pullback = quick_jit(lambda *arguments: estimator.pullback(problem, *arguments))
    gradient = pullback(run.residuals, meta, batches, jax.grad(outer)(run.params))
    _, joined = meta_gradient(EXACT[name], "adam", 2)
    assert gradient.init is None
    np.testing.assert_allclose(flat(gradient.meta), flat(joined.meta), rtol=1e-9, atol=1e-13)


def test_without_init_grad_the_adjoint_leaves_out_the_first_hessian_vector_product():
    problem, outer, arguments = lora_case("sgd", 1)
    flops, full_flops = (
        jax.jit(estimator.value_and_grad(problem, outer)).lower(*arguments).cost_analysis()["flops"]
        for estimator in (metagrad.make("adjoint"), EXACT["adjoint"])
    )
    assert flops < 0.8 * full_flops


@each
def test_vmap_and_map_over_problems_with_a_traced_base_equal_one_by_one(name):
    """The loss closes over base parameters that are arguments of the jitted function, as a large model's must be."""
    tasks, steps = 2, 2
    inits = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[problems.fresh_lora(seed) for seed in range(tasks)])
    metas = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[problems.make_meta(0.05, s) for s in range(tasks)])
    batches = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[problems.make_batches(steps, s) for s in range(tasks)])

    def per_task(base):
        problem = problems.lora_problem(base, problems.OPTIMIZERS["adam"])
        return EXACT[name].value_and_grad(problem, problems.outer_loss(base))

    arguments = (problems.base_parameters(), (inits, metas, batches))
    vmapped = quick_jit(lambda base, args: jax.vmap(per_task(base))(*args))(*arguments)
    mapped = quick_jit(lambda base, args: jax.lax.map(lambda a: per_task(base)(*a), args))(*arguments)
    alone = problems.compiled(EXACT[name], "adam")  # here the base is a constant
    singles = [alone(*jax.tree.map(lambda leaf, i=i: leaf[i], arguments[1])) for i in range(tasks)]
    stacked = flat(jax.tree.map(lambda *leaves: jnp.stack(leaves), *singles))
    np.testing.assert_allclose(flat(vmapped), stacked, rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(flat(mapped), stacked, rtol=1e-9, atol=1e-13)


def test_an_optimizer_whose_state_starts_at_the_parameters_and_holds_integers_and_keys():
    """The gradient reaches ``init`` through ``optimizer.init`` too; leaves without a gradient are no obstacle."""

    def update(grads, state, params, meta):
        slow = 0.5 * state["slow"] + 0.5 * params
        pull = 1.0 / (1.0 + state["count"])
        new = params - jnp.exp(meta["log_lr"]) * grads - 0.1 * pull * (params - slow) * params
        return new, {"slow": slow, "count": state["count"] + 1, "key": jax.random.split(state["key"])[0]}

    anchored = InnerOptimizer(lambda p: {"slow": p**2, "count": jnp.int32(0), "key": jax.random.key(0)}, update)
    problem = InnerProblem(lambda p, meta, x: jnp.sum(jnp.sin(p * x)) * jnp.exp(meta["log_lr"]), anchored)
    arguments = (jnp.array([0.3, -0.7]), {"log_lr": jnp.array(-1.0)}, jnp.arange(6.0).reshape(3, 2))
    outer = lambda p: jnp.sum(p**3)  # noqa: E731
    _, expected = quick_jit(EXACT["unroll"].value_and_grad(problem, outer))(*arguments)
    for name in ("adjoint", "adjoint-states", "adjoint-replay", "mixed_mode"):
        _, found = quick_jit(EXACT[name].value_and_grad(problem, outer))(*arguments)
        np.testing.assert_allclose(flat(found), flat(expected), rtol=1e-10, err_msg=name)


@each
def test_float32_stays_float32_and_close(name):
    arguments = lora_case("adam", 2).arguments
    narrow = jax.tree.map(lambda leaf: leaf.astype(jnp.float32) if leaf.dtype == jnp.float64 else leaf, arguments)
    narrow_base = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), problems.base_parameters())
    problem = problems.lora_problem(narrow_base, problems.OPTIMIZERS["adam"])
    _, gradient = quick_jit(EXACT[name].value_and_grad(problem, problems.outer_loss(narrow_base)))(*narrow)
    assert {leaf.dtype for leaf in jax.tree.leaves(gradient)} == {jnp.dtype("float32")}
    _, expected = meta_gradient(EXACT["unroll"], "adam", 2)
    for name, leaf in expected.meta.items():
        error = np.linalg.norm(flat(gradient.meta[name]) - flat(leaf)) / np.linalg.norm(flat(leaf))
        assert error < 1e-4, (name, error)
