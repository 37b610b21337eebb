"""Answers without an update: votes, the model's own check, and practice that is read off."""

import jax
import numpy as np
import pytest

from mass_jax.adapt import run, unadapted
from mass_jax.adapt.run import Recipe
from mass_jax.mass.generator import complete, solving
from mass_jax.mass.packing import fits, pack
from mass_jax.mass.scorer import Scores
from mass_jax.models import decoder
from mass_jax.tasks.base import Practice
from tests.adapt.tiny import ACTOR, KEY, PROBLEMS, mixed
from tests.mass import tiny

LIMIT, TOKENIZER = tiny.LENGTHS.check, tiny.DOMAIN.tokenizer
PROMPTS = [tiny.LENIENT.task.solve_prompt(problem.prompt) for problem in PROBLEMS]


def sampled() -> list[list[str]]:
    """The solutions among which the votes of `KEY` choose."""
    return complete(ACTOR, None, PROMPTS, KEY, solving(ACTOR, unadapted.as_many(ACTOR), 1.0)).texts


def test_votes_cost_what_practice_and_an_answer_cost():
    spent = tiny.EXAMPLES * tiny.LENGTHS.synthesis + tiny.LENGTHS.solution
    votes = unadapted.as_many(ACTOR) * tiny.LENGTHS.solution
    assert spent - tiny.LENGTHS.solution < votes <= spent


def test_the_majority_is_of_answers_not_of_texts():
    chosen = unadapted.voted(ACTOR, PROBLEMS, "majority", KEY)
    task = tiny.LENIENT.task
    for problem, text, row in zip(PROBLEMS, chosen, sampled(), strict=True):
        answers = [task.answer_of(problem, each) for each in row]
        assert text in row
        assert answers.count(task.answer_of(problem, text)) == max(map(answers.count, answers))
    # Two ways to one answer beat one way that is taken as often as either.
    assert unadapted.most_frequent(["b = 2", "a = 1", "c = 1"], ["2", "1", "1"]) == "a = 1"


def test_the_check_prefers_what_predicts_the_problem():
    chosen = unadapted.voted(ACTOR, PROBLEMS, "check", KEY)
    for problem, text, row in zip(PROBLEMS, chosen, sampled(), strict=True):
        checked = {each: tiny.LENIENT.task.checks(problem, Practice(problem.prompt, each, True))[0] for each in row}
        checked = {each: check for each, check in checked.items() if fits(TOKENIZER, *check, LIMIT, end=False)}
        packed = pack(TOKENIZER, [*checked.values()], LIMIT, "x", end=False)
        log_probs = np.asarray(decoder.token_log_probs(tiny.MODEL, tiny.make_params(), None, packed.tokens))
        target = packed.target[:, 1:]
        means = (log_probs * target).sum(axis=1) / target.sum(axis=1)
        best = {each for each, mean in zip(checked, means, strict=True) if mean > means.max() - 1e-5}
        assert text in best and len(best) < len(checked)


def test_the_heaviest_example_is_read_off():
    practice = mixed()
    valid = np.asarray(practice.arrays.valid_PxM)
    heaviest = np.array([row.nonzero()[0][-1] for row in valid])
    weights = valid * 0.5
    weights[np.arange(len(PROBLEMS)), heaviest] = 1.0
    weights[0] = 0.0  # nothing counts: the first problem is answered directly
    found = unadapted.read_off(ACTOR, PROBLEMS, practice, Scores(weights, weights, np.ones(len(PROBLEMS))))
    task = tiny.LENIENT.task
    for i, (problem, text) in enumerate(zip(PROBLEMS, found, strict=True)):
        prompt = task.read_off(problem, practice.texts[i][heaviest[i]]) if i else PROMPTS[0]
        spec = solving(ACTOR, samples=1, temperature=0.0)
        assert [[text]] == complete(ACTOR, None, [prompt], jax.random.key(0), spec, prompt_limit=20).texts


def test_reading_off_leaves_the_weights_alone():
    recipe = Recipe("own", "correct", use="read_off")
    ready = run.prepare(ACTOR, {}, PROBLEMS, recipe, mixed(), KEY)
    assert ready.adapters is None and ready.scores is None


@pytest.mark.parametrize(
    ("recipe", "lack"),
    [
        (Recipe("own", use="read_off"), "are not answered by what practice says"),
        (Recipe(votes="majority"), "have no answers that can be counted"),
    ],
)
def test_a_domain_without_answers_to_compare_has_no_such_rows(recipe: Recipe, lack: str):
    assert recipe.possible(tiny.DOMAIN.task) and not recipe.possible(object())
    assert recipe.lack(tiny.DOMAIN.task) is None and recipe.lack(object()) == lack
