"""Credits through the real model, in float64, against what they say: losses with and without, and gradients alone."""

from collections.abc import Iterator
from functools import partial

import jax
import numpy as np
import pytest

from mass_jax.mass import attribution, credit
from mass_jax.mass.actor import Actor
from mass_jax.mass.credit import COMPLETE, LEAVE_ONE_OUT, MARGINAL, NORM_FLOOR, NORMALIZED, PATH_POINTS, CreditAt
from mass_jax.mass.packing import mean_log_probs
from mass_jax.models import lora
from mass_jax.types import PyTree
from tests.mass import tiny
from tests.mass.test_attribution import PROBLEMS, Case, attributed, error, make_inputs

CASES = [Case("sgd", 2, 0.3), Case("adam", 2, 0.05), Case("normalized_sgd", 2, 0.5, "same")]


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def credits(case: Case, kind: str, adapters: tuple[PyTree, ...] | None = None) -> np.ndarray:
    method = case.method("adjoint")
    (params, _, adapter), arrays, solutions = make_inputs()
    # Compiled anew: a test may have changed what is read while tracing.
    compiled = jax.jit(lambda *args: credit.credit.__wrapped__(*args[:1], CreditAt(kind, False), *args[1:]))
    scores = attributed(method)[0].scores
    return np.asarray(compiled(Actor(params, method), adapters or (adapter,), scores, arrays, solutions))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.optimizer)
def test_the_complete_credits_of_a_set_add_up_to_its_gain(case: Case, monkeypatch: pytest.MonkeyPatch):
    method = case.method("adjoint")
    (params, _, adapter), arrays, solutions = make_inputs()
    actor, (_, result) = Actor(params, method), attributed(method)
    fresh = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (len(arrays.valid_PxM), *leaf.shape)), adapter)
    gain = np.asarray(attribution.outer_losses(actor, fresh, solutions)) - result.loss_P

    few = credits(case, COMPLETE)
    monkeypatch.setattr(credit, "PATH_POINTS", 3 * PATH_POINTS)
    many = credits(case, COMPLETE)
    np.testing.assert_allclose(credits(case, MARGINAL), -result.tau_PxM, rtol=1e-10, atol=1e-14)
    assert error(many.sum(axis=-1), gain) < 1e-4
    assert error(few.sum(axis=-1), gain) < 0.05
    assert np.all(many[~np.asarray(arrays.valid_PxM)] == 0), "a malformed example has done nothing"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.optimizer)
def test_an_example_is_left_out_by_its_weight(case: Case):
    method = case.method("adjoint")
    (params, _, adapter), arrays, solutions = make_inputs()
    actor, (adapted, result) = Actor(params, method), attributed(method)
    weights, expected = adapted.scores.weights_PxM, np.zeros(arrays.valid_PxM.shape)
    for i in range(tiny.EXAMPLES):
        left = np.where(np.arange(tiny.EXAMPLES) == i, 0.0, weights)
        adapters = attribution.adapt(actor, adapter, adapted.scores._replace(weights_PxM=left), arrays.examples)
        expected[:, i] = np.asarray(attribution.outer_losses(actor, adapters, solutions)) - result.loss_P
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(credits(case, LEAVE_ONE_OUT), expected, rtol=1e-9, atol=1e-13)


def test_a_normalized_credit_is_for_the_length_of_the_own_gradient():
    case = CASES[0]
    method = case.method("adjoint")
    (params, _, adapter), arrays, _ = make_inputs()
    lengths = np.zeros(arrays.valid_PxM.shape)
    for place in np.ndindex(lengths.shape):
        example = jax.tree.map(lambda leaf, place=place: leaf[place][None], arrays.examples)

        def loss(adapter: PyTree, example: PyTree = example) -> jax.Array:
            return -mean_log_probs(method.model, params, adapter, example)[0]

        gradient = jax.grad(loss)(adapter)
        lengths[place] = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(gradient)) + NORM_FLOOR)
    assert np.ptp(lengths[np.asarray(arrays.valid_PxM)]) > 0.1
    np.testing.assert_allclose(credits(case, NORMALIZED), credits(case, MARGINAL) / lengths, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("kind", [MARGINAL, COMPLETE])
def test_several_adapters_are_averaged_over(kind: str):
    (params, _, adapter), _, _ = make_inputs()
    other = jax.tree.map(partial(np.asarray, dtype=float), lora.init(tiny.LORA, params, jax.random.key(7)))
    alone = [credits(CASES[1], kind, (each,)) for each in (adapter, other)]
    assert error(*alone) > 1e-3, "nothing to average"
    np.testing.assert_allclose(credits(CASES[1], kind, (adapter, other)), np.mean(alone, axis=0), 1e-9, 1e-13)


def test_siblings_are_other_problems_of_the_family_and_weigh_the_same():
    actor = tiny.make_actor()
    noise = [np.random.default_rng(i) for i in range(len(PROBLEMS))]
    asked = attribution.siblings(actor, PROBLEMS, 3, noise)
    assert asked.sequences.tokens.shape[:2] == (len(PROBLEMS), 4)
    np.testing.assert_array_equal(asked.coefficients, 0.25)
    for problem, rows, targets in zip(PROBLEMS, *asked.sequences, strict=True):
        pairs = list(zip(rows, targets, strict=True))
        solutions = [actor.tokenizer.decode(row[target][:-1].tolist()) for row, target in pairs]
        prompts = [actor.tokenizer.decode(row[1 : np.argmax(target)].tolist()) for row, target in pairs]
        assert (prompts[0], solutions[0]) == (actor.task.solve_prompt(problem.prompt), problem.solution)
        assert len({*prompts}) == 4
        own = problem.solution.partition(" =")[0]
        assert all(each.partition(" =")[0] == own for each in solutions), "their hidden rule is the problem's"
