"""The truncated walk: exact over the whole run, and over a part of it what its definition says."""

import jax
import numpy as np
import pytest

from mass_jax import metagrad
from tests.metagrad import problems
from tests.metagrad.problems import cosine, flat, lora_case, meta_gradient


def cut_by_hand(optimizer: str, steps: int, window: int):
    """Reverse mode over a Python loop in which the early steps are stopped: no code of the package but the update."""
    problem, outer, (init, meta, batches) = lora_case(optimizer, steps)

    def value(meta):
        params, state = init, problem.optimizer.init(init)
        for t in range(steps):
            batch = jax.tree.map(lambda leaf, t=t: leaf[t], batches)
            params, state = problem.optimizer.update(jax.grad(problem.loss)(params, meta, batch), state, params, meta)
            if t < steps - window:
                params, state = jax.lax.stop_gradient((params, state))
        return outer(params)

    return problems.quick_jit(jax.grad(value))(meta)


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
    _, found = meta_gradient(metagrad.make("truncated", window=window, init_grad=True), optimizer, 5)
    expected = cut_by_hand(optimizer, 5, window)
    np.testing.assert_allclose(flat(found.meta), flat(expected), rtol=1e-9, atol=1e-13)
    assert not np.any(found.meta["weights_KxN"][: 5 - window])
    assert not np.any(flat(found.init))
    assert found.diagnostics["cut_norm"] > 0.1


def test_longer_windows_come_nearer_where_the_run_contracts():
    """The strongly convex quadratic forgets: the share of the cotangent at the cut is r to the power of the window."""
    from mass_jax.metagrad import optimizers
    from mass_jax.types import InnerProblem

    problem = InnerProblem(lambda p, meta, x: 0.5 * meta * ((p - x) ** 2).sum(), optimizers.sgd(0.5))
    arguments = (np.zeros(2), np.asarray(1.0), np.ones((6, 2)))
    exact = metagrad.make("adjoint").value_and_grad(problem, lambda p: p.sum())(*arguments)[1].meta
    errors = []
    for window in (1, 2, 4):
        found = metagrad.make("truncated", window=window).value_and_grad(problem, lambda p: p.sum())(*arguments)[1]
        np.testing.assert_allclose(found.diagnostics["cut_norm"], 0.5**window, rtol=1e-12)
        errors.append(abs(found.meta - exact))
    assert errors[0] > errors[1] > errors[2] > 0


def test_what_is_kept_does_not_grow_with_the_run():
    problem, _, _ = lora_case("adam", 5)
    kept = [
        sum(leaf.nbytes for leaf in jax.tree.leaves(metagrad.make("truncated", window=2).adapt(
            problem, *lora_case("adam", steps).arguments).residuals.places_W))
        for steps in (2, 5)
    ]  # fmt: skip
    assert kept[0] == kept[1]
    assert problems.flat(lora_case("adam", 5).arguments[0]).nbytes * 4 * 2 < kept[0] + 100


def test_adam_forgets_nothing_in_five_steps_and_the_estimator_says_so(record_property):
    _, exact = meta_gradient(metagrad.make("unroll", init_grad=True), "adam", 5)
    estimator = metagrad.make("truncated", window=3, init_grad=True)
    _, found = meta_gradient(estimator, "adam", 5)
    agreement = cosine(found.meta["weights_KxN"], exact.meta["weights_KxN"])
    record_property("cosine", agreement)
    assert agreement < 0.95
    sentence = estimator.assumption({name: float(value) for name, value in found.diagnostics.items()})
    assert "the early steps matter; use a longer window" in sentence
    assert estimator.assumption({"cut_norm": 0.1}) is None


def test_a_window_without_steps_is_refused():
    with pytest.raises(ValueError, match="window = 0: at least 1 step"):
        metagrad.make("truncated", window=0)
