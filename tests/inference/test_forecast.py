"""What an update will gain: the fit, its signs, its file, and what the tool does with it."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from experiments.benchmarks import forecast as benchmark
from mass_jax import InputError
from mass_jax.adapt import checked
from mass_jax.inference import budget, phases
from mass_jax.inference.adapted import PHASES, Phase
from mass_jax.inference.adapter import MassAdapter
from mass_jax.inference.forecast import forecast, observed, regression, signs
from mass_jax.inference.forecast.forecast import Forecast
from mass_jax.inference.forecast.observed import Observed
from mass_jax.inference.forecast.regression import Regression
from mass_jax.inference.options import Options
from mass_jax.inference.phases import Batch, Found, Told
from mass_jax.mass.generator import complete, solving
from mass_jax.mass.scorer import Scores
from mass_jax.serving.bodies import Mass
from mass_jax.study.load import read_config
from tests.inference.conftest import RUN, Command

NAMES = signs.OF_PRACTICE


def by(name: str, intercept: float = 0.0, answer: tuple[float, float] = (0.0, 1.0)) -> Forecast:
    """That expects of practice what one sign says, and of an answer slope and intercept."""
    practice = Regression(NAMES, tuple(float(each == name) for each in NAMES), intercept)
    return Forecast(Regression(signs.OF_ANSWER, answer[:1], answer[1]), practice, (0.0, 0.0), "model")


def plain(adapted: Any) -> str:
    return json.dumps(adapted.as_json(timing=False))


# The fit.


def test_a_regression_finds_what_is_linear():
    rng = np.random.default_rng(0)
    signs_NxF = rng.normal(3, 5, (200, 3)) * [1, 100, 0]
    values_N = 0.2 * signs_NxF[:, 0] - 0.001 * signs_NxF[:, 1] + 0.5
    families_N = np.arange(200) // 4
    found = regression.fit(("a", "b", "constant"), signs_NxF, values_N, families_N)
    np.testing.assert_allclose(found.coefficients, [0.2, -0.001, 0], rtol=0.02)
    np.testing.assert_allclose(found.predict(signs_NxF[:5]), values_N[:5], atol=0.03)
    assert regression.explained(values_N, regression.cross_fitted(found.names, signs_NxF, values_N, families_N)) > 0.999


def test_no_family_is_forecast_by_a_fit_that_saw_it():
    """Signs that tell families apart explain gains of families that were seen, and nothing of others."""
    rng = np.random.default_rng(1)
    families_N = np.repeat(np.arange(40), 8)
    signs_NxF, values_N = rng.normal(size=(40, 30))[families_N], rng.normal(size=40)[families_N]
    names = tuple(map(str, range(30)))
    predicted_N = regression.cross_fitted(names, signs_NxF, values_N, families_N)
    seen_N = regression.fit(names, signs_NxF, values_N, np.arange(320)).predict(signs_NxF)
    assert regression.explained(values_N, predicted_N) < 0.1 < 0.6 < regression.explained(values_N, seen_N)
    others_N = np.where(families_N == 3, 100.0, values_N)
    changed_N = regression.cross_fitted(names, signs_NxF, others_N, families_N)
    np.testing.assert_array_equal(changed_N[families_N == 3], predicted_N[families_N == 3])
    with pytest.raises(InputError, match="8 observations are of 1 family: two are needed to hold one out"):
        regression.fit(names, signs_NxF[:8], values_N[:8], families_N[:8])


# Signs.


def test_signs_are_of_the_answer_the_weights_and_the_losses(adapter: MassAdapter, texts: list[str]):
    seen = list[tuple[Batch, Found]]()

    def weigh(batch: Batch, found: Found) -> Told:
        told = phases.weigh(batch, found)
        seen.append((batch, told.found))
        return told

    dataclasses.replace(adapter, update={**adapter.update, "weigh": weigh}).adapt(texts[:2])
    ((batch, found),) = seen
    actor, scores = adapter.learner.actor, found.scores
    assert scores is not None and found.sets is not None
    told_PxF = dict(zip(NAMES, phases.signs_of(batch, found).T, strict=True))

    counts, weights = np.array([[not why for why in row] for row in found.left_out]), np.asarray(scores.weights_PxM)
    written = complete(
        actor, None, [actor.task.solve_prompt(text) for text in texts[:2]], jax.random.key(0), solving(actor, 1, 0.0)
    )
    mean_P = written.log_probs_PxS[:, 0] / written.sequences.target[:, 0].sum(axis=-1)
    np.testing.assert_allclose(told_PxF["confidence"], mean_P, rtol=1e-4)
    np.testing.assert_allclose(told_PxF["counting"], counts.mean(axis=1))
    np.testing.assert_allclose(told_PxF["gate"], np.log(scores.gate_P), atol=1e-5)
    loss_M = -checked.outcomes(actor, found.sets.arrays.examples)[0]
    share_M = weights[0] / weights[0].sum()
    np.testing.assert_allclose(told_PxF["picked loss"][0], (loss_M * share_M).sum(), rtol=1e-4)
    np.testing.assert_allclose(told_PxF["loss"][0], loss_M[counts[0]].mean(), rtol=1e-4)

    nothing = found._replace(
        left_out=[["malformed"] * len(row) for row in found.left_out],
        scores=Scores(scores.logits_PxM, weights * np.nan, scores.gate_P),
    )
    assert np.isfinite(phases.signs_of(batch, nothing)).all()


# What the tool does with it.


def test_of_several_sets_the_most_promising_is_practised_on(adapter: MassAdapter, texts: list[str]):
    drawn = list[Any]()

    def weigh(batch: Batch, found: Found) -> Told:
        drawn.extend(found.drawn)
        return phases.weigh(batch, found)

    watched = dataclasses.replace(adapter, update={**adapter.update, "weigh": weigh})
    own = watched.adapt(texts[0], Options(sets=3, seed=5))
    rows = [sets.texts[0] for sets in drawn]
    assert len(rows) == 3 and rows[0] != rows[1] != rows[2]
    alone = adapter.adapt(texts[0], Options(seed=5))
    assert [each.practice for each in alone.practice] == rows[0], "the first set is that of one"
    assert own.expected_gain is None and own.gate is not None and alone.gate is not None
    assert own.gate >= alone.gate

    # A scorer without a gate leaves the choice to the forecast.
    scorer = dataclasses.replace(adapter.learner.actor.method.scorer, gate=False)
    method = dataclasses.replace(adapter.learner.actor.method, scorer=scorer)
    without = dataclasses.replace(adapter.learner, actor=adapter.learner.actor.replace(method=method))
    expected = []
    for slope in (1.0, -1.0):
        practice = Regression(NAMES, tuple(slope * (name == "picked loss") for name in NAMES), 0.0)
        learned = dataclasses.replace(
            watched, learner=without, forecast=dataclasses.replace(by("gate"), practice=practice)
        )
        found = learned.adapt(texts[0], Options(sets=3, seed=5))
        assert [each.practice for each in found.practice] in rows and found.updated and found.gate == 1
        expected.append(found.expected_gain)
    assert 0 < -expected[1] < expected[0], "the largest loss, and the smallest"
    more = budget.tokens(adapter.learner.actor.method, Options(sets=3)) - budget.tokens(
        adapter.learner.actor.method, Options()
    )
    assert more == 2 * len(rows[0]) * adapter.learner.actor.method.lengths.synthesis
    written = next(phase.tokens for phase in own.phases if phase.name == "write")
    assert written > 2 * next(phase.tokens for phase in alone.phases if phase.name == "write")


def test_updates_are_declined_as_soon_as_little_is_expected(adapter: MassAdapter, texts: list[str]):
    never = dataclasses.replace(adapter, forecast=by("confidence", 0.0, (0.0, -0.25)))
    found = never.adapt(texts[0], Options(least_gain=-0.1))
    assert (found.updated, found.answer, found.practice) == (False, found.answer_before, ())
    assert found.why == "it is expected to gain -0.250 right answers, less than the -0.1 asked for"
    assert found.expected_gain == -0.25 and [each.name for each in found.phases] == ["answer_before"]

    late = dataclasses.replace(adapter, forecast=by("none", 0.125))
    declined = late.adapt(texts[0], Options(least_gain=0.126))
    assert not declined.updated and [each.name for each in declined.phases] == list(PHASES[:3])
    assert declined.expected_gain == 0.125 and len(declined.practice) > 0
    made = late.adapt(texts[0], Options(least_gain=0.125))
    assert made.updated and made.expected_gain == 0.125
    assert late.adapt(texts[0], Options(sets=2)).expected_gain is None
    assert plain(late.adapt(texts[0])) == plain(adapter.adapt(texts[0])), "nothing is expected where nothing asks"


def test_what_is_declined_beside_others_is_what_is_declined_alone(adapter: MassAdapter, texts: list[str]):
    confidence = [phases_of(adapter, text) for text in texts]
    middle = float(np.median(confidence))
    # Of answers half are declined, of practice none that is left.
    learned = dataclasses.replace(adapter, forecast=by("none", 0.5, (1.0, -middle - 1e-6)))
    options = Options(sets=2, least_gain=0.0)
    together = learned.adapt(texts, options)
    assert {each.updated for each in together} == {True, False}
    assert [plain(each) for each in together] == [plain(learned.adapt(text, options)) for text in texts]


def phases_of(adapter: MassAdapter, text: str) -> float:
    """What a forecast by confidence alone expects."""
    found = dataclasses.replace(adapter, forecast=by("none", 0.0, (1.0, 0.0))).adapt(text, Options(least_gain=1.0))
    assert found.expected_gain is not None
    return found.expected_gain


def test_without_a_forecast_a_sentence_says_what_to_do(adapter: MassAdapter, texts: list[str]):
    with pytest.raises(InputError, match=r"least_gain = 0\.1: nothing is expected of updates yet; fit a forecast"):
        adapter.adapt(texts[0], Options(least_gain=0.1))
    uniform = dataclasses.replace(adapter.learner.recipe, weights="uniform")
    without = dataclasses.replace(adapter, learner=dataclasses.replace(adapter.learner, recipe=uniform))
    with pytest.raises(InputError, match="sets = 2: there is neither a gate of a scorer nor a forecast to choose by"):
        without.adapt(texts[0], Options(sets=2))
    assert not adapter.adapt(texts[0], Options(least_gain=0.1, sets=2, update=False)).updated
    for wrong, said in (({"sets": 9}, "from 1 to 8"), ({"sets": 0}, "from 1 to 8"), ({"least_gain": 1.5}, "-1 to 1")):
        with pytest.raises(InputError, match=said):
            Options(**wrong)


def test_the_command_and_a_request_ask_the_same(command: Command, texts: list[str], monkeypatch: pytest.MonkeyPatch):
    asked = list[Options]()
    plain_adapt = MassAdapter.adapt

    def adapt(self: MassAdapter, problem: str, options: Options, *rest: Any) -> Any:
        asked.append(options)
        return plain_adapt(self, problem, options, *rest)

    monkeypatch.setattr(MassAdapter, "adapt", adapt)
    ended = command(texts[0], "--sets", 2, "--least-gain", 0.25)
    assert ended.status == 2 and "least_gain = 0.25: nothing is expected of updates yet" in ended.err
    assert asked == [Mass(sets=2, least_gain=0.25).options(True, None)] == [Options(sets=2, least_gain=0.25)]
    assert Mass().options(True, None) == Options()


# Its file, and where it comes from.


def test_a_forecast_is_kept_and_read_back(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    assert forecast.read(tmp_path, "mass", "model") is None
    path = forecast.write(tmp_path, "mass", by("gate", 0.5))
    forecast.write(tmp_path, "other", by("loss"))
    assert forecast.read(tmp_path, "mass", "model") == by("gate", 0.5)
    assert forecast.read(tmp_path, "other", "model") == by("loss") and forecast.read(tmp_path, "x", "model") is None
    assert forecast.read(tmp_path, "mass", "another") is None
    assert "fit_forecast --workdir" in caplog.text
    path.write_text(path.read_text().replace("0.5", "0.6"))
    with pytest.raises(InputError, match="checksum does not fit"):
        forecast.read(tmp_path, "mass", "model")
    with pytest.raises(InputError, match="a forecast is by the signs gate, where confidence are"):
        dataclasses.replace(by("gate"), answer=Regression(("gate",), (1.0,), 0.0))
    with pytest.raises(InputError, match="give a finite one for each"):
        Regression(("gate",), (float("nan"),), 0.0)


def test_updates_are_observed_as_the_tool_makes_them(adapter: MassAdapter, tmp_path: Path):
    problems = list(read_config(RUN).task.load("test"))[:3]
    found = observed.observe(adapter, problems, 2)
    assert found.signs_PxNxF.shape == (3, 2, len(NAMES)) and found.gains_PxN.shape == (3, 2)
    again = adapter.adapt(problems[2], Options(seed=5))
    assert plain(again) == plain(found.adapted_NxP[1][2]), "the third problem's second seed"
    grade = adapter.learner.actor.task.grade
    right = grade(problems, [each.answer for each in found.adapted_NxP[0]])
    assert found.after_PxN[:, 0].tolist() == [each.correct for each in right]

    fitted = observed.fit(adapter, problems, 2)
    run = shutil.copytree(RUN, tmp_path / "run")
    forecast.write(run, "mass", fitted)
    assert MassAdapter.load(run, batch=2).forecast == fitted
    base = dataclasses.replace(
        adapter.learner, recipe=dataclasses.replace(adapter.learner.recipe, practice=None, weights="uniform")
    )
    with pytest.raises(InputError, match="makes no updates"):
        observed.fit(dataclasses.replace(adapter, learner=base), problems, 2)


# The benchmark.


@pytest.fixture
def at(adapter: MassAdapter, texts: list[str]) -> benchmark.Measured:
    """Four problems of two families with two sets each: the second set is the better one of the first problem."""
    one = dataclasses.replace(
        adapter.adapt(texts[0]),
        phases=tuple(Phase(name, 2.0, tokens) for name, tokens in zip(PHASES, (4, 100, 0, 50, 0, 4), strict=True)),
    )
    gates = [[0.5, 1.0, 1.0, 1.0], [1.5, 1.0, 0.5, 1.0]]
    adapted = [[dataclasses.replace(one, gate=gate) for gate in row] for row in gates]
    before, after = np.array([0, 0, 1, 1], bool), np.array([[0, 1], [1, 1], [0, 1], [1, 1]], bool)
    found = Observed(
        np.zeros((4, 2, len(NAMES))), before, after, after | True, np.array([0, 0, 1, 1]), adapted, [1.0, 3.0]
    )
    learned = np.array([[0.2, 0.8], [0.5, 0.4], [-0.5, 0.0], [0.04, 0.04]])
    return benchmark.Measured(found, 2, np.array([0.3, 0.3, 0.0, -0.1]), learned)


def test_ways_are_held_against_what_was_observed(at: benchmark.Measured):
    found = {way.label: way for way in benchmark.ways(at)}
    assert found["never update"].right_P.tolist() == [0, 0, 1, 1] and found["never update"].tokens == 4
    always = found["always update"]
    assert always.right_P.tolist() == [0.5, 1, 0.5, 1] and (always.tokens, always.declined) == (158, 0)
    assert always.seconds == 2.0 * 6 / 2
    simple = found["decline below 0.05, by confidence"]
    assert simple.right_P.tolist() == [0.5, 1, 1, 1] and (simple.tokens, simple.declined) == ((158 + 4) / 2, 0.5)
    learned = found["decline below 0.05, learned"]
    assert learned.right_P.tolist() == [0.5, 1, 1, 1] and learned.tokens == 104 + 54 / 2, "practice is written"
    assert found["decline below 0, learned"].declined == 1 / 8
    assert found["decline, by an oracle"].right_P.tolist() == [0.5, 1, 1, 1]
    assert found["best of 2 sets, by the scorer's gate"].right_P.tolist() == [1, 1, 0, 1]
    best = found["best of 2 sets, learned"]
    assert best.right_P.tolist() == [1, 1, 1, 1] and best.tokens == 4 + 200 + 54
    assert best.seconds - found["best of 2 sets, by the scorer's gate"].seconds == 2 * 2.0 / 2, "signs of both are seen"
    rows = benchmark.table(list(found.values()), at.found.families_P).rows
    assert len(rows) == len(found) and "always update" in [row[0] for row in rows]
    pairs = benchmark.pairs(list(found.values()), at.found.families_P).rows
    assert ("best of 2 sets, learned", "best of 2 sets, by the scorer's gate") in [row[:2] for row in pairs]


def test_a_larger_set_stands_beside_several(adapter: MassAdapter, at: benchmark.Measured):
    asked = list[Any]()

    class Asked:
        learner = adapter.learner

        def adapt(self, problems: Any, options: Any) -> list[Any]:
            asked.append(options)
            return at.found.adapted_NxP[0][: len(problems)]

    problems = list(read_config(RUN).task.load("test"))[:4]
    (way,) = benchmark.larger(Asked(), problems, at)  # type: ignore[arg-type]
    examples = 2 * adapter.learner.actor.method.generator.examples
    assert way.label == f"one set of {examples} examples" and way.right_P.shape == (4,)
    assert asked == [Options(examples=examples), [Options(seed=seed, examples=examples) for seed in range(4)]]
    assert (way.tokens, way.seconds) == (158, 2.0 * 6 / 2)
