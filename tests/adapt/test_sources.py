"""Where practice comes from: each source differs from its neighbour in the one thing that it says."""

import jax
import numpy as np
import pytest

from mass_jax.adapt import neighbours, sources
from mass_jax.adapt.neighbours import Pool
from mass_jax.adapt.sources import SOURCES, Request, Source
from mass_jax.errors import InputError
from mass_jax.mass.generator import Completions
from mass_jax.mass.practice import each_example, pack_practice
from mass_jax.tasks.base import MALFORMED
from tests.adapt.tiny import ACTOR, KEY, POOL, PROBLEMS, obtain, once
from tests.mass import tiny
from tests.models import tiny as models


@pytest.mark.parametrize("source", sorted({*SOURCES} - {"nearest", "shown", "any_topic"}))
def test_equal_keys_give_equal_practice(source: str):
    again, other = obtain(source), obtain(source, jax.random.key(1))
    assert again.texts == once(source).texts != other.texts
    np.testing.assert_array_equal(again.arrays.written.tokens, once(source).arrays.written.tokens)


@pytest.mark.parametrize("source", ["gold", "gold_strict"])
def test_gold_practice_is_right_and_strict_gold_never_leaks(source: str):
    texts, task = once(source).texts, tiny.DOMAIN.task
    assert each_example(task.is_correct, PROBLEMS, texts).all()
    leaks = each_example(task.leaks, PROBLEMS, texts)
    assert not leaks.any() if source == "gold_strict" else leaks.any()


def test_random_practice_is_of_the_pool():
    prompts = {(p.prompt, p.solution) for p in POOL}
    assert {(e.prompt, e.solution) for row in once("random").texts for e in row} <= prompts


def test_nearest_practice_is_most_like_the_problem():
    pool = Pool(ACTOR, [*POOL[:6], *PROBLEMS, *POOL[6:]])
    order = neighbours.nearest(neighbours.embed(ACTOR, PROBLEMS), pool.vectors)
    np.testing.assert_array_equal(order[:, 0], 6 + np.arange(len(PROBLEMS)))
    assert all(sorted(row) == list(range(len(pool.problems))) for row in order)
    hidden = [
        np.mean(models.hidden_states(tiny.MODEL, tiny.make_params(), None, np.array([ids]))[0], axis=0)
        for problem in (PROBLEMS[0], *pool.problems)
        if (ids := [1, *tiny.DOMAIN.tokenizer.encode(tiny.DOMAIN.task.solve_prompt(problem.prompt))])
    ]
    unit = np.array(hidden) / np.linalg.norm(hidden, axis=-1, keepdims=True)
    assert np.all(np.diff((unit[1:] @ unit[0])[order[0]]) < 1e-6)
    found = sources.nearest(Request(ACTOR, PROBLEMS, KEY, pool))
    for row, best in zip(found.texts, order, strict=True):
        assert [e.prompt for e in row] == [pool.problems[i].prompt for i in best[: tiny.EXAMPLES]]


def test_another_problems_practice_has_to_fit_beside_this_one(monkeypatch: pytest.MonkeyPatch):
    real = sources.fitting
    monkeypatch.setattr(sources, "fitting", lambda a, p, e: MALFORMED if p is PROBLEMS[0] else real(a, p, e))
    valid = obtain("other_problem").arrays.valid_PxM
    assert not valid[0].any() and valid[1:].any()


def test_another_problems_practice_is_of_another_family():
    own, other = once("own").texts, once("other_problem").texts
    assert sorted(map(repr, own)) == sorted(map(repr, other))
    assert all(a != b for a, b in zip(own, other, strict=True))
    assert sources._partners([0, 0, 1, 1]) == [2, 2, 0, 0]


def test_the_majority_is_the_most_common_readable_solution(monkeypatch: pytest.MonkeyPatch):
    problems = PROBLEMS[:2]
    rows = tiny.make_rows(problems)
    votes = {}

    def solved(actor, adapters, posed, prompts, key, spec) -> Completions:
        assert [f"{each.prompt} :" for each in posed] == prompts
        assert spec.samples == sources.MAJORITY_VOTES
        return Completions([votes[prompt.removesuffix(" :")] for prompt in prompts], None, None)

    monkeypatch.setattr(sources, "solved", solved)
    for e in (e for row in rows for e in row):
        wrong = f"{tiny.RULES[7].name} {e.solution.partition(' ')[2]}"
        votes[e.prompt] = [e.solution] * 3 + [wrong] * 4 + ["?"]
    # A solver that never stops fills all its tokens: more than a practice sequence has room for.
    votes[rows[1][0].prompt] = ["0 1 2 3 4"] * 8
    actor, sets = tiny.make_actor(), tiny.make_practice(problems)._replace(texts=rows)
    found = sources._majority(actor, problems, sets, KEY)
    for row, new in zip(rows, found, strict=True):
        for e, majority in zip(row, new, strict=True):
            if not e.well_formed or e is rows[1][0]:
                assert not majority.well_formed
            else:
                assert (majority.prompt, majority.well_formed) == (e.prompt, True)
                assert majority.solution == votes[e.prompt][3]
    pack_practice(actor, problems, found)


def test_a_name_is_taken_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sources, "SOURCES", dict(SOURCES))
    mine = sources.register(Source("mine", obtain))
    assert sources.register(mine) is sources.SOURCES["mine"]
    with pytest.raises(InputError, match="a source of practice 'mine' already"):
        sources.register(Source("mine", once))
