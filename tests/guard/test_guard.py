"""What becomes of updates: kept, scaled back or refused; and an update made again from what was recorded."""

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mass_jax.errors import InputError
from mass_jax.guard import agreement, audit, calibration, canaries, trust_region
from mass_jax.guard.calibration import Calibration, limits
from mass_jax.guard.guard import NOT_FINITE, Guard, calibrated, same
from mass_jax.guard.thresholds import Thresholds
from mass_jax.guard.verdict import ALWAYS, CHECKS, Verdict
from mass_jax.inference import audited, phases
from mass_jax.inference import calibrate as calibrate_module
from mass_jax.inference.adapter import MassAdapter
from mass_jax.inference.calibrate import calibrate
from mass_jax.inference.forecast import forecast
from mass_jax.inference.options import Options
from mass_jax.mass import attribution
from mass_jax.mass.packing import mean_log_probs, pack
from mass_jax.mass.practice import pack_practice
from mass_jax.study.load import read_config
from mass_jax.tasks.base import KnowsFamily, Problem
from mass_jax.types import PyTree

RUN = Path(__file__).parents[1] / "study" / "earlier" / "run"


@pytest.fixture(scope="module")
def adapter() -> MassAdapter:
    return MassAdapter.load(RUN, batch=2)


@pytest.fixture(scope="module")
def problems() -> list[Problem]:
    return list(read_config(RUN).task.load("test"))


@pytest.fixture(scope="module")
def free(adapter: MassAdapter, problems: list[Problem]) -> Calibration:
    """Without limits. This model solves next to nothing: its canaries are what it says itself."""
    found = adapter.adapt(problems[4:7], Options(update=False))
    held = tuple(
        dataclasses.replace(problem, solution=each.answer) for problem, each in zip(problems[4:7], found, strict=True)
    )
    right, likelihoods = canaries.asked(adapter.learner.actor, None, held, 1)
    assert right.all()
    return Calibration(Thresholds(), tuple(problems[7:9]), held, tuple(likelihoods[0].tolist()), "model")


@pytest.fixture(scope="module")
def fresh(adapter: MassAdapter) -> PyTree:
    return attribution.fresh_adapter(adapter.learner.actor, jax.random.key(phases.KEY))


@pytest.fixture(scope="module")
def adapters(fresh: PyTree) -> PyTree:
    """Of two problems: a small change and a large one."""

    def moved(leaf: Any) -> Any:
        noise = jax.random.normal(jax.random.key(leaf.size), (2, *leaf.shape))
        return leaf + noise * jnp.array([0.01, 0.5]).reshape(2, *(1,) * leaf.ndim)

    return jax.tree.map(moved, fresh)


def limited(free: Calibration, **changes: float) -> Guard:
    return Guard(dataclasses.replace(free, thresholds=Thresholds(**changes)))


def equal(one: PyTree, other: PyTree, row: int | None = None) -> bool:
    return jax.tree.all(jax.tree.map(lambda x, y: bool((x[row if row is not None else ...] == y).all()), one, other))


def held(guard: Guard, adapter: MassAdapter, problems: list[Problem], fresh: PyTree, adapters: PyTree) -> Any:
    return guard.hold(adapter.learner.actor, problems[:2], fresh, adapters)


def test_without_limits_nothing_changes(adapter: Any, problems: Any, free: Any, fresh: Any, adapters: Any):
    kept, verdicts = held(limited(free), adapter, problems, fresh, adapters)
    assert equal(kept, adapters)
    assert [verdict.outcome for verdict in verdicts] == ["accepted"] * 2
    norms = [float(jnp.sqrt(sum(jnp.sum((x[i] - y) ** 2) for x, y in _pairs(adapters, fresh)))) for i in range(2)]
    np.testing.assert_allclose([verdict.norm for verdict in verdicts], norms, rtol=1e-5)
    assert 0 < verdicts[0].kl < verdicts[1].kl and verdicts[0].checks == CHECKS
    assert verdicts[0].canaries[0] == 3


def _pairs(one: PyTree, other: PyTree) -> list[tuple[Any, Any]]:
    return list(zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


def test_kl_is_that_of_the_distributions(adapter: Any, problems: Any, free: Any, fresh: Any, adapters: Any):
    """Against a sum over the vocabulary, written down by hand."""
    from mass_jax.models import decoder

    actor = adapter.learner.actor
    _, verdicts = held(limited(free), adapter, problems, fresh, adapters)
    asked = attribution.references(actor, free.anchors).weighed.sequences
    tokens, target = np.asarray(asked.tokens)[:, 0], np.asarray(asked.target)[:, 0]
    model = actor.method.model

    def probabilities(row: PyTree) -> np.ndarray:
        hidden = decoder.forward(model, actor.params, row, jnp.asarray(tokens))[0]
        return np.asarray(jax.nn.softmax(decoder.logits(model, actor.params, hidden)), np.float64)

    base, moved = probabilities(None), probabilities(jax.tree.map(lambda leaf: leaf[1], adapters))
    kl = (base * np.log(base / moved)).sum(axis=-1)
    places = [(a, t - 1) for a, t in zip(*np.nonzero(target), strict=True)]
    np.testing.assert_allclose(verdicts[1].kl, np.mean([kl[place] for place in places]), rtol=1e-3)


@pytest.mark.parametrize("what", ["norm", "kl"])
def test_what_goes_too_far_is_scaled_back(what: str, adapter: Any, problems: Any, free: Any, fresh: Any, adapters: Any):
    _, before = held(limited(free), adapter, problems, fresh, adapters)
    small, large = (getattr(verdict, what) for verdict in before)
    limit = (small + large) / 3
    assert small < limit < large
    kept, verdicts = held(limited(free, **{what: limit}), adapter, problems, fresh, adapters)
    assert equal(kept, jax.tree.map(lambda leaf: leaf[0], adapters), 0) or verdicts[0].scale == 1
    assert verdicts[0] == before[0], "what one problem gets does not depend on another's"
    assert verdicts[1].outcome == "scaled" and 0 < verdicts[1].scale < 1
    assert getattr(verdicts[1], what) <= limit * (1 + 1e-5)
    assert getattr(verdicts[1], what) > limit * 0.8, "no more is taken than has to be"
    for end, start, was in zip(*map(jax.tree.leaves, (kept, fresh, adapters)), strict=True):
        np.testing.assert_allclose(end[1] - start, verdicts[1].scale * (was[1] - start), atol=1e-6)
    assert f"{limit:.3g}" in verdicts[1].reason


def test_where_no_part_fits_the_base_answers(adapter: Any, problems: Any, free: Any, fresh: Any, adapters: Any):
    kept, verdicts = held(limited(free, norm=0.0), adapter, problems, fresh, adapters)
    assert {verdict.outcome for verdict in verdicts} == {"refused"}
    assert equal(kept, fresh)


def test_lost_canaries_and_references_roll_back(adapter: Any, problems: Any, free: Any, fresh: Any, adapters: Any):
    _, before = held(limited(free), adapter, problems, fresh, adapters)
    assert before[1].canaries[1] < 3, "the large change has to harm"
    kept, verdicts = held(limited(free, lost=0.0), adapter, problems, fresh, adapters)
    assert verdicts[1].outcome == "refused" and "of 3 held problems that the base solves it loses" in verdicts[1].reason
    assert equal(kept, fresh, 1) and verdicts[1].scale == 0
    fall = (before[0].fall + before[1].fall) / 2
    assert before[0].fall < before[1].fall
    kept, verdicts = held(limited(free, fall=fall), adapter, problems, fresh, adapters)
    assert [verdict.outcome for verdict in verdicts] == ["accepted", "refused"]
    assert "nats a token less likely" in verdicts[1].reason
    assert equal(kept, fresh, 1) and not equal(kept, fresh, 0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("calibrated", [True, False])
def test_what_is_not_finite_is_refused_and_harms_no_other(
    value: float, calibrated: bool, adapter: Any, problems: Any, free: Any, fresh: Any, adapters: Any
):
    guard = limited(free) if calibrated else Guard()
    name = next(iter(adapters))
    bad = adapters | {name: adapters[name] | {"b": adapters[name]["b"].at[1, 0, 0, 0].set(value)}}
    kept, verdicts = held(guard, adapter, problems, fresh, bad)
    assert [verdict.outcome for verdict in verdicts] == ["accepted", "refused"]
    assert verdicts[1].reason == NOT_FINITE and equal(kept, fresh, 1)
    assert equal(jax.tree.map(lambda leaf: leaf[0], adapters), jax.tree.map(lambda leaf: leaf[0], kept))
    json.dumps(verdicts[1].as_json(), allow_nan=False)


def test_the_problem_that_is_asked_is_no_canary_of_its_own(
    adapter: Any, problems: Any, free: Any, fresh: Any, adapters: Any
):
    own = [free.canaries[0], problems[0]]
    _, verdicts = limited(free).hold(adapter.learner.actor, own, fresh, adapters)
    assert [verdict.canaries[0] for verdict in verdicts] == [2, 3]
    assert same(own[0], dataclasses.replace(own[0], prompt=" ".join(reversed(own[0].prompt.split()))))
    only = dataclasses.replace(free, anchors=free.anchors[:1])
    _, verdicts = limited(only).hold(adapter.learner.actor, [free.anchors[0], problems[0]], fresh, adapters)
    assert verdicts[0].kl == 0 and verdicts[1].kl > 0


def test_a_guard_is_on_unless_it_is_told_otherwise(adapter: MassAdapter, problems: list[Problem]):
    assert isinstance(adapter.guard, Guard) and adapter.guard.calibration is None
    verdict = adapter.adapt(problems[0]).verdict
    assert verdict is not None and verdict.checks == ALWAYS and verdict.norm > 0 and verdict.kl is None
    assert MassAdapter.load(RUN, guard=False).guard is None


def test_an_update_is_made_again_from_its_record(
    adapter: MassAdapter, free: Calibration, problems: list[Problem], tmp_path: Path
):
    path = tmp_path / "audit.jsonl"
    kept = dataclasses.replace(adapter, audit=path)
    found = kept.adapt([problem.prompt for problem in problems[:3]], [Options(seed=seed) for seed in range(3)])
    norm = found[0].verdict.norm if found[0].verdict else 0.0
    scaled = dataclasses.replace(kept, guard=limited(free, norm=norm / 3)).adapt(problems[0], Options(examples=2))
    assert scaled.verdict is not None and scaled.verdict.outcome == "scaled"
    kept.adapt(problems[0], Options(update=False))
    records = audit.read(path)
    assert audit.verify(path).faults == [] and len(records) == 4, "what made no practice is no update"
    for record, each in zip(records, [*found, scaled], strict=True):
        again = audited.rebuild(record, adapter.learner)
        assert equal(again, each.adapter) if each.updated else again is None
    forged = records[0] | {"weights": [weight * 2 + 1 for weight in records[0]["weights"]]}
    with pytest.raises(InputError, match="cannot be made again"):
        audited.rebuild(forged, adapter.learner)
    with pytest.raises(InputError, match="is not the one that was recorded"):
        audited.rebuild(records[0] | {"practice": records[1]["practice"]}, adapter.learner)


def test_limits_are_a_quantile_of_benign_updates_with_a_margin():
    verdicts = [Verdict("accepted", "", i / 100, i / 1000, 1.0, (10, 10 - (i == 50)), -1.0) for i in range(101)]
    found = limits(verdicts, [i / 10 for i in range(101)])
    limited = [found.surprise, found.norm, found.kl, found.lost, found.fall]
    np.testing.assert_allclose(limited, [9.5 * 1.25, 0.95 * 1.25, 0.095 * 1.25, 0.1, 1.25e-3])


def read_back(run: Path, arm: str) -> Calibration | None:
    """What is read of an arm, of problems that any model can read."""
    return calibration.read(run, arm, "model", lambda problem: None)


def test_a_calibration_is_kept_and_held_to_its_model(tmp_path: Path, free: Calibration):
    calibration.write(tmp_path, "mass", free)
    calibration.write(tmp_path, "other", dataclasses.replace(free, model="another"))
    assert read_back(tmp_path, "mass") == free
    assert read_back(tmp_path, "third") is None
    assert read_back(tmp_path / "nowhere", "mass") is None
    with pytest.raises(InputError, match="was calibrated on another model than the 'other' of now"):
        read_back(tmp_path, "other")
    text = (tmp_path / calibration.FILE).read_text()
    (tmp_path / calibration.FILE).write_text(text.replace('"difficulty": ', '"difficulty": 1'))
    with pytest.raises(InputError, match="its checksum does not fit its content"):
        read_back(tmp_path, "mass")


EDITED: dict[str, Callable[[dict[str, Any]], object]] = {
    "null": lambda found: found.update(mass=None),
    "3 canaries have the likelihoods": lambda found: found["mass"]["likelihoods"].append(-1.0),
    "nan": lambda found: found["mass"]["likelihoods"].__setitem__(0, float("nan")),
    "0 anchors": lambda found: found["mass"].update(anchors=[]),
    "0 canaries": lambda found: found["mass"].update(canaries=[], likelihoods=[]),
    "Calibration.likelihoods": lambda found: found["mass"].update(likelihoods="abc"),
    "Problem.prompt": lambda found: found["mass"]["anchors"][0].update(prompt=7),
    "thresholds.kl": lambda found: found["mass"]["thresholds"].update(kl=None),
    "thresholds.lost = None": lambda found: found["mass"]["thresholds"].pop("lost"),
    "unexpected keyword argument 'most'": lambda found: found["mass"]["thresholds"].update(most=1.0),
}


@pytest.mark.parametrize("words", EDITED)
def test_a_calibration_that_was_edited_by_hand_is_a_sentence(words: str, tmp_path: Path, free: Calibration):
    calibration.write(tmp_path, "mass", free)
    found = json.loads((tmp_path / calibration.FILE).read_text())["arms"]
    EDITED[words](found)
    (tmp_path / calibration.FILE).write_text(json.dumps({"arms": found}))
    with pytest.raises(InputError, match=f"({words}).* or load without a guard"):
        read_back(tmp_path, "mass")


@pytest.mark.parametrize("field", ["prompt", "solution"])
@pytest.mark.parametrize("which", ["anchors", "canaries"])
def test_a_calibration_on_what_the_model_cannot_read_is_a_sentence(
    field: str, which: str, tmp_path: Path, adapter: MassAdapter, free: Calibration
):
    run = tmp_path / "run"
    shutil.copytree(RUN, run)
    model = calibration.fingerprint((adapter.learner.actor.params, adapter.learner.eta))
    path = calibration.write(run, "mass", dataclasses.replace(free, model=model))
    assert MassAdapter.load(run).guard is not None
    found = json.loads(path.read_text())["arms"]
    found["mass"][which][0][field] += " xyzzy"
    path.write_text(json.dumps({"arms": found}))
    with pytest.raises(InputError, match="no calibration of 'mass' that can be read .*xyzzy.* or load without a guard"):
        MassAdapter.load(run)


def test_a_forecast_of_nothing_is_a_sentence(tmp_path: Path):
    (tmp_path / forecast.FILE).write_text('{"arms": {"mass": null}}')
    with pytest.raises(InputError, match="of 'mass' it has null.*fit it again"):
        forecast.read(tmp_path, "mass", "model")


@pytest.mark.parametrize("kept", [calibration, forecast])
def test_what_cannot_be_kept_is_said_before_it_is_made(kept: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    kept.ready(tmp_path)
    (tmp_path / kept.FILE).write_text("{")
    with pytest.raises(InputError, match="cannot be read .*: move it away"):
        kept.ready(tmp_path)
    (tmp_path / kept.FILE).unlink()
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match="cannot be written: make its folder writable"):
        kept.ready(tmp_path)


def test_an_arm_without_updates_has_nothing_to_calibrate_on(adapter: MassAdapter, problems: list[Problem]):
    recipe = dataclasses.replace(adapter.learner.recipe, practice=None, weights="uniform")
    base = dataclasses.replace(adapter, learner=dataclasses.replace(adapter.learner, recipe=recipe))
    with pytest.raises(InputError, match="makes no updates, which a guard would be calibrated on: name another arm"):
        calibrate(base, problems)


@pytest.mark.parametrize("guard", [None, Guard()])
def test_a_guard_without_a_calibration_is_refused_with_the_command_that_makes_one(
    guard: Guard | None, free: Calibration
):
    assert calibrated(Guard(free), Path("runs/a"), "mass") is free
    with pytest.raises(InputError) as told:
        calibrated(guard, Path("runs/a"), "mass")
    assert str(told.value) == (
        "the arm 'mass' of 'runs/a' has no calibrated guard: "
        "python -m experiments.calibrate_guard --workdir=runs/a --arm=mass makes one."
    )


def test_a_guard_is_calibrated_on_problems_that_the_base_solves(
    adapter: MassAdapter, problems: list[Problem], monkeypatch: pytest.MonkeyPatch
):
    answers = adapter.adapt(problems, Options(update=False))
    own = [dataclasses.replace(p, solution=each.answer) for p, each in zip(problems, answers, strict=True)]
    monkeypatch.setattr("mass_jax.inference.calibrate.ANCHORS", 2)
    surprises, asked = calibrate_module._surprises, []
    monkeypatch.setattr(calibrate_module, "_surprises", lambda *args: asked.extend(args[1]) or surprises(*args))
    found = calibrate(adapter, own)
    assert asked and all(problem.solution == each.answer for problem, each in asked), "only what is right is gone by"
    assert found.anchors == tuple(own[:2]) and len(found.canaries) == len(found.likelihoods) >= 4
    assert 0 < found.thresholds.norm < 2 and found.thresholds.kl > 0 and 0 < found.thresholds.lost <= 1
    with pytest.raises(InputError, match="are too few to calibrate a guard on"):
        calibrate(adapter, own[:6])
    with pytest.raises(InputError, match="the un-adapted model solves 0"):
        calibrate(adapter, [dataclasses.replace(problem, solution="") for problem in own])
    half = 2 + (len(own) - 2) // 2  # behind anchors and canaries
    with pytest.raises(InputError, match="of . updates none answers right"):
        calibrate(adapter, own[:half] + [dataclasses.replace(problem, solution="") for problem in own[half:]])


def test_practice_that_does_not_go_with_what_the_problem_shows_is_left_out(
    adapter: MassAdapter, problems: list[Problem], free: Calibration
):
    actor, rng = adapter.learner.actor, np.random.default_rng(0)
    assert isinstance(actor.task, KnowsFamily)
    rows = [list(actor.task.gold_practice(problem, 3, rng, strict=True)) for problem in problems[:2]]
    sets = pack_practice(actor, problems[:2], rows)
    surprise_PxM = agreement.surprises(actor, sets)
    first = actor.task.checks(problems[1], rows[1][2])[0]
    packed = pack(actor.tokenizer, [first], actor.method.lengths.check, "lengths.check", end=False)
    np.testing.assert_allclose(
        surprise_PxM[1, 2], -mean_log_probs(actor.method.model, actor.params, None, packed)[0], rtol=1e-4
    )
    most = float(np.median(surprise_PxM))
    found = limited(free, surprise=most).screen(actor, problems[:2], sets)
    assert [[bool(reason) for reason in row] for row in found] == (surprise_PxM > most).tolist()
    assert {reason for row in found for reason in row} == {"", agreement.DISAGREEING}
    assert not any(sum(limited(free).screen(actor, problems[:2], sets) + Guard().screen(actor, problems[:2], sets), []))


@pytest.mark.parametrize("value", [-1.0, float("nan"), "1", True, None])
def test_a_threshold_is_a_number_from_zero_on(value: Any):
    with pytest.raises(InputError, match=r"thresholds.kl = .*: give a number of at least 0"):
        Thresholds(kl=value)


def test_a_scale_of_one_changes_no_bit(fresh: PyTree, adapters: PyTree):
    assert equal(trust_region.scaled(fresh, adapters, np.ones(2, np.float32)), adapters)
