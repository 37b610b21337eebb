"""The benchmark of exactness at its smallest: what is compared, what is trained, and what its tables say."""

import dataclasses

import jax
import numpy as np
import pytest

from configs import demo
from experiments.benchmarks.exactness.bench import Bench, Practised, Size, agreement, attributions, make_data, score
from experiments.benchmarks.exactness.settings import EXACT, GATED, Row, settings
from experiments.benchmarks.exactness.tables import CONTROLS, tables
from mass_jax import metagrad
from mass_jax.mass import attribution, inner
from mass_jax.mass.attribution import Adapted
from mass_jax.study.config import read
from tests.mass import tiny

SIZE = Size(problems=2, batches=1, held_out=2, compared=1)
METHOD = tiny.make_method(optimizer="adam", steps=2, rate=0.05, schedule="same")


@pytest.fixture(scope="module")
def bench() -> Bench:
    actor, problems = tiny.make_actor(METHOD, tiny.LENIENT), tiny.make_problems(4)
    data = make_data(actor, problems[:2], problems[2:], SIZE, seed=0)
    # A random model writes little that can be parsed: right and wrong practice stands in its place.
    sets = tiny.make_practice(data.problems, malformed=False)
    features = jax.random.normal(jax.random.key(1), data.held_out.features_PxMxF.shape)
    read = Practised(features, sets.arrays.valid_PxM, sets.arrays.examples, data.held_out.asked)
    right = np.array([[True, False, True, True]] * 2)
    data = data._replace(training=read, held_out=read, written=sets, right_PxM=right)
    return Bench(actor, tiny.OUTER, SIZE, data, seed=0)


def test_every_row_can_be_made_and_differs_from_all_others():
    config = read(demo.get_config())
    tried = settings(config)
    assert tried[0].inner == config.inner
    for setting in tried:
        labels = [row.label for row in setting.rows]
        assert labels[:2] == [CONTROLS, EXACT] and len(set(labels)) == len(labels)
        for row in setting.rows[1:]:
            assert row.estimator.exact == (row.name == EXACT)
            assert row.options.get("window", 0) < setting.inner.steps
            assert setting.steps or not row.trained
    assert len({setting.label for setting in tried}) == len(tried)


def test_attributions_are_those_of_a_training_step(bench: Bench):
    actor, batch = bench.actor, bench.data.held_out
    adapter, scores = attribution.fresh_adapter(actor, bench.key), score(actor, bench.eta, batch)
    meta = {"weights": scores.weights_PxM, "gate": scores.gate_P}
    run = inner.adapt(actor, adapter, meta, batch.examples)
    expected = attribution.attribute(actor, Adapted(run, batch.features_PxMxF, scores), batch.examples, batch.asked)
    found = attributions(actor, metagrad.make(EXACT), adapter, scores, batch, bench.key)
    np.testing.assert_allclose(found["weights"], expected.tau_PxM, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(found["gate"], expected.dgate_P, rtol=1e-3, atol=1e-6)


def test_estimators_that_draw_draw_by_the_key(bench: Bench):
    evolution, batch = metagrad.make("evolution", samples=2, sigma=0.1), bench.data.held_out
    found = [bench._attributions(evolution, bench.eta, batch, jax.random.key(seed)) for seed in (0, 0, 1)]
    taus = [np.asarray(each["weights"]) for each in found]
    np.testing.assert_array_equal(taus[0], taus[1])
    assert not np.allclose(taus[0], taus[2])


def test_rows_are_compared_and_trained_by_equal_steps_and_operations(bench: Bench):
    exact = bench.measured(Row(EXACT), steps=2)
    assert exact["cosine"] == pytest.approx(1) and exact["rank"] == pytest.approx(1) == exact["gate"]
    assert exact["operations"] == 1 and exact["steps"] == (2, 2)
    assert exact["answers"][0]["gate"] != 1 and exact["answers"][0] == exact["answers"][1]
    held = bench.measured(Row(EXACT, gate=False), steps=2)
    assert held["answers"][0]["gate"] == 1 and "cosine" not in held
    first = bench.measured(Row("first_order"), steps=4)
    assert first["gate"] == 0 and first["cosine"] < 0.999 and first["operations"] < 1
    assert first["steps"][1] == round(4 / first["operations"]) > 4
    assert "answers" not in bench.measured(Row("first_order", trained=False), steps=0)
    assert set(bench.measured(Row(CONTROLS), steps=2)) == {"none", "uniform", "right", "gold"}


def test_the_gate_of_one_step_needs_no_second_derivative(bench: Bench):
    method = dataclasses.replace(METHOD, inner=dataclasses.replace(METHOD.inner, steps=1))
    actor, batch = bench.actor.replace(method=method), bench.data.held_out
    adapter, scores = attribution.fresh_adapter(actor, bench.key), score(actor, bench.eta, batch)
    scores = scores._replace(gate_P=np.array([0.5, 1.5], np.float32))
    exact, first, gated = (
        attributions(actor, row.estimator, adapter, scores, batch, bench.key)
        for row in (Row(EXACT), Row("first_order"), Row(GATED))
    )
    np.testing.assert_allclose(gated["gate"], exact["gate"], rtol=1e-3)
    np.testing.assert_allclose(gated["weights"], first["weights"], rtol=1e-5)


def test_agreement_is_within_sets_and_of_what_is_valid():
    exact = {"weights": np.array([[-4.0, 1.0, 2.0, 9.0], [-3.0, 1.0, 2.0, 0.0]]), "gate": np.array([1.0, -1.0])}
    found = {"weights": np.array([[-1.0, 0.5, 0.6, -9.0], [-300.0, 1.0, 2.0, 0.0]]), "gate": np.array([2.0, 0.0])}
    valid = np.array([[True, True, True, False], [True, True, True, True]])
    right = np.array([[True, False, False, True], [False, True, False, False]])
    agreed = agreement(exact, found, valid, right)
    assert agreed["rank"] == pytest.approx(1) and agreed["gate"] == pytest.approx(2**-0.5)
    assert 0.7 < agreed["cosine"] < 1
    assert agreed["auc"] == pytest.approx((1 + 1 / 3) / 2)
    assert agreed["largest"] > 0.99


def test_tables_pair_seeds():
    def row(name: str, seed: int, accuracies: tuple[float, float]) -> dict:
        agreed = {"cosine": 1.0, "rank": 0.5, "auc": 0.75, "largest": 0.25, "gate": -0.5}
        answers = [{"accuracy": value, "likelihood": -0.5, "gate": 1.0} for value in accuracies]
        trained = {"seconds": 1.5, "steps": [16, 32], "answers": answers}
        return {"setting": "s", "seed": seed, "row": name, "operations": 0.5} | agreed | trained

    controls = {"setting": "s", "seed": 0, "row": CONTROLS} | dict.fromkeys(("none", "uniform", "right", "gold"), 0.5)
    found = [controls, row(EXACT, 0, (0.6, 0.6)), row(EXACT, 1, (0.8, 0.8))]
    found += [row("first_order", 1, (0.7, 0.9)), row("first_order", 0, (0.5, 0.5))]
    kept = tables(found, EXACT)
    assert kept["controls"].rows == [("s", "50.0", "50.0", "50.0", "50.0")]
    assert kept["agreement"].rows[1] == (
        *("s", "first_order", "1.00 ± 0.00", "0.50 ± 0.00", "0.75 ± 0.00", "0.25 ± 0.00", "−0.50 ± 0.00"),
        *("0.50", "1.50"),
    )
    answered = dict(zip(kept["accuracy"].columns, kept["accuracy"].rows[1], strict=True))
    assert answered["Equal steps: accuracy, %"] == "60.0 ± 14.1"
    assert answered["Equal steps: over exact"] == "−10.0 (−10.0 to −10.0)"
    assert answered["Equal operations: steps"] == "32"
    assert answered["Equal operations: over exact"].startswith("+0.0 (−")
