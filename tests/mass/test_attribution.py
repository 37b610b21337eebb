"""Attributions through the real model: float64 central differences are the judge of every estimator."""

import dataclasses
from collections.abc import Iterator
from functools import cache, partial
from typing import NamedTuple

import jax
import numpy as np
import pytest

from mass_jax.mass import attribution
from mass_jax.mass.actor import Actor
from mass_jax.mass.attribution import Adapted, Attribution, Weighed
from mass_jax.mass.method import Method
from mass_jax.types import PyTree
from tests.mass import tiny

PROBLEMS = tiny.make_problems()
MODES = {"gold": slice(0, len(PROBLEMS)), "verifier": slice(len(PROBLEMS), None)}
"""Every program serves both outer losses: the first half of its batch has the one, the second half the other."""


class Case(NamedTuple):
    optimizer: str
    steps: int
    rate: float
    schedule: str = "fresh"

    def method(self, estimator: str) -> Method:
        return tiny.make_method(
            estimator, optimizer=self.optimizer, steps=self.steps, rate=self.rate, schedule=self.schedule
        )


CASES = [
    Case("sgd", 1, 1.0),
    Case("sgd", 2, 0.3),
    Case("adam", 1, 0.05),
    Case("adam", 2, 0.05),
    Case("normalized_sgd", 2, 0.5, "same"),
]
EXACT = ("unroll", "adjoint")
WIDTHS = (1e-4, 1e-5)


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


@cache
def make_inputs() -> tuple:
    """(params, eta, adapter), the practice's arrays, and the solutions with their coefficients."""
    method, params = tiny.make_method(), tiny.float64(tiny.make_params())
    eta = tiny.float64(tiny.make_eta(method))
    arrays = twice(tiny.make_practice(PROBLEMS).arrays)
    (gold, _), (sampled, coefficients) = tiny.make_references(PROBLEMS), tiny.make_solutions(PROBLEMS)
    gold = jax.tree.map(lambda one, many: np.broadcast_to(one, many.shape), gold, sampled)
    only_first = np.broadcast_to(np.eye(3)[0], coefficients.shape)
    halves = Weighed(gold, only_first), Weighed(sampled, coefficients)
    solutions = jax.tree.map(lambda *leaves: np.concatenate(leaves), *halves)
    return (params, eta, tiny.float64(tiny.make_adapter(params))), arrays, solutions


def twice(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: np.concatenate([leaf, leaf]), tree)


@cache
def attributed(method: Method) -> tuple[Adapted, Attribution]:
    model, arrays, solutions = make_inputs()

    @jax.jit
    def run(model, arrays, solutions):
        params, *rest = model
        actor = Actor(params, method)
        adapted = attribution.score_and_adapt(actor, *rest, arrays)
        return adapted, attribution.attribute(actor, adapted, arrays.examples, solutions)

    return jax.device_get(run(model, arrays, solutions))


@cache
def differences(case: Case) -> list[tuple[np.ndarray, np.ndarray]]:
    """Central differences in every weight and in the gate, for each of `WIDTHS`: (tau [2 P, M], gate [2 P])."""
    method = case.method("unroll")
    (params, _, adapter), arrays, solutions = make_inputs()
    actor, scores = Actor(params, method), attributed(method)[0].scores

    @jax.jit
    def losses(weights, gate):
        moved = scores._replace(weights_PxM=weights, gate_P=gate)
        adapters = attribution.adapt(actor, adapter, moved, arrays.examples)
        return attribution.outer_losses(actor, adapters, solutions)

    def derivative(weight_change, gate_change, width):
        up = losses(scores.weights_PxM + weight_change, scores.gate_P + gate_change)
        down = losses(scores.weights_PxM - weight_change, scores.gate_P - gate_change)
        return np.asarray(up - down) / (2 * width)

    return [
        (
            np.stack([derivative(width * np.eye(tiny.EXAMPLES)[i], 0.0, width) for i in range(tiny.EXAMPLES)], axis=1),
            derivative(0.0, width, width),
        )
        for width in WIDTHS
    ]


def error(value: np.ndarray, truth: np.ndarray) -> float:
    """Largest deviation, relative to the largest of ``truth``."""
    return float(np.abs(value - truth).max() / np.abs(truth).max())


# One test a case: on another worker, each further test would compile the same programs again.
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.optimizer}-{case.steps}-{case.schedule}")
def test_both_exact_estimators_equal_differences_and_each_other(case: Case):
    coarse, fine = differences(case)
    # Central differences err with the square of the width, which the two widths show and take out.
    limit = [f + (f - c) / ((WIDTHS[0] / WIDTHS[1]) ** 2 - 1) for c, f in zip(coarse, fine, strict=True)]
    found = {estimator: attributed(case.method(estimator)) for estimator in EXACT}
    for adapted, result in found.values():
        weights = adapted.scores.weights_PxM
        assert np.ptp(weights[1]) > 0.1 and weights[0, -1] == 0, "the derivative is to be taken where weights differ"
        assert result.tau_PxM[0, -1] == 0, "a malformed example has nothing to say"
        for half in MODES.values():
            for value, truth, rough in zip((result.tau_PxM, result.dgate_P), limit, coarse, strict=True):
                assert np.abs(value[half]).max() > 1e-3, "nothing to compare"
                assert error(value[half], truth[half]) < 1e-6
                assert error(value[half], rough[half]) < 1e-3
    (one, first), (other, second) = found.values()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-10, 1e-14), one.run.params, other.run.params)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        assert error(a, b) < 1e-10


def test_first_order_equals_exact_for_one_step_of_sgd_only():
    case = CASES[0]
    adapted, first = attributed(case.method("first_order"))
    scale = case.rate * adapted.scores.gate_P[:, None]
    assert error(scale * first.tau_PxM, attributed(case.method("adjoint"))[1].tau_PxM) < 1e-10

    case = Case("adam", 2, 0.05)
    first, exact = (attributed(case.method(estimator))[1].tau_PxM for estimator in ("first_order", "adjoint"))
    assert np.corrcoef(np.ravel(first), np.ravel(exact))[0, 1] < 0.95


def test_a_batch_of_problems_equals_one_by_one():
    method = Case("adam", 2, 0.05).method("adjoint")
    together = attributed(method)
    model, arrays, solutions = make_inputs()

    @jax.jit
    def alone(arrays, solutions):
        params, *rest = model
        actor = Actor(params, method)
        adapted = attribution.score_and_adapt(actor, *rest, arrays)
        return adapted, attribution.attribute(actor, adapted, arrays.examples, solutions)

    for i in range(2 * len(PROBLEMS)):
        one = alone(*jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], (arrays, solutions)))
        row = jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], together)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-10, 1e-13), one, row)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "normalized_sgd"])
def test_no_weight_or_no_gate_is_exactly_the_base(optimizer: str):
    method = tiny.make_method(optimizer=optimizer, rate=0.1, steps=2)
    (params, _, adapter), arrays, solutions = make_inputs()
    actor, valid = Actor(params, method), arrays.valid_PxM
    scores = attribution.Scores(np.zeros(valid.shape), valid * 1.0, np.ones(len(valid)))
    fresh = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (len(valid), *leaf.shape)), adapter)

    @jax.jit
    def losses(weights, gate):
        moved = scores._replace(weights_PxM=weights, gate_P=gate)
        adapters = attribution.adapt(actor, adapter, moved, arrays.examples)
        loss = partial(attribution.outer_loss, actor)
        return adapters, jax.vmap(loss)(adapters, solutions), jax.vmap(partial(loss, None))(solutions)

    for weights, gate in ((0 * valid, scores.gate_P), (scores.weights_PxM, 0 * scores.gate_P)):
        adapters, adapted, base = losses(1.0 * weights, gate)
        jax.tree.map(np.testing.assert_array_equal, adapters, fresh)
        np.testing.assert_allclose(adapted, base, 1e-13)
    _, adapted, base = losses(scores.weights_PxM, scores.gate_P)
    assert np.abs(adapted - base).min() > 1e-4


def test_the_check_of_a_trained_model_finds_the_same():
    (params, eta, _), _, _ = make_inputs()
    actor = Actor(params, CASES[0].method("adjoint"), tiny.DOMAIN)
    tau, oracle = attribution.compare_with_differences(actor, eta, PROBLEMS, tiny.make_practice(PROBLEMS))
    assert tau.dtype == oracle.dtype == np.float64
    assert np.abs(tau).max() > 1e-3
    assert error(tau, oracle) < 1e-5


def test_references_behind_given_prompts_fit_the_context():
    """Their prompts are padded to few lengths, and not beyond what the model reads."""
    method = tiny.make_method()
    lengths = dataclasses.replace(tiny.LENGTHS, solution=14)
    tight = dataclasses.replace(
        method, model=dataclasses.replace(method.model, context=24), lengths=lengths
    )  # prompt and solution take 24, a padded prompt 16
    prompts = [tiny.DOMAIN.task.solve_prompt(problem.prompt) for problem in PROBLEMS]
    asked = attribution.references(tiny.make_actor(tight), PROBLEMS, prompts).weighed
    assert asked.sequences.tokens.shape == (len(PROBLEMS), 1, tight.model.context + 1)
    loose = attribution.references(tiny.make_actor(dataclasses.replace(method, lengths=lengths)), PROBLEMS, prompts)
    assert loose.weighed.sequences.tokens.shape[-1] == 16 + 14
