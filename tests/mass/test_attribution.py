"""Attributions through the real model: float64 central differences are the judge of every estimator."""

from collections.abc import Iterator
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mass_jax.mass import attribution
from mass_jax.mass.attribution import Adapted, Attribution
from mass_jax.mass.method import Method
from tests.mass import tiny

MODES = {"gold": tiny.make_references, "verifier": tiny.make_solutions}
PROBLEMS = tiny.make_problems()


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


def inputs(method: Method) -> tuple:
    """(params, eta, adapter), and (written, checks, practice, valid)."""
    params = tiny.float64(tiny.make_params())
    sets, written = tiny.make_practice(method, PROBLEMS)
    eta = tiny.float64(tiny.make_eta(method))
    arrays = (written, sets.checks, sets.sequences, sets.valid_PxM)
    return (params, eta, tiny.float64(tiny.make_adapter(params))), arrays


@cache
def adapted_and_attributed(method: Method) -> tuple[Adapted, dict[str, Attribution]]:
    model, arrays = inputs(method)

    @jax.jit
    def run(model, arrays, solutions):
        adapted = attribution.score_and_adapt(method, *model, *arrays)
        attribute = partial(attribution.attribute, method, model[0], adapted, arrays[2])
        return adapted, {mode: attribute(*solution) for mode, solution in solutions.items()}

    return run(model, arrays, {mode: make(PROBLEMS) for mode, make in MODES.items()})


@cache
def differences(case: Case) -> list[dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Central differences in every weight and in the gate, for each of `WIDTHS`: {mode: (tau [P, M], gate [P])}."""
    method = case.method("unroll")
    (params, eta, adapter), (written, checks, practice, valid) = inputs(method)
    scores = jax.jit(partial(attribution.score, method))(params, eta, written, checks, valid)
    solutions = {mode: make(PROBLEMS) for mode, make in MODES.items()}

    @jax.jit
    def losses(weights, gate):
        moved = scores._replace(weights_PxM=weights, gate_P=gate)
        adapters = attribution.adapt(method, params, adapter, moved, practice)
        return {m: attribution.outer_losses(method, params, adapters, *s) for m, s in solutions.items()}

    def derivative(weight_change, gate_change):
        up = losses(scores.weights_PxM + weight_change, scores.gate_P + gate_change)
        down = losses(scores.weights_PxM - weight_change, scores.gate_P - gate_change)
        return jax.tree.map(lambda a, b: np.asarray(a - b) / 2, up, down)

    found = []
    for width in WIDTHS:
        taus = [derivative(width * np.eye(tiny.EXAMPLES)[i], 0.0) for i in range(tiny.EXAMPLES)]
        gate = derivative(0.0, width)
        found.append({m: (np.stack([t[m] for t in taus], axis=1) / width, gate[m] / width) for m in MODES})
    return found


def error(value: np.ndarray, truth: np.ndarray) -> float:
    """Largest deviation, relative to the largest of ``truth``."""
    return float(np.abs(value - truth).max() / np.abs(truth).max())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.optimizer}-{case.steps}-{case.schedule}")
@pytest.mark.parametrize("estimator", EXACT)
def test_attributions_equal_differences(estimator: str, case: Case, mode: str):
    adapted, attributed = adapted_and_attributed(case.method(estimator))
    found = attributed[mode]
    weights = np.asarray(adapted.scores.weights_PxM)
    assert np.ptp(weights[1]) > 0.1 and weights[0, -1] == 0, "the derivative must be taken where the weights differ"
    assert np.abs(found.tau_PxM).max() > 1e-3, "nothing to compare"
    for name, value, position in (("tau", found.tau_PxM, 0), ("gate", found.dgate_P, 1)):
        coarse, fine = (error(np.asarray(value), at[mode][position]) for at in differences(case))
        # Central differences err with the square of the width: a wrong derivative would not get better.
        assert fine < 1e-6, (name, coarse, fine)
        assert coarse < 1e-5, (name, coarse, fine)
    assert found.tau_PxM[0, -1] == 0, "a malformed example has nothing to say"


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.optimizer}-{case.steps}-{case.schedule}")
def test_exact_estimators_equal_each_other(case: Case):
    (one, first), (other, second) = (adapted_and_attributed(case.method(estimator)) for estimator in EXACT)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-10, 1e-14), one.run.params, other.run.params)
    for mode in MODES:
        for a, b in zip(first[mode], second[mode], strict=True):
            assert error(np.asarray(a), np.asarray(b)) < 1e-10


def test_first_order_equals_exact_for_one_step_of_sgd_only():
    case = CASES[0]
    adapted, first = adapted_and_attributed(case.method("first_order"))
    scale = case.rate * np.asarray(adapted.scores.gate_P)[:, None]
    exact = adapted_and_attributed(case.method("adjoint"))[1]
    for mode in MODES:
        assert error(scale * np.asarray(first[mode].tau_PxM), np.asarray(exact[mode].tau_PxM)) < 1e-10

    case = Case("adam", 2, 0.05)
    first, exact = (adapted_and_attributed(case.method(e))[1]["gold"].tau_PxM for e in ("first_order", "adjoint"))
    correlation = np.corrcoef(np.ravel(first), np.ravel(exact))[0, 1]
    assert correlation < 0.95, correlation


def test_a_batch_of_problems_equals_one_by_one():
    method = Case("adam", 2, 0.05).method("adjoint")
    adapted, attributed = adapted_and_attributed(method)
    model, arrays = inputs(method)
    solutions = tiny.make_solutions(PROBLEMS)

    @jax.jit
    def alone(arrays, solutions):
        adapted = attribution.score_and_adapt(method, *model, *arrays)
        return adapted, attribution.attribute(method, model[0], adapted, arrays[2], *solutions)

    for i in range(len(PROBLEMS)):
        one = alone(*jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], (arrays, solutions)))
        row = jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], (adapted, attributed["verifier"]))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-10, 1e-13), one, row)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "normalized_sgd"])
def test_no_weight_or_no_gate_is_exactly_the_base(optimizer: str):
    method = tiny.make_method(optimizer=optimizer, rate=0.1, steps=2)
    (params, eta, adapter), (written, checks, practice, valid) = inputs(method)
    sequences, coefficients = tiny.make_references(PROBLEMS)
    scores = attribution.Scores(np.zeros(valid.shape), valid * 1.0, np.ones(len(PROBLEMS)))

    @jax.jit
    def losses(weights, gate):
        adapters = attribution.adapt(
            method, params, adapter, scores._replace(weights_PxM=weights, gate_P=gate), practice
        )
        return adapters, attribution.outer_losses(method, params, adapters, sequences, coefficients)

    base = jnp.stack([attribution.outer_loss(method, params, None, *x) for x in zip_rows(sequences, coefficients)])
    for weights, gate in ((np.zeros(valid.shape), scores.gate_P), (scores.weights_PxM, np.zeros(len(PROBLEMS)))):
        adapters, loss = losses(weights, gate)
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, np.broadcast_to(b, a.shape)), adapters, adapter)
        np.testing.assert_allclose(loss, base, 1e-12)
    _, loss = losses(scores.weights_PxM, scores.gate_P)
    assert np.abs(loss - base).min() > 1e-4


def zip_rows(sequences, coefficients):
    return [(jax.tree.map(lambda leaf, i=i: leaf[i], sequences), row) for i, row in enumerate(coefficients)]


def test_the_check_of_a_trained_model_finds_the_same():
    method = Case("adam", 2, 0.05).method("adjoint")
    (params, eta, _), arrays = inputs(method)
    tau, oracle = attribution.compare_with_differences(tiny.DOMAIN, method, params, eta, PROBLEMS, *arrays)
    assert tau.dtype == oracle.dtype == np.float64
    assert np.abs(tau).max() > 1e-3
    assert error(tau, oracle) < 1e-6
    first_order = Case("adam", 2, 0.05).method("first_order")
    wrong, _ = attribution.compare_with_differences(tiny.DOMAIN, first_order, params, eta, PROBLEMS, *arrays)
    assert error(wrong, oracle) > 0.1, "the check cannot tell a wrong estimator from an exact one"
