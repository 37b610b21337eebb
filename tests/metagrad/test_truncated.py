"""The truncated walk: exact over the whole run, and over a part of it what its definition says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mass_jax import metagrad
from mass_jax.metagrad import cost, optimizers
from mass_jax.types import InnerProblem
from tests.metagrad import problems
from tests.metagrad.problems import cosine, flat, lora_case, meta_gradient, quick_jit
from tests.metagrad.test_what_is_learned import normalized_case


def cut_by_hand(case: problems.Case, window: int):
    """Reverse mode over a Python loop in which the early steps are stopped: no code of the package but the update."""
    problem, outer, (init, meta, batches) = case
    steps = len(batches["step"])
    gradient = problem.gradient or jax.value_and_grad(problem.loss)

    def value(meta):
        params, state = init, problem.optimizer.init(init)
        for t in range(steps):
            grads = gradient(params, meta, jax.tree.map(lambda leaf, t=t: leaf[t], batches))[1]
            params, state = problem.optimizer.update(grads, state, params, meta)
            if t < steps - window:
                params, state = jax.lax.stop_gradient((params, state))
        return outer(params)

    return quick_jit(jax.grad(value))(meta)


@pytest.mark.parametrize("optimizer", problems.OPTIMIZERS)
def test_at_full_horizon_it_is_exact(optimizer):
    _, expected = meta_gradient(metagrad.make("unroll", init_grad=True), optimizer, 5)
    for window in (5, 7):
        _, found = meta_gradient(metagrad.make("truncated", window=window, init_grad=True), optimizer, 5)
        for leaf, like in zip(jax.tree.leaves(found[:2]), jax.tree.leaves(expected[:2]), strict=True):
            np.testing.assert_allclose(leaf, like, rtol=1e-10, atol=1e-10 * np.abs(like).max())
        assert found.diagnostics == {"cut_norm": 0.0}


@pytest.mark.parametrize("window", [1, 3])
@pytest.mark.parametrize("optimizer", problems.OPTIMIZERS)
def test_a_window_is_the_derivative_with_the_early_steps_held_fixed(optimizer, window):
    _, found = meta_gradient(metagrad.make("truncated", window=window), optimizer, 5)
    expected = cut_by_hand(lora_case(optimizer, 5), window)
    np.testing.assert_allclose(flat(found.meta), flat(expected), rtol=1e-9, atol=1e-13)
    assert not np.any(found.meta["weights_KxN"][: 5 - window])
    assert found.init is None
    assert found.diagnostics["cut_norm"] > 0.1


def test_a_gradient_of_the_problem_s_own_is_walked_back_too():
    """As a field whose Jacobian is not symmetric."""
    case = problems.Case(*normalized_case())
    found = quick_jit(metagrad.make("truncated", window=2).value_and_grad(*case[:2]))(*case.arguments)[1]
    np.testing.assert_allclose(flat(found.meta), flat(cut_by_hand(case, 2)), rtol=1e-9, atol=1e-13)


def test_longer_windows_come_nearer_where_the_run_contracts():
    """The strongly convex quadratic forgets: the share of the cotangent at the cut is r to the power of the window."""
    errors = []
    for window in (1, 2, 4):
        found, exact = on_a_quadratic(optimizers.sgd(0.5), 6, window)
        np.testing.assert_allclose(found.diagnostics["cut_norm"], 0.5**window, rtol=1e-12)
        errors.append(abs(found.meta - exact))
    assert errors[0] > errors[1] > errors[2] > 0


def on_a_quadratic(optimizer, steps: int, window: int):
    """(truncated, exact d/d meta) of ½ meta ‖φ − 1‖² from 0."""
    problem = InnerProblem(lambda p, meta, x: 0.5 * meta * jnp.sum((p - x) ** 2), optimizer)
    arguments = (jnp.zeros(2), jnp.asarray(1.0), jnp.ones((steps, 2)))
    found, exact = (
        quick_jit(metagrad.make(name, **options).value_and_grad(problem, jnp.sum))(*arguments)[1]
        for name, options in (("truncated", {"window": window}), ("adjoint", {}))
    )
    return found, exact.meta


def test_the_norm_at_the_cut_sees_what_momentum_carries_past_it():
    """λ is short at these cuts and the momentum's cotangent σ is not: by λ alone they would look harmless."""
    lr, momentum = 0.3, 0.9
    optimizer = optimizers.sgd(lr, momentum=momentum)
    for window in (2, 8):
        along, carried = 1.0, 0.0  # λ and σ of m' = momentum · m + g, φ' = φ − lr · m', with g' = 1
        for _ in range(window):
            grads_bar = carried - lr * along
            along, carried = along + grads_bar, momentum * grads_bar
        assert abs(along) < 0.25
        found, exact = on_a_quadratic(optimizer, 12, window)
        np.testing.assert_allclose(found.diagnostics["cut_norm"], np.hypot(lr * along, carried) / lr, rtol=1e-10)
        assert found.diagnostics["cut_norm"] > 1
        assert abs(found.meta - exact) > 0.1 * abs(exact)


def test_what_is_kept_is_the_window_and_does_not_grow_with_the_run():
    """By ``adapt`` alone and, as the compiler says, by the joined program."""
    estimator = metagrad.make("truncated", window=2)

    def measure(steps: int) -> tuple[int, int]:
        problem, outer, arguments = lora_case("adam", steps)
        run = jax.eval_shape(lambda *args: estimator.adapt(problem, *args), *arguments)
        program = quick_jit(estimator.value_and_grad(problem, outer)).lower(*arguments).compile()
        return cost.tree_bytes(run.residuals.places_W), program.memory_analysis().temp_size_in_bytes

    adapter, count = cost.tree_bytes(lora_case("adam", 3).arguments[0]), 4
    (kept, temp), (kept_long, temp_long) = measure(3), measure(30)
    assert kept == kept_long == 2 * (4 * adapter + count)
    # What grows are the batches, of which the early ones are sliced off, and a loss a step.
    batch = cost.tree_bytes(lora_case("adam", 1).arguments[2])
    assert temp_long - temp <= 27 * (2 * batch + 8)
    assert 27 * adapter > 2 * (temp_long - temp)


def check_vmap(estimator, optimizer: str = "adam", steps: int = 3) -> None:
    """Over problems that differ in everything, the diagnostics included."""
    problem, outer, _ = lora_case(optimizer, steps)
    cases = [(problems.fresh_lora(s), problems.make_meta(0.05, s), problems.make_batches(steps, s)) for s in (1, 2)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *cases)
    found = quick_jit(jax.vmap(estimator.value_and_grad(problem, outer)))(*stacked)
    alone = [problems.compiled(estimator, optimizer)(*case) for case in cases]
    expected = jax.tree.map(lambda *leaves: jnp.stack(leaves), *alone)
    for leaf, like in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(leaf, like, rtol=1e-8, atol=1e-12)


def test_vmap_over_problems_equals_one_by_one():
    check_vmap(metagrad.make("truncated", window=2))


def test_adam_forgets_nothing_in_five_steps_and_the_estimator_says_so(record_property):
    _, exact = meta_gradient(metagrad.make("unroll", init_grad=True), "adam", 5)
    estimator = metagrad.make("truncated", window=3)
    _, found = meta_gradient(estimator, "adam", 5)
    agreement = cosine(found.meta["weights_KxN"], exact.meta["weights_KxN"])
    record_property("cosine", agreement)
    assert agreement < 0.95
    sentence = estimator.assumption({name: float(value) for name, value in found.diagnostics.items()})
    assert "the early steps matter; use a longer window" in sentence
    assert estimator.assumption({"cut_norm": 0.1}) is None
    assert estimator.assumption({"cut_norm": float("nan")})


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="window = 0: at least 1 step"):
        metagrad.make("truncated", window=0)
    problem, outer, arguments = lora_case("sgd", 3)
    estimator = metagrad.make("truncated", window=2, init_grad=True)
    for call in (lambda *a: estimator.adapt(problem, *a), estimator.value_and_grad(problem, outer)):
        with pytest.raises(ValueError, match="window = 2 of K = 3 steps.*use window = 3 or more, init_grad=False, or"):
            jax.eval_shape(call, *arguments)
