"""First-order attribution: exact where it should be, wrong where it should be, and it says which."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mass_jax import metagrad
from mass_jax.metagrad import cost
from tests.metagrad import problems
from tests.metagrad.problems import compiled, cosine, flat, lora_case, meta_gradient, plain_run, quick_jit
from tests.metagrad.test_truncated import check_vmap
from tests.metagrad.test_what_is_learned import normalized_case

RATE = problems.RATES["sgd"]


def test_exact_for_one_step_of_sgd_except_for_the_hyperparameters():
    _, gradient = meta_gradient(metagrad.make("first_order", scale=RATE), "sgd", 1)
    _, exact = meta_gradient(metagrad.make("unroll", init_grad=True), "sgd", 1)
    for part in ("weights_KxN", "sharpness"):
        np.testing.assert_allclose(gradient.meta[part], exact.meta[part], rtol=1e-10, atol=1e-15)
    assert gradient.meta["log_lr"] == 0.0 != exact.meta["log_lr"]
    assert gradient.init is None
    for value in gradient.diagnostics.values():
        np.testing.assert_allclose(value, 1.0, rtol=1e-10)


def test_is_minus_scale_times_the_alignment_of_each_example_gradient():
    problem, outer, (init, meta, batches) = lora_case("adam", 2)
    _, gradient = meta_gradient(metagrad.make("first_order", scale=0.3, init_grad=True, microbatch=1), "adam", 2)
    cotangent = jax.grad(outer)(plain_run(problem, init, meta, batches))
    np.testing.assert_allclose(flat(gradient.init), flat(cotangent), rtol=1e-9, atol=1e-13)
    for t in range(2):
        params = plain_run(problem, init, meta, jax.tree.map(lambda leaf, t=t: leaf[:t], batches))
        batch = jax.tree.map(lambda leaf, t=t: leaf[t], batches)
        for i in range(problems.N):
            weights = jnp.zeros_like(meta["weights_KxN"]).at[t, i].set(1.0)
            example_grad = jax.grad(problem.loss)(params, meta | {"weights_KxN": weights}, batch)
            expected = -0.3 * flat(cotangent) @ flat(example_grad)
            np.testing.assert_allclose(gradient.meta["weights_KxN"][t, i], expected, rtol=1e-8)


def test_the_last_step_s_term_alone():
    _, last = meta_gradient(metagrad.make("first_order", steps="last", scale=0.3, init_grad=True), "adam", 3)
    _, every = meta_gradient(metagrad.make("first_order", scale=0.3, init_grad=True), "adam", 3)
    np.testing.assert_allclose(last.meta["weights_KxN"][2], every.meta["weights_KxN"][2], rtol=1e-10)
    assert not np.any(last.meta["weights_KxN"][:2])
    assert np.all(np.abs(every.meta["weights_KxN"][:2]) > 1e-8)
    np.testing.assert_allclose(flat(last.init), flat(every.init), rtol=1e-10, atol=1e-15)

    problem, _, (init, meta, batches) = lora_case("adam", 3)
    before = plain_run(problem, init, meta, jax.tree.map(lambda leaf: leaf[:2], batches))
    update = flat(plain_run(problem, init, meta, batches)) - flat(before)
    grads = flat(jax.grad(problem.loss)(before, meta, jax.tree.map(lambda leaf: leaf[2], batches)))
    lengths = np.linalg.norm(update), np.linalg.norm(grads)
    np.testing.assert_allclose(last.diagnostics["update_cosine"], -update @ grads / np.prod(lengths), rtol=1e-8)
    np.testing.assert_allclose(last.diagnostics["update_ratio"], lengths[0] / (0.3 * lengths[1]), rtol=1e-8)


def test_what_is_kept_are_the_parameters_of_the_steps_that_are_used():
    problem, _, arguments = lora_case("adam", 5)
    adapter = cost.tree_bytes(arguments[0])

    def kept(steps: str) -> int:
        estimator = metagrad.make("first_order", steps=steps)
        run = jax.eval_shape(lambda *args: estimator.adapt(problem, *args), *arguments)
        return cost.tree_bytes(run.residuals.used_W.params)

    assert (kept("all"), kept("last")) == (5 * adapter, adapter)


def test_a_gradient_of_the_problem_s_own_is_pulled_back_by_reverse_mode():
    problem, outer, (init, meta, batches) = normalized_case()
    estimator = metagrad.make("first_order", scale=0.3)
    _, found = quick_jit(estimator.value_and_grad(problem, outer))(init, meta, batches)

    def alignment(meta):
        """−scale · Σ_t ⟨λ, G(φ_t, w)⟩, of which everything but w in G is held fixed."""
        params, state, fields = init, problem.optimizer.init(init), []
        for t in range(len(batches["step"])):
            grads = problem.gradient(params, meta, jax.tree.map(lambda leaf, t=t: leaf[t], batches))[1]
            fields.append(grads)
            params, state = jax.lax.stop_gradient(problem.optimizer.update(grads, state, params, meta))
        cotangent = jax.lax.stop_gradient(jax.grad(outer)(params))
        return -0.3 * sum(optax.tree.vdot(cotangent, field) for field in fields)

    np.testing.assert_allclose(flat(found.meta), flat(quick_jit(jax.grad(alignment))(meta)), rtol=1e-8, atol=1e-13)


@pytest.mark.parametrize("steps", ["all", "last"])
def test_vmap_over_problems_equals_one_by_one(steps):
    check_vmap(metagrad.make("first_order", steps=steps))


def test_unknown_steps_are_refused():
    with pytest.raises(ValueError, match='steps = \'first\' is unknown; use "all" or "last"'):
        metagrad.make("first_order", steps="first")


def test_adam_is_what_it_misses_and_the_diagnostic_says_so(record_property):
    def compare(optimizer: str, rate: float) -> tuple[float, float]:
        init, _, batches = lora_case(optimizer, 5).arguments
        first_order, exact = (
            compiled(estimator, optimizer)(init, problems.make_meta(rate), batches)[1]
            for estimator in (metagrad.make("first_order"), metagrad.make("adjoint", init_grad=True))
        )
        agreement = cosine(first_order.meta["weights_KxN"], exact.meta["weights_KxN"])
        return agreement, float(first_order.diagnostics["update_cosine"])

    agreement, diagnostic = compare("sgd", 1e-3)
    assert agreement > 0.9999
    np.testing.assert_allclose(diagnostic, 1.0, rtol=1e-9)
    agreement, diagnostic = compare("adam", problems.RATES["adam"])
    record_property("adam_cosine", agreement)
    assert agreement < 0.8
    assert diagnostic < 0.8


def test_without_any_gradient_the_diagnostics_are_zero_not_nan():
    init, meta, batches = lora_case("sgd", 5).arguments
    nothing = meta | {"weights_KxN": jnp.zeros_like(meta["weights_KxN"])}
    _, gradient = compiled(metagrad.make("first_order"), "sgd")(init, nothing, batches)
    assert gradient.diagnostics == {"update_cosine": 0.0, "update_ratio": 0.0}
