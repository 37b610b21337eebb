"""An option that saves memory must move the compiler's own number."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from mass_jax import metagrad
from mass_jax.metagrad import optimizers
from mass_jax.metagrad.microbatch import sum_over_microbatches
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
