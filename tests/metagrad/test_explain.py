"""What ``explain`` says is held against numbers counted by hand, and against the compiler's own."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mass_jax import metagrad
from mass_jax.metagrad import cost, explain, optimizers
from mass_jax.metagrad.explain import ACCOUNTS
from mass_jax.types import InnerProblem, MetaGradient
from tests.compiler import measured
from tests.metagrad import problems

N, D, OUT, STEPS = 4, 5, 3, 6
PRODUCT = 2 * N * D * OUT
LINEAR = InnerProblem(
    lambda W, meta, batch: 0.5 * jnp.sum(meta["w_N"] * jnp.sum((batch["x"] @ W - batch["y"]) ** 2, axis=1)),
    optimizers.sgd(0.1),
)


def linear_arguments(steps: int = STEPS):
    shape = lambda *dims: jax.ShapeDtypeStruct(dims, jnp.float32)  # noqa: E731
    return shape(D, OUT), {"w_N": shape(N)}, {"x": shape(steps, N, D), "y": shape(steps, N, OUT)}


def large_case(steps: int = 5, wide: int = 512):
    base = problems.base_parameters(width=wide)
    arguments = (problems.fresh_lora(width=wide), problems.make_meta(0.05), problems.make_batches(steps, length=32))
    return problems.lora_problem(base, problems.OPTIMIZERS["adam"]), problems.outer_loss(base), arguments


def explain_case(estimator, case):
    problem, outer, arguments = case
    return explain(estimator, problem, *arguments, outer_loss=outer)


def compiled(estimator, case):
    problem, outer, arguments = case
    return problems.quick_jit(estimator.value_and_grad(problem, outer)).lower(*arguments).compile()


def test_flops_of_a_linear_problem_equal_those_counted_by_hand():
    """In products x @ W or xᵀ @ r, all of one size.

    A plain step is 2: forward, and the gradient of W. Walking a step back is 3: x @ W, x @ v, and xᵀ @ (w · x v). The
    first step is walked back without the last one, for nobody asked for the gradient of the initial point.
    """
    for steps in (1, 2, STEPS):
        found = explain(metagrad.make("adjoint"), LINEAR, *linear_arguments(steps))
        assert found.plain_flops == 2 * steps * PRODUCT
        assert found.flops == (2 * steps + 3 * (steps - 1) + 2) * PRODUCT
        full = explain(metagrad.make("adjoint", init_grad=True), LINEAR, *linear_arguments(steps))
        assert full.flops == (2 + 3) * steps * PRODUCT
        assert full.cost_in_plain_runs == 2.5
        first_order = explain(metagrad.make("first_order"), LINEAR, *linear_arguments(steps))
        diagnostics = 3 * 2 * D * OUT  # inner products of a step's update and gradient
        assert first_order.flops == (2 + 2) * steps * PRODUCT + steps * diagnostics


def test_examples_on_several_devices_are_priced_together():
    spread = LINEAR._replace(axis="examples")
    adjoint = metagrad.make("adjoint")
    assert explain(adjoint, spread, *linear_arguments()) == explain(adjoint, LINEAR, *linear_arguments())


def test_microbatches_change_the_memory_and_not_the_flops():
    whole, parts = (explain(metagrad.make("adjoint", microbatch=m), LINEAR, *linear_arguments()) for m in (None, 1))
    assert whole.flops == parts.flops
    case = large_case()
    whole, parts = (explain_case(metagrad.make("adjoint", microbatch=m), case) for m in (None, 1))
    assert parts.peak_bytes < 0.75 * whole.peak_bytes
    assert parts.stored_bytes == whole.stored_bytes


def test_control_flow_is_counted_as_said():
    x = jnp.ones((3, 3), jnp.float32)
    flops = lambda fn: cost.count_flops(cost.trace(fn, x)[0])  # noqa: E731
    product = 2 * 27
    scanned = flops(lambda x: jax.lax.scan(lambda c, _: (jax.jit(lambda c: c @ c)(c), None), x, length=7)[0])
    assert scanned == (7 * product, 0, ())
    nested = flops(lambda x: jax.lax.fori_loop(0, 5, lambda i, c: jax.lax.map(lambda row: x @ row, c @ c), x))
    assert nested.matmul == 5 * (product + 3 * 18)
    assert flops(lambda x: jax.checkpoint(jnp.sin)(x) @ x).matmul == product
    branch = flops(lambda x: jax.lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x @ x, x))
    assert branch.matmul == 2 * product
    assert "dearest branch" in branch.notes[0]
    loop = flops(lambda x: jax.lax.while_loop(lambda c: c[0, 0] < 9, lambda c: c @ c, x))
    assert loop.matmul == product
    assert "counted once" in loop.notes[0]


def test_dead_code_is_not_counted():
    x = jnp.ones((3, 3), jnp.float32)

    def fn(x):
        (alive, _), _ = jax.lax.scan(lambda c, _: ((c[0] * 2, c[1] @ c[1]), None), (x, x), length=4)
        return alive

    assert cost.count_flops(cost.trace(fn, x)[0]) == (0, 4 * 9, ())


@pytest.mark.parametrize(("padding", "taps"), [("VALID", 3 * 6), ("SAME", 3 * 8 - 2)])
def test_convolutions_count_the_taps_that_fall_inside(padding, taps):
    x, kernel = jnp.ones((2, 5, 8)), jnp.ones((4, 5, 3))  # [batch, in, space], [out, in, space]
    program, _ = cost.trace(lambda x, k: jax.lax.conv_general_dilated(x, k, (1,), padding), x, kernel)
    assert cost.count_flops(program).matmul == 2 * 2 * 4 * 5 * taps
    backward, _ = cost.trace(jax.grad(lambda x: jax.lax.conv_general_dilated(x, kernel, (2,), padding).sum()), x)
    forward, _ = cost.trace(lambda x: jax.lax.conv_general_dilated(x, kernel, (2,), padding), x)
    assert cost.count_flops(backward).matmul == cost.count_flops(forward).matmul


@measured
@pytest.mark.parametrize("name", ["adjoint", "unroll"])
def test_flops_are_the_compiler_s_where_no_loop_hides_a_trip_count(name):
    """K = 1: every loop goes round once."""
    case, estimator = large_case(steps=1), metagrad.make(name, init_grad=True)
    found = explain_case(estimator, case)
    expected = compiled(estimator, case).cost_analysis()["flops"]
    # The compiler counts again what it computes in two fusions, and we do not know its fusions.
    np.testing.assert_allclose(found.flops + found.elementwise_flops, expected, rtol=0.15)


@pytest.mark.parametrize("estimator", [metagrad.make("unroll"), metagrad.make("adjoint")], ids=["unroll", "adjoint"])
def test_the_peak_is_near_the_compiler_s(estimator):
    case = large_case()
    temp = compiled(estimator, case).memory_analysis().temp_size_in_bytes
    assert 0.6 * temp < explain_case(estimator, case).peak_bytes < 1.6 * temp


def test_the_adjoint_walk_stores_what_its_trajectory_says():
    problem, outer, (init, meta, batches) = large_case()
    steps, adapter, count, loss = 5, cost.tree_bytes(init), 4, 8

    def stored(problem, **options):
        found = explain(metagrad.make("adjoint", **options), problem, init, meta, batches, outer)
        return found.residual_bytes - adapter - steps * loss, found.stored_bytes

    assert stored(problem) == (steps * adapter, steps * adapter)
    adam = steps * (4 * adapter + count)
    assert stored(problem, trajectory="states") == stored(problem, trajectory="host") == (adam, adam)
    slots = 4 * (3 * adapter + count)  # of a binary tree over steps 0 ... 4: 0, the last odd one, 2, 4
    assert stored(problem, trajectory="replay") == (slots, slots)
    # Nobody reads the gradients of an optimiser whose derivative is a constant.
    plain = InnerProblem(problem.loss, optimizers.sgd(0.1))
    assert stored(plain, trajectory="states") == (2 * steps * adapter, steps * adapter)


def test_what_crosses_the_boundary_of_unroll_is_the_activations_or_with_remat_the_starts():
    case = large_case()
    adapter = cost.tree_bytes(case[2][0])
    every, starts = (explain_case(metagrad.make("unroll", remat=remat), case) for remat in ("none", "step"))
    assert starts.stored_bytes == 5 * (3 * adapter + 4)
    assert every.stored_bytes > 4 * every.step_bytes > 4 * starts.stored_bytes / 5
    assert every.residual_bytes == starts.residual_bytes == adapter


def test_a_cut_gradient_is_told_from_a_small_one():
    problem, outer, arguments = problems.lora_case("adam", 2)
    reached = {
        name: explain(metagrad.make(name), problem, *arguments, outer_loss=outer)
        for name in ("adjoint", "unroll", "first_order")
    }
    everything = {"meta['log_lr']": True, "meta['sharpness']": True, "meta['weights_KxN']": True}
    assert reached["adjoint"].gradients == reached["unroll"].gradients == everything
    assert reached["first_order"].gradients == everything | {"meta['log_lr']": False}
    assert "Here: meta['log_lr'], init (not asked for)." in " ".join(str(reached["first_order"]).split())
    unread = arguments[1] | {"nobody": jnp.ones(3)}
    for name in reached:
        found = explain(metagrad.make(name), problem, arguments[0], unread, arguments[2])
        assert not found.gradients["meta['nobody']"], name


def test_arrays_and_shapes_give_the_same_and_nothing_is_compiled(recwarn):
    problem, outer, arguments = problems.lora_case("adam", 3)
    jax.block_until_ready(arguments)
    compilations = []

    def listen(event: str, duration: float, **_: object) -> None:
        if "backend_compile" in event:
            compilations.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    from_arrays = explain(metagrad.make("adjoint"), problem, *arguments, outer_loss=outer)
    assert not compilations
    jax.block_until_ready(jax.jit(lambda x: x + 3)(arguments[1]["log_lr"]))
    assert compilations, "the listener hears nothing"
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), arguments)
    assert explain(metagrad.make("adjoint"), problem, *shapes, outer_loss=outer) == from_arrays
    assert not recwarn.list


@pytest.mark.parametrize("name", metagrad.ESTIMATORS)
def test_every_registered_estimator_has_its_account_and_its_sections(name):
    problem, outer, (init, meta, batches) = problems.lora_case("adam", 2)
    found = explain(metagrad.make(name), problem, init, meta, batches, outer)
    text = str(found)
    for section in (
        "FLOPs: ", "Bytes: ", "Stores: ", "Approximates: ", "Assumes: ", "Gradients that pass: ",
        "Gradients that are cut: ", "Diagnostics: ", "Notes: ",
    ):  # fmt: skip
        assert f"\n  {section}" in text
    assert text.startswith(f"{metagrad.make(name)!r}: {'exact' if found.exact else 'approximate'}, K = 2\n")
    assert found.account is ACCOUNTS[name]
    assert (found.account.approximates == "nothing") == found.exact
    assert all(found.account)
    assert found.cost_in_plain_runs > 1
    assert max(map(len, text.splitlines()[1:])) <= 110
    joined = jax.eval_shape(metagrad.make(name).value_and_grad(problem, outer), init, meta, batches)[1]
    assert set(found.diagnostics) == set(joined.diagnostics)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """An estimator that is in no registry and takes no derivative."""

    exact: ClassVar[bool] = False
    needs_cotangent: ClassVar[bool] = False

    def value_and_grad(self, problem, outer_loss):
        def joined(init, meta, batches):
            value = outer_loss(metagrad.base.inner_loop(problem, init, meta, batches)[0])
            return value, MetaGradient(jax.tree.map(lambda leaf: value * jnp.ones_like(leaf), meta), None, {})

        return joined


def test_an_estimator_of_one_s_own_and_a_loss_without_a_second_derivative():
    @jax.custom_vjp
    def kernel(x):
        return jnp.sum(x**2)

    kernel.defvjp(lambda x: (kernel(x), x), lambda x, bar: (2 * jax.pure_callback(np.asarray, x, x) * bar,))
    problem = InnerProblem(lambda W, meta, batch: kernel(batch["x"] @ W), optimizers.sgd(0.1))
    found = explain(Evaluation(), problem, *linear_arguments())
    assert (found.residual_bytes, found.stored_bytes, found.hvp_bytes) == (None, None, None)
    assert found.flops == found.plain_flops > 0
    assert "see the docstring of Evaluation" in str(found)
    text = " ".join(str(found).split())
    assert "no second derivative" in text
    assert "pure_callback is not counted" in text


def test_a_run_without_products_is_compared_elementwise():
    problem = InnerProblem(lambda p, meta, batch: jnp.sum(jnp.sin(p * batch) * meta), optimizers.sgd(0.1))
    found = explain(metagrad.make("adjoint"), problem, jnp.ones(3), jnp.ones(3), jnp.ones((2, 3)))
    assert found.flops == found.plain_flops == 0
    assert found.cost_in_plain_runs > 1
    assert "no matrix product" in str(found)
    assert found.gradients == {"meta": True}
