"""`MassAdapter`: what a problem gets depends on its text and its seed, and every step of it is told."""

import dataclasses
import json
import types
from typing import Any

import jax
import numpy as np
import pytest

import mass_jax
from mass_jax import InputError
from mass_jax.guard.verdict import Verdict
from mass_jax.inference import budget
from mass_jax.inference.adapted import PHASES
from mass_jax.inference.adapter import Event, MassAdapter
from mass_jax.inference.options import Options
from mass_jax.models import sampling
from mass_jax.types import PyTree
from tests.inference.conftest import RUN


def plain(adapted: Any) -> str:
    return json.dumps(adapted.as_json(timing=False))


def test_a_problem_gets_the_same_alone_and_beside_others(adapter: MassAdapter, texts: list[str]):
    options = [Options(seed=seed) for seed in (7, 8, 2**31 - 1)]
    together = adapter.adapt(texts, options)
    alone = [adapter.adapt(text, each) for text, each in zip(texts, options, strict=True)]
    assert [plain(each) for each in together] == [plain(each) for each in alone]
    assert [each.seed for each in together] == [7, 8, 2**31 - 1]
    for one, other in zip(together, alone, strict=True):
        assert jax.tree.all(jax.tree.map(lambda x, y: bool((x == y).all()), one.adapter, other.adapter))


def test_the_seed_decides_the_practice(adapter: MassAdapter, texts: list[str]):
    found = [adapter.adapt(texts[0], Options(seed=seed)).practice for seed in range(4)]
    assert len({tuple(each.practice for each in row) for row in found}) > 1


def test_the_answer_before_is_the_bases(adapter: MassAdapter, texts: list[str]):
    base = mass_jax.load(RUN, "mass")
    base = dataclasses.replace(base, recipe=mass_jax.Recipe())
    assert [each.answer_before for each in adapter.adapt(texts)] == [base.answer(text) for text in texts]
    without = adapter.adapt(texts[0], Options(update=False))
    assert (without.answer, without.updated, without.practice) == (without.answer_before, False, ())
    assert without.why == "no update was asked for" and [each.name for each in without.phases] == ["answer_before"]


def test_everything_is_told_in_its_order(adapter: MassAdapter, texts: list[str]):
    told: list[Event] = []
    found = adapter.adapt(texts, watch=told.append)
    names = [event.phase for event in told if event.shown is None]
    assert names == list(PHASES) * 2, "three problems are two batches of two"
    assert [len(event.shown) for event in told if event.shown is not None] == [2] * 6 + [1] * 6
    assert [each.name for each in found[0].phases] == list(PHASES)
    assert found[0].tokens == sum(each.tokens for each in found[0].phases)
    assert found[0].seconds == sum(each.seconds for each in found[0].phases) > 0


def test_practice_is_told_while_it_is_written(adapter: MassAdapter, texts: list[str], monkeypatch: pytest.MonkeyPatch):
    told: list[Event] = []
    expected = adapter.adapt(texts[0], Options(seed=3), told.append)
    assert [event for event in told if event.written] == [], "these are no longer than what is told of at once"
    monkeypatch.setattr(sampling, "STOP_EVERY", 4)
    assert plain(adapter.adapt(texts[0], Options(seed=3), told.append)) == plain(expected)
    rows = [event.written for event in told if event.written]
    assert len(rows) == 3, "14 tokens: after 4, 8 and 12"
    assert [len(row) for row in rows] == [1, 1, 1] and [len(row[0]) for row in rows] == [len(expected.practice)] * 3
    for earlier, later in zip(rows, rows[1:], strict=False):
        assert all(long.startswith(short) for short, long in zip(earlier[0], later[0], strict=True))
    assert rows[0] != rows[-1]
    for text, used in zip(rows[-1][0], expected.practice, strict=True):
        assert not used.practice.well_formed or used.practice.prompt.split()[0] in text


def test_what_is_counted_is_within_what_was_foretold(adapter: MassAdapter, texts: list[str]):
    method = adapter.learner.actor.method
    for votes in (1, 3):
        options = Options(votes=votes)
        assert 0 < adapter.adapt(texts[0], options).tokens <= budget.tokens(method, options)


def test_tokens_halve_the_practice_or_forbid_it(adapter: MassAdapter, texts: list[str]):
    method = adapter.learner.actor.method
    whole = budget.tokens(method, Options())
    found = adapter.adapt(texts[0], Options(tokens=whole - 1))
    assert found.updated and len(found.practice) == method.generator.examples // 2
    assert adapter.adapt(texts[0], Options(tokens=whole)).practice == adapter.adapt(texts[0]).practice
    nothing = adapter.adapt(texts[0], Options(tokens=1))
    assert not nothing.updated and nothing.answer == nothing.answer_before
    assert nothing.why.startswith("a budget of 1 tokens allows none: the smallest update takes up to ")
    least = int(nothing.why.rpartition(" ")[2])
    assert adapter.adapt(texts[0], Options(tokens=least)).updated
    assert not adapter.adapt(texts[0], Options(tokens=least - 1)).updated


def test_without_time_the_base_answers(adapter: MassAdapter, texts: list[str], monkeypatch: pytest.MonkeyPatch):
    now = [0.0]

    def later() -> float:
        now[0] += 1.0
        return now[0]

    monkeypatch.setattr(budget, "time", types.SimpleNamespace(monotonic=later))
    found = adapter.adapt(texts[0], Options(seconds=4.0, votes=5))
    assert not found.updated and found.answer == found.answer_before
    assert found.why == "0.0 of 4 seconds were left, and what was left to do takes longer"
    assert [each.name for each in found.phases] == ["answer_before", "write"]
    known = adapter.adapt(texts[0], Options(seconds=1e6, votes=5))
    assert known.updated
    assert "takes about" in adapter.adapt(texts[0], Options(seconds=6.0, votes=5)).why


def test_solutions_vote(adapter: MassAdapter, texts: list[str]):
    found = adapter.adapt(texts[0], Options(votes=5))
    assert sum(found.votes.values()) == 5 and max(found.votes.values()) == next(iter(found.votes.values()))
    assert adapter.adapt(texts[0]).votes == {}


class Halving:
    """A guard that leaves out the first example, halves each update, and refuses that of the second problem."""

    def screen(self, actor: Any, problems: Any, sets: Any) -> list[list[str]]:
        return [["not this one"] + [""] * (len(row) - 1) for row in sets.texts]

    def hold(self, actor: Any, problems: Any, fresh: PyTree, adapters: PyTree) -> tuple[PyTree, list[Verdict]]:
        half = jax.tree.map(lambda start, end: start + (end - start) / 2, fresh, adapters)
        scaled = Verdict("scaled", "too far", 1.0, 0.1, 0.5, (3, 3))
        return half, [scaled, scaled._replace(outcome="refused", reason="by its number")]


def test_a_guard_decides(adapter: MassAdapter, texts: list[str]):
    guarded = dataclasses.replace(adapter, guard=Halving())
    first, second = guarded.adapt(texts[:2])
    assert first.practice[0].weight == 0 and first.practice[0].left_out in ("not this one", "malformed")
    assert first.updated and first.verdict is not None and first.verdict.scale == 0.5
    assert not second.updated and second.answer == second.answer_before and second.adapter is None
    assert second.why == "the guard refused the update: by its number"
    assert first.as_json()["guard"]["canaries"] == {"base": 3, "adapted": 3}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seed": -1}, "seed = -1: give a whole number from 0"),
        ({"seed": 2**31}, "seed = 2147483648: give a whole number from 0 to 2147483647"),
        ({"votes": 0}, "votes = 0: give a whole number from 1 to 64"),
        ({"votes": 65}, "votes = 65: give a whole number from 1 to 64"),
        ({"examples": 65}, "examples = 65: give a whole number from 1 to 64"),
        ({"steps": 17}, "steps = 17: give a whole number from 1 to 16"),
        ({"votes": 2}, "votes = 2: two that differ decide nothing"),
        ({"examples": 0}, "examples = 0"),
        ({"steps": True}, "steps = True"),
        ({"tokens": 1.5}, "tokens = 1.5"),
        ({"seconds": 0}, "seconds = 0: give a finite number above 0"),
        ({"seconds": float("nan")}, "seconds = nan"),
        ({"update": 1}, "update = 1: give true or false"),
    ],
)
def test_options_out_of_their_range_are_sentences(options: dict[str, Any], words: str):
    with pytest.raises(InputError, match=words):
        Options(**options)


def test_what_cannot_be_answered_is_a_sentence(adapter: MassAdapter, texts: list[str]):
    with pytest.raises(InputError, match="1 problems have 2 options"):
        adapter.adapt(texts[:1], [Options(), Options()])
    with pytest.raises(InputError, match="differ in more than their seeds"):
        adapter.adapt(texts[:2], [Options(), Options(votes=3)])
    with pytest.raises(InputError, match="has no text"):
        adapter.adapt(" ")
    with pytest.raises(InputError, match="cannot be split evenly over inner.steps = 3"):
        adapter.adapt(texts[0], Options(examples=4, steps=3))
    with pytest.raises(InputError, match="arm = 'self_consistency' does not answer after an update"):
        MassAdapter.load(RUN, "self_consistency")
    for batch in (0, 1025):
        with pytest.raises(InputError, match=f"batch = {batch}: give a whole number from 1 to 1024"):
            MassAdapter.load(RUN, batch=batch)
    with pytest.raises(InputError, match="the audit '.*run' cannot be written: it is no file that can be continued"):
        MassAdapter.load(RUN, audit=RUN)


class Picky(Halving):
    """A guard that lets nothing of the first problem count."""

    def screen(self, actor: Any, problems: Any, sets: Any) -> list[list[str]]:
        return [["not this one" if i == 0 else ""] * len(row) for i, row in enumerate(sets.texts)]

    def hold(self, actor: Any, problems: Any, fresh: PyTree, adapters: PyTree) -> tuple[PyTree, list[Verdict]]:
        return adapters, [Verdict("accepted", "", 1.0, 0.1, 1.0, (3, 3))] * 2


def test_what_ended_early_is_told_as_if_it_were_alone(adapter: MassAdapter, texts: list[str]):
    told: list[Event] = []
    first, second = dataclasses.replace(adapter, guard=Picky()).adapt(texts[:2], watch=told.append)
    assert first.why == "none of its practice may count" and second.verdict is not None
    assert [each.name for each in first.phases] == ["answer_before", "write", "weigh"]
    assert (first.losses, first.verdict) == ((), None) and len(second.phases) == len(PHASES)
    assert {event.phase for event in told if not event.own[0]} == {"adapt", "guard", "answer"}
    assert all(event.own[1] for event in told)


def test_the_practice_is_told_with_its_weights(adapter: MassAdapter, texts: list[str]):
    found = adapter.adapt(texts[0])
    shown = found.as_json()
    assert len(shown["practice"]) == adapter.learner.actor.method.generator.examples
    assert all((each["weight"] == 0) == bool(each["left_out"]) for each in shown["practice"])
    assert len(found.losses) == adapter.learner.actor.method.inner.steps
    assert np.isfinite(found.losses).all() and found.gate is not None
    assert json.loads(json.dumps(shown)) == shown
