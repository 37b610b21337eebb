"""The benchmark of changed practice sets at its smallest: what attributions predict, and what is said of it."""

import dataclasses

import jax
import numpy as np
import pytest

from configs import demo
from experiments.benchmarks.exactness.bench import Practised, attributions
from experiments.benchmarks.exactness.settings import EXACT
from experiments.benchmarks.retraining.agreement import agreement
from experiments.benchmarks.retraining.bench import PERMUTED, Bench, Start, doubled, really, settings, start
from experiments.benchmarks.retraining.tables import REMOVED, TENTH, tables
from mass_jax import metagrad
from mass_jax.adapt.learner import Learner
from mass_jax.adapt.neighbours import Pool
from mass_jax.adapt.run import Recipe
from mass_jax.mass import attribution, credit
from mass_jax.mass.credit import LEAVE_ONE_OUT, CreditAt
from mass_jax.mass.method import InnerConfig
from mass_jax.mass.scorer import Scores
from mass_jax.study.config import read
from tests.mass import tiny

PROBLEMS = 3
WEIGHTS = np.linspace(0.2, 1.8, PROBLEMS * tiny.EXAMPLES, dtype=np.float32).reshape(PROBLEMS, -1)


@pytest.fixture(scope="module")
def at() -> Start:
    """Right and wrong practice of uneven weights, the first problem's last example malformed."""
    actor = tiny.make_actor(tiny.make_method(optimizer="normalized_sgd", steps=2, rate=0.1, schedule="same"))
    problems = tiny.make_problems(PROBLEMS)
    arrays = jax.device_put(tiny.make_practice(problems).arrays)
    practised = Practised(np.zeros((PROBLEMS, 4, 1)), arrays.valid_PxM, arrays.examples, tiny.make_references(problems))
    scores = Scores(0 * WEIGHTS, WEIGHTS * np.asarray(arrays.valid_PxM), np.array([0.5, 1.0, 1.5], np.float32))
    return Start(actor, attribution.fresh_adapter(actor, jax.random.key(0)), scores, practised)


def test_exact_attributions_predict_small_changes_to_second_order(at: Start):
    with jax.enable_x64(True):
        actor, adapter, scores, practised = doubled(tuple(at))
        found = attributions(actor, metagrad.make(EXACT), adapter, scores, practised, jax.random.key(0))
    told_PxM = np.asarray(scores.weights_PxM * found["weights"])
    counts, (more, less, twice, half) = at.counts_PxM, really(at, (0.01, -0.01, 0.02, -0.02))
    assert counts.sum() == PROBLEMS * tiny.EXAMPLES - 1 and not more[~counts].any()
    told = np.stack([0.01 * told_PxM] * 2)
    agreed = agreement(told, np.stack([more, -less]), counts)
    assert agreed["correlation"]["value"] > 0.999 and agreed["ranks"]["value"] > 0.99
    assert agreed["slope"]["value"] == pytest.approx(1, abs=1e-2) and agreed["signs"]["value"] == 1
    # What is left is of second order: four times as much for twice the change, and of third without what is even.
    left, wider = abs(more - told[0])[counts], abs(twice - 2 * told[0])[counts]
    np.testing.assert_allclose(wider / left, 4, rtol=0.1)
    odd, even_wider = (more - less) / 2 - told[0], (twice - half) / 2 - 2 * told[0]
    np.testing.assert_allclose(np.median(abs(even_wider[counts]) / abs(odd[counts])), 8, rtol=0.1)
    wrong = agreement(-told, np.stack([more, -less]), counts)
    assert wrong["correlation"]["value"] < -0.999 and wrong["signs"]["value"] == 0
    assert wrong["slope"]["value"] == pytest.approx(-1, abs=1e-2)


def test_a_removal_is_the_credit_that_leaves_one_out(at: Start):
    arrays = tiny.make_practice(tiny.make_problems(PROBLEMS)).arrays
    kind = CreditAt(LEAVE_ONE_OUT, uniform=False)
    credits_PxM = credit.credit(at.actor, kind, (at.adapter,), at.scores, arrays, at.practised.asked)
    [removed] = really(at, (-1.0,))
    np.testing.assert_allclose(removed, credits_PxM, atol=2e-5)
    assert abs(removed).max() > 1e-3


def test_rows_say_how_they_agree(at: Start):
    here = at.actor.method.inner
    [setting] = [each for each in settings(here) if each.inner == here]
    moved = at._replace(actor=at.actor.replace(method=tiny.make_method()))
    bench = Bench(moved, setting, jax.random.key(0))
    assert bench.at.actor == at.actor
    rows = {row.label: bench.measured(row) for row in setting.rows if row.name in (EXACT, "first_order", PERMUTED)}
    small, removed = ({name: row["changes"][kind] for name, row in rows.items()} for kind in (TENTH, REMOVED))
    assert small[EXACT]["correlation"]["value"] > 0.99 > small["first_order"]["correlation"]["value"]
    assert small[EXACT]["slope"]["value"] == pytest.approx(1, abs=0.05)
    assert small[PERMUTED]["ranks"]["value"] < 0.8
    assert small[EXACT]["correlation"]["value"] > removed[EXACT]["correlation"]["value"]
    assert removed[EXACT]["nats"] == removed["first_order"]["nats"]
    assert 5 < removed[EXACT]["nats"]["value"] / small[EXACT]["nats"]["value"] < 20
    assert {row["examples"] for row in rows.values()} == {PROBLEMS * tiny.EXAMPLES - 1}


def test_settings_are_every_length_and_other_rates_of_two_optimisers():
    inner = read(demo.get_config()).inner
    tried = settings(inner)
    assert len({setting.label for setting in tried}) == len(tried) == 12 and tried[0].inner == inner
    for optimizer in ("normalized_sgd", "adam"):
        ours = [each.inner for each in tried if each.inner.optimizer == optimizer]
        assert [each.steps for each in ours] == [1, 2, 2, 2, 4, 8]
        rates = {each.learning_rate / ours[0].learning_rate for each in ours}
        assert rates == {each.learning_rate / ours[0].learning_rate for each in ours[1:4]} == {0.25, 1, 4}
    for setting in tried:
        labels = [row.label for row in setting.rows]
        assert labels[0] == EXACT and labels[-1] == PERMUTED and len({*labels}) == len(labels)
        assert all(setting.inner.steps % row.options.get("window", 1) == 0 for row in setting.rows)
    assert {each.inner.schedule for each in settings(InnerConfig(2, "fresh", "adam", 0.1))} == {"same"}


def test_a_model_without_a_scorer_starts_from_equal_weights():
    actor = tiny.make_actor(tiny.make_method(optimizer="adam", steps=2, rate=0.05, schedule="same"), tiny.LENIENT)
    problems = tiny.make_problems(2)
    learner = Learner(actor, {}, Recipe(), Pool(actor, ()), jax.random.key(0), 2)
    at = start(learner, problems)
    np.testing.assert_allclose(at.scores.weights_PxM, at.practised.valid_PxM, rtol=1e-6)
    np.testing.assert_array_equal(at.scores.gate_P, 1)
    trained = dataclasses.replace(learner, eta=tiny.make_eta(actor.method))
    assert not np.allclose(start(trained, problems).scores.gate_P, 1)


def test_agreement_is_over_what_counts_and_ranks_are_within_sets():
    told = np.array([[[1.0, 2.0, 3.0, 50.0], [10.0, 20.0, 30.0, 40.0], [1.0, 2.0, 0.0, 0.0]]])
    done = np.array([[[2.0, 3.0, 9.0, -9.0], [-4.0, -3.0, -2.0, -1.0], [1.0, 0.0, 0.0, 0.0]]])
    counts = np.array([[True, True, True, False], [True] * 4, [True, True, False, False]])
    agreed = agreement(told, done, counts)
    x, y = told[0][counts], done[0][counts]
    assert agreed["correlation"]["value"] == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert agreed["slope"]["value"] == pytest.approx(np.polyfit(x, y, 1)[0])
    assert agreed["ranks"]["value"] == pytest.approx(1)  # the third set is too small
    assert agreed["signs"]["value"] == pytest.approx(4 / 9)
    assert agreed["nats"]["value"] == pytest.approx(abs(y).mean())
    low, high = agreed["signs"]["ci95"]
    assert low < 4 / 9 < high
    nothing = agreement(0 * told, done, counts)
    assert nothing["correlation"] == {"value": None, "ci95": None} == nothing["ranks"]


def test_tables_have_a_line_a_row_and_a_line_a_setting():
    def estimate(value: float | None) -> dict:
        return {"value": value, "ci95": None if value is None else [value - 0.25, value + 0.25]}

    change = {name: estimate(0.5) for name in ("correlation", "ranks", "signs", "slope", "nats")}
    other = change | {"correlation": estimate(-0.5), "ranks": estimate(None)}
    rows = [
        {"model": "Base", "setting": s, "row": row, "changes": {TENTH: change, REMOVED: other}}
        for s, row in (("a", EXACT), ("a", "truncated"), ("b", EXACT))
    ]
    found = tables(rows)
    whole = dict(zip(found["rows"].columns, found["rows"].rows[0], strict=True))
    assert whole["±10 %: correlation"] == "0.50 (0.25 to 0.75)"
    assert whole["removed: correlation"] == "−0.50 (−0.75 to −0.25)" and whole["removed: ranks"] == "–"
    assert found["tenth"].columns == ("Model", "Setting", "Change, nats", EXACT, "truncated")
    assert found["tenth"].rows == [("Base", "a", "0.5", *["0.50 / 0.50"] * 2), ("Base", "b", "0.5", "0.50 / 0.50", "–")]
    assert found["removed"].rows[1] == ("Base", "b", "0.5", "−0.50 / –", "–")
