"""An option that saves memory must move the compiler's own number."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mass_jax import metagrad
from mass_jax.metagrad import cost, optimizers
from mass_jax.metagrad.microbatch import check_additive, sum_over_microbatches
from mass_jax.types import InnerProblem
from tests.compiler import measured
from tests.metagrad import problems

STEPS = 5


@functools.cache
def temp_bytes(name: str, **options: object) -> int:
    base = problems.base_parameters(width=512)
    problem = problems.lora_problem(base, optimizers.adam(problems.learned_rate))
    arguments = (
        problems.fresh_lora(width=512),
        problems.make_meta(0.05),
        problems.make_batches(STEPS, length=32),
    )
    joined = metagrad.make(name, **options).value_and_grad(problem, problems.outer_loss(base))
    return problems.quick_jit(joined).lower(*arguments).compile().memory_analysis().temp_size_in_bytes


def test_remat_keeps_one_step_of_activations():
    assert temp_bytes("unroll", remat="step") < 0.5 * temp_bytes("unroll")


def test_the_adjoint_walk_keeps_one_step_of_activations():
    assert temp_bytes("adjoint") < 0.5 * temp_bytes("unroll")


def test_microbatches_keep_fewer_examples():
    assert temp_bytes("adjoint", microbatch=1) < 0.75 * temp_bytes("adjoint")


def test_microbatches_give_scalars_to_every_part_and_add_up():
    batch = {"x": jnp.arange(6.0), "step": jnp.asarray(2)}
    calls = []

    def fn(part):
        calls.append(part["x"].shape)
        return {"sum": jnp.sum(part["x"] ** part["step"]), "parts": jnp.asarray(1)}

    total = sum_over_microbatches(fn, batch, 2)
    assert set(calls) == {(2,)}
    np.testing.assert_array_equal(total["sum"], 55.0)
    np.testing.assert_array_equal(total["parts"], 3)


@pytest.mark.parametrize(
    ("batch", "size", "sentence"),
    [
        ({"x": jnp.ones(6)}, 4, "microbatch = 4 does not divide the 6 examples.*use a divisor of 6"),
        ({"x": jnp.ones(6)}, 0, "microbatch = 0 does not divide"),
        ({"x": jnp.ones(6), "y": jnp.ones(3)}, 3, r"one example axis.*found lengths \[3, 6\]"),
        ({"x": jnp.ones(())}, 1, r"one example axis.*found lengths \[\]"),
    ],
)
def test_microbatches_that_do_not_fit_are_refused(batch, size, sentence):
    with pytest.raises(ValueError, match=sentence):
        sum_over_microbatches(lambda part: part, batch, size)


def test_a_loss_that_is_not_a_sum_over_examples_is_found_by_a_probe():
    problem, _, (init, meta, batches) = problems.lora_case("sgd", 1)
    batch = {name: leaf[0] for name, leaf in batches.items()}
    check_additive(problem, init, meta, batch, 2)

    def mean(lora, meta, batch):
        return problem.loss(lora, meta, batch) / len(batch["example"])

    with pytest.raises(ValueError, match=r"not a sum over examples: .* on a whole batch, .* microbatches of 2"):
        check_additive(problem._replace(loss=mean), init, meta, batch, 2)
    with pytest.raises(ValueError, match="not a sum over examples: nan"):
        check_additive(problem._replace(loss=lambda *_: jnp.float32(jnp.nan)), init, meta, batch, 2)


def deep_case(remat: bool, steps: int = 2, examples: int = 64):
    """A loss that scans over its layers, with or without rematerialisation of its own."""
    layers, width = 12, 32
    rng = np.random.default_rng(0)

    def layer(h, w):
        return jnp.tanh(h @ w), None

    def loss(params, meta, batch):
        out, _ = jax.lax.scan(jax.checkpoint(layer) if remat else layer, batch["x"], params)
        return jnp.sum(meta["w_N"][:, None] * (out - batch["y"]) ** 2)

    problem = InnerProblem(loss, optimizers.sgd(0.01))
    x_KxNxD, y_KxNxD = rng.normal(size=(2, steps, examples, width))
    arguments = (
        jnp.asarray(rng.normal(size=(layers, width, width)) / width**0.5),
        {"w_N": jnp.ones(examples)},
        {"x": jnp.asarray(x_KxNxD), "y": jnp.asarray(y_KxNxD)},
    )
    return problem, lambda params: jnp.sum(params**2), arguments


def measure_deep(name: str, rematerialised: bool, **options: object):
    """(temp bytes, FLOPs of the products, meta-gradient)."""
    problem, outer, arguments = deep_case(rematerialised)
    joined = metagrad.make(name, **options).value_and_grad(problem, outer)
    executable = problems.quick_jit(joined).lower(*arguments).compile()
    flops = cost.count_flops(cost.trace(joined, *arguments)[0]).matmul
    return executable.memory_analysis().temp_size_in_bytes, flops, executable(*arguments)[1].meta["w_N"]


@pytest.mark.parametrize("name", ["adjoint", "mixed_mode"])
def test_the_second_order_products_may_keep_what_the_loss_rematerialises(name):
    small, many, expected = measure_deep(name, rematerialised=True)
    large, few, found = measure_deep(name, rematerialised=True, hvp_remat=False)
    assert large > 1.3 * small
    assert few < 0.9 * many
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@measured
@pytest.mark.parametrize("name", ["adjoint", "mixed_mode"])
def test_the_gradients_may_keep_what_the_second_order_products_rematerialise(name):
    """For less memory than the products would take without it, and a pass over the model less."""
    small, many, expected = measure_deep(name, rematerialised=True)
    alike, few, found = measure_deep(name, rematerialised=True, grad_remat=False)
    large, fewest, _ = measure_deep(name, rematerialised=True, hvp_remat=False, grad_remat=False)
    assert small <= alike < 0.8 * large
    assert fewest < few < 0.95 * many
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_block_remat_is_put_into_a_loss_that_has_none():
    step, few, expected = measure_deep("unroll", rematerialised=False, remat="step")
    block, many, found = measure_deep("unroll", rematerialised=False, remat="block")
    assert block < 0.75 * step
    assert few < many
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_segments_and_replay_keep_the_parameters_at_few_steps():
    """An inner run of all parameters, sixteen steps long and with few examples: what is kept is parameters."""

    def temp(name: str, **options: object) -> float:
        problem, outer, arguments = deep_case(remat=True, steps=16, examples=4)
        problem = problem._replace(optimizer=optimizers.adam(0.01))
        joined = metagrad.make(name, **options).value_and_grad(problem, outer)
        parameters = arguments[0].nbytes
        return problems.quick_jit(joined).lower(*arguments).compile().memory_analysis().temp_size_in_bytes / parameters

    assert temp("unroll", remat="step", segments=True) < temp("unroll", remat="step") - 3 * 6
    states, gradients, replay = (temp("adjoint", trajectory=kind) for kind in ("states", "gradients", "replay"))
    assert gradients < states - 45  # 16 (one gradient a step) in place of 64 (parameters, two moments, gradient)
    assert replay < states - 45  # 5 slots of 3
    assert temp("adjoint", trajectory="replay", arity=4) > replay + 3  # 7 slots of 3


def test_the_gradients_of_a_run_grow_by_one_adapter_a_step():
    def temp(steps: int) -> int:
        problem, outer, arguments = deep_case(remat=True, steps=steps, examples=4)
        problem = problem._replace(optimizer=optimizers.adam(0.01))
        joined = metagrad.make("adjoint").value_and_grad(problem, outer)
        return problems.quick_jit(joined).lower(*arguments).compile().memory_analysis().temp_size_in_bytes

    parameters = deep_case(remat=True)[2][0].nbytes
    assert (temp(24) - temp(8)) / 16 == pytest.approx(parameters, rel=0.02)
