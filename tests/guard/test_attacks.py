"""Attacks do what they say; with a guard that nothing passes the base answers; no practice reaches another request."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.benchmarks.attacks import table
from mass_jax.errors import InputError
from mass_jax.guard import agreement, attacked, attacks, canaries, filters
from mass_jax.guard.attacks import PLANTS, Planted, Setting
from mass_jax.guard.calibration import Calibration
from mass_jax.guard.guard import Guard
from mass_jax.guard.thresholds import Thresholds
from mass_jax.inference.adapter import MassAdapter
from mass_jax.mass.practice import pack_practice
from mass_jax.study.load import read_config
from mass_jax.types import PyTree

RUN = Path(__file__).parents[1] / "study" / "earlier" / "run"
CLOSED = Thresholds(norm=0.0)
"""Nothing passes."""


@pytest.fixture(scope="module")
def setting() -> Setting:
    """Two problems that are attacked, two that are held, and a guard that refuses every update."""
    learner = MassAdapter.load(RUN, batch=2).learner
    problems = list(read_config(RUN).task.load("test"))
    likelihoods = canaries.asked(learner.actor, None, problems[4:6], 1)[1][0]
    found = Calibration(CLOSED, tuple(problems[6:7]), tuple(problems[4:6]), tuple(likelihoods.tolist()), "")
    return Setting(learner, Guard(found), problems[:2], problems[2:4])


@pytest.fixture(scope="module")
def planted(setting: Setting) -> dict[str, Planted]:
    return {name: plant(setting) for name, plant in PLANTS.items()}


def equal(one: PyTree, other: PyTree) -> bool:
    return jax.tree.all(jax.tree.map(lambda x, y: bool((x == y).all()), one, other))


def test_each_plants_what_it_says(setting: Setting, planted: dict[str, Planted]):
    task = setting.task
    right = attacks.right(setting)
    for name, each in planted.items():
        assert [len(row) for row in each.texts] == [setting.examples] * 2, name
        assert each.weighing == (
            "nan" if "NaN" in name else "forced" if "forced" in name or "empty" in name else "scorer"
        )

    def correct(rows: list) -> list[bool]:
        return [task.is_correct(p, e) for p, row in zip(setting.problems, rows, strict=True) for e in row]

    assert all(correct(right)) and not any(correct(planted["right-looking wrong answers"].texts))
    assert len({e.solution for row in planted["one answer to everything"].texts for e in row}) == 1
    assert {e.solution for row in planted["empty solutions"].texts for e in row} == {""}
    swapped = planted["answers of another problem"].texts
    assert [e.solution for e in swapped[0]] == [e.solution for e in right[1]]
    assert [e.prompt for e in swapped[0]] == [e.prompt for e in right[0]]
    wrong = planted["right-looking wrong answers"].texts
    for e, was in zip(sum(attacks.garbage(setting).texts, []), sum(wrong, []), strict=True):
        assert sorted(e.solution.split()) == sorted(was.solution.split())


def test_poison_raises_the_canaries_loss_more_than_what_it_is_chosen_from(setting: Setting):
    free = setting._replace(guard=Guard(None))
    assert setting.guard.calibration is not None

    def loss(planted: Planted) -> float:
        adapters = attacks.updated(free, planted._replace(weighing="forced"), None)
        return -float(canaries.asked(setting.actor, adapters, setting.guard.calibration.canaries, 2)[1].mean())

    assert loss(attacks.poison(setting)) > max(loss(attacks.wrong_answers(setting)), loss(attacks.others(setting)))


def test_what_is_chosen_to_agree_surprises_less(setting: Setting):
    def surprise(planted: Planted) -> float:
        sets = pack_practice(setting.actor, setting.problems, planted.texts)
        return float(agreement.surprises(setting.actor, sets).mean())

    assert surprise(attacks.agreeing(setting)) < surprise(attacks.wrong_answers(setting))


def test_a_closed_guard_leaves_the_base(setting: Setting, planted: dict[str, Planted]):
    for name, each in planted.items():
        unguarded = attacks.updated(setting, each, None)
        guarded = attacks.updated(setting, each, setting.guard)
        assert equal(guarded, jax.tree.map(lambda leaf, new: np.broadcast_to(new, leaf.shape), guarded, setting.fresh))
        assert not equal(unguarded, guarded), name
        assert ("NaN" in name) == any(np.isnan(leaf).any() for leaf in jax.tree.leaves(unguarded))


def test_an_adapter_that_is_carried_over_moves_on(setting: Setting):
    norms = []
    for updates in (1, 4):
        found = attacks.carried(setting, None, updates)
        moved = jax.tree.map(lambda end, start: np.square(end[0] - start).sum(), found, setting.fresh)
        norms.append(float(np.sqrt(sum(jax.tree.leaves(moved)))))
    assert norms[1] > 1.5 * norms[0]
    assert equal(attacks.carried(setting, setting.guard, 2), jax.tree.map(lambda leaf: leaf[None], setting.fresh))


def test_rows_say_what_became_of_problems(setting: Setting):
    names = ("right-looking wrong answers", attacked.INSTRUCTIONS, attacked.FOREIGN, attacked.BESIDE)
    rows = list(attacked.rows(setting, names))
    assert [row["attack"] for row in rows] == list(names)
    for row in rows:
        assert {"attack", "base", "unguarded", "guarded", "right_to_wrong", "wrong_to_right"} <= row.keys()
    assert rows[0]["base"] == rows[0]["guarded"] and rows[0]["right_to_wrong"] == rows[0]["wrong_to_right"] == 0
    assert rows[0]["answers"] == 2 and rows[0]["others"]["base"] == rows[0]["others"]["guarded"]
    assert rows[1]["base"] == rows[1]["unguarded"], "a problem of another form is not even adapted to"
    assert rows[3]["adapters_changed"] == 0 and rows[3]["answers"] == 1
    benign = attacked.benign(setting)
    assert benign["gain_guarded"] == 0 and benign["others"]["guarded"] == benign["others"]["base"]
    assert len(table(benign, rows).rows) == 5


def test_a_domain_that_does_not_know_what_is_right_is_a_sentence(setting: Setting):
    domain = dataclasses.replace(setting.actor.domain, task=filters)  # type: ignore[arg-type]
    unknown = setting._replace(learner=dataclasses.replace(setting.learner, actor=setting.actor.replace(domain=domain)))
    with pytest.raises(InputError, match="attacks need a domain that knows which practice is right"):
        attacks.right(unknown)
