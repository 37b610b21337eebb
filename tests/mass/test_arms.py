"""Baselines and controls: each differs from its neighbour in the one thing that it says."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mass_jax.mass import arms
from mass_jax.mass.arms import CONTROLS, METHODS, Arm, Outcome, methods
from mass_jax.mass.generator import Completions
from mass_jax.mass.packing import pack
from mass_jax.mass.practice import PracticeSets, each_example, pack_practice
from mass_jax.models import decoder
from mass_jax.tasks.base import MALFORMED
from tests.mass import tiny

ACTOR = tiny.make_actor(tiny.make_method(rate=1.0), tiny.LENIENT)
PROBLEMS = tiny.make_problems(4)
POOL = tiny.make_problems(12, seed=5)
KEY = jax.random.key(0)


def obtain(source: str, key: jax.Array = KEY) -> PracticeSets:
    return arms.obtain_practice(ACTOR, PROBLEMS, source, key, POOL)


@cache
def once(source: str) -> PracticeSets:
    return obtain(source)


def answer(arm: Arm, practice: PracticeSets | None) -> Outcome:
    ready = arms.adapt(ACTOR, tiny.make_eta(ACTOR.method), PROBLEMS, arm, practice, KEY)
    return arms.answer(ACTOR, PROBLEMS, ready)


@cache
def mixed() -> PracticeSets:
    """Right, wrong, leaking and malformed examples in one set."""
    sets = tiny.make_practice(PROBLEMS)
    for predicate in (tiny.DOMAIN.task.leaks, tiny.DOMAIN.task.is_correct):
        found = each_example(predicate, PROBLEMS, sets.texts)[sets.arrays.valid_PxM]
        assert found.any() and not found.all(), "the set must tell the arms apart"
    return sets


@pytest.mark.parametrize("name", [n for n, arm in (METHODS | CONTROLS).items() if arm.possible(tiny.LENIENT.task)])
def test_every_arm_answers(name: str):
    arm = (METHODS | CONTROLS)[name]
    practice = None if arm.practice == "none" else once(arm.practice)
    outcome = answer(arm, practice)
    assert len(outcome.texts) == len(PROBLEMS) == len(outcome.correct_P)
    verdicts = [verdict.correct for verdict in tiny.LENIENT.task.grade(PROBLEMS, outcome.texts)]
    np.testing.assert_array_equal(outcome.correct_P, verdicts)
    assert (outcome.scores is None) == (practice is None or arm.use == "prompt")
    assert np.all(outcome.log_likelihood_P < 0)
    if outcome.scores is not None:
        weights = outcome.scores.weights_PxM
        assert np.all(weights[~practice.arrays.valid_PxM] == 0) and np.all(np.isfinite(weights))


def test_an_update_can_change_an_answer():
    assert answer(Arm("base", "gold"), once("gold")).texts != answer(Arm("base", "none"), None).texts


@pytest.mark.parametrize("source", sorted({*arms.PRACTICE} - {"none", "nearest", "shown"}))
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
    pool = [*POOL[:6], *PROBLEMS, *POOL[6:]]
    vectors, pool_vectors = (arms.embed(ACTOR, each) for each in (PROBLEMS, pool))
    order = arms.nearest(vectors, pool_vectors)
    np.testing.assert_array_equal(order[:, 0], 6 + np.arange(len(PROBLEMS)))
    assert all(sorted(row) == list(range(len(pool))) for row in order)
    hidden = [
        np.mean(decoder.forward(tiny.MODEL, tiny.make_params(), None, np.array([ids]))[0][0], axis=0)
        for problem in (PROBLEMS[0], *pool)
        if (ids := [1, *tiny.DOMAIN.tokenizer.encode(tiny.DOMAIN.task.solve_prompt(problem.prompt))])
    ]
    unit = np.array(hidden) / np.linalg.norm(hidden, axis=-1, keepdims=True)
    assert np.all(np.diff((unit[1:] @ unit[0])[order[0]]) < 1e-6)
    for given in (None, pool_vectors):
        found = arms.obtain_practice(ACTOR, PROBLEMS, "nearest", KEY, pool, given)
        for row, best in zip(found.texts, order, strict=True):
            assert [e.prompt for e in row] == [pool[i].prompt for i in best[: tiny.EXAMPLES]]


def test_practice_in_the_prompt_leaves_the_weights_alone():
    practice = mixed()
    read, none = answer(Arm("base", "own", use="prompt"), practice), answer(Arm("base", "none"), None)
    assert read.scores is None and read.texts != none.texts
    empty = practice._replace(texts=[[MALFORMED] * tiny.EXAMPLES] * len(PROBLEMS))
    nothing = answer(Arm("base", "own", use="prompt"), empty)
    assert nothing.texts == none.texts
    np.testing.assert_allclose(nothing.log_likelihood_P, none.log_likelihood_P, atol=1e-6)
    # As many examples as fit, the first ones.
    row, task = practice.texts[1], tiny.LENIENT.task
    limit = tiny.MODEL.context - tiny.LENGTHS.solution
    prompt = arms._with_shown(ACTOR, PROBLEMS[1], row, limit)
    assert prompt == task.solve_prompt(PROBLEMS[1].prompt, row[:1])
    assert limit < 1 + len(tiny.DOMAIN.tokenizer.encode(task.solve_prompt(PROBLEMS[1].prompt, row[:2])))


def test_the_log_likelihood_is_of_the_reference():
    outcome = answer(Arm("base", "none"), None)
    for problem, found in zip(PROBLEMS, outcome.log_likelihood_P, strict=True):
        packed = pack(tiny.DOMAIN.tokenizer, [(f"{problem.prompt} :", problem.solution)], 20, "x")
        log_probs = decoder.token_log_probs(tiny.MODEL, tiny.make_params(), None, packed.tokens)
        assert found == pytest.approx(float(np.mean(log_probs[packed.target[:, 1:]])), abs=1e-5)


def test_another_problems_practice_has_to_fit_beside_this_one(monkeypatch: pytest.MonkeyPatch):
    real = arms.fitting
    monkeypatch.setattr(arms, "fitting", lambda a, p, e: MALFORMED if p is PROBLEMS[0] else real(a, p, e))
    valid = obtain("other_problem").arrays.valid_PxM
    assert not valid[0].any() and valid[1:].any()


def test_another_problems_practice_is_of_another_family():
    own, other = once("own").texts, once("other_problem").texts
    assert sorted(map(repr, own)) == sorted(map(repr, other))
    assert all(a != b for a, b in zip(own, other, strict=True))
    assert arms._partners([0, 0, 1, 1]) == [2, 2, 0, 0]


def test_strict_weighs_nothing_that_leaks():
    practice = mixed()
    leaks, valid = each_example(tiny.DOMAIN.task.leaks, PROBLEMS, practice.texts), practice.arrays.valid_PxM
    for weights in ("uniform", "scorer"):
        found = answer(Arm("mass", "own", weights, strict=True), practice).scores.weights_PxM
        np.testing.assert_array_equal(found > 0, valid & ~leaks)
        plain = answer(Arm("mass", "own", weights), practice).scores.weights_PxM
        np.testing.assert_array_equal(plain > 0, valid)


def test_the_oracle_filter_weighs_right_examples_only():
    practice = mixed()
    found = answer(Arm("base", "own", "correct"), practice).scores.weights_PxM
    np.testing.assert_array_equal(found, each_example(tiny.DOMAIN.task.is_correct, PROBLEMS, practice.texts))


def test_shuffled_weights_are_the_scorers_on_other_examples():
    practice = mixed()
    scored, shuffled = (answer(Arm("mass", "own", w), practice).scores for w in ("scorer", "shuffled"))
    valid = practice.arrays.valid_PxM
    assert not np.array_equal(scored.weights_PxM, shuffled.weights_PxM)
    for before, after, mask in zip(scored.weights_PxM, shuffled.weights_PxM, valid, strict=True):
        np.testing.assert_array_equal(np.sort(after[mask]), np.sort(before[mask]))
        assert np.all(after[~mask] == 0)
    np.testing.assert_array_equal(scored.gate_P, shuffled.gate_P)


def test_the_shuffle_is_uniform():
    weights = jnp.broadcast_to(jnp.array([1.0, 2.0, 3.0, 9.0]), (3000, 4))
    valid = np.broadcast_to([True, True, True, False], (3000, 4))
    mean = arms._shuffle_valid(KEY, weights, valid).mean(axis=0)
    np.testing.assert_allclose(mean, [2, 2, 2, 0], atol=0.06)


def test_the_majority_is_the_most_common_readable_solution(monkeypatch: pytest.MonkeyPatch):
    problems = PROBLEMS[:2]
    rows = tiny.make_rows(problems)
    votes = {}

    def complete(actor, adapters, prompts, key, spec) -> Completions:
        assert spec.samples == arms.MAJORITY_VOTES
        return Completions([votes[prompt.removesuffix(" :")] for prompt in prompts], None, None)

    monkeypatch.setattr(arms, "complete", complete)
    for e in (e for row in rows for e in row):
        wrong = f"{tiny.RULES[7].name} {e.solution.partition(' ')[2]}"
        votes[e.prompt] = [e.solution] * 3 + [wrong] * 4 + ["?"]
    # A solver that never stops fills all its tokens: more than a practice sequence has room for.
    votes[rows[1][0].prompt] = ["0 1 2 3 4"] * 8
    actor, sets = tiny.make_actor(), tiny.make_practice(problems)._replace(texts=rows)
    found = arms._majority(actor, problems, sets, KEY)
    for row, new in zip(rows, found, strict=True):
        for e, majority in zip(row, new, strict=True):
            if not e.well_formed or e is rows[1][0]:
                assert not majority.well_formed
            else:
                assert (majority.prompt, majority.well_formed) == (e.prompt, True)
                assert majority.solution == votes[e.prompt][3]
    pack_practice(actor, problems, found)


@pytest.mark.parametrize(
    ("field", "words"),
    [("practice", "arm.practice = 'x'"), ("weights", "arm.weights = 'x'"), ("use", "arm.use = 'x'")],
)
def test_an_unknown_arm_is_refused(field: str, words: str):
    with pytest.raises(ValueError, match=words):
        Arm(**{"model": "base", "practice": "own", field: "x"})


def test_an_arm_of_ones_own_has_a_row():
    known = {"mass": True, "solver_grpo": False, "first_order": True}
    assert methods(known) == METHODS
    own = methods(known | {"mine": True, "no_practice": False})
    assert list(own) == [*METHODS, "mine", "no_practice"]
    assert own["mine"] == Arm("mine", "own", "scorer") and own["no_practice"] == Arm("no_practice", "none")


@pytest.mark.parametrize("name", ["base", "tt_ss", "oracle_strict", "mass_no_update", "pretrain", "evaluation"])
def test_the_name_of_something_untrained_is_taken(name: str):
    with pytest.raises(ValueError, match=f"config.arms.{name}: the name is taken by something that is not trained"):
        methods({name: True})


@pytest.mark.parametrize("name", ["a-b", "a/b", "", "1"])
def test_a_name_that_no_pair_or_folder_can_have_is_refused(name: str):
    with pytest.raises(ValueError, match="give one of letters, digits and underscores"):
        methods({name: True})
