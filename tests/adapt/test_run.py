"""Adapting and answering as a recipe says."""

import numpy as np
import pytest

from mass_jax.adapt import run
from mass_jax.adapt.run import Recipe
from mass_jax.errors import InputError
from mass_jax.mass.packing import pack
from mass_jax.study.arms import ARMS
from mass_jax.tasks.base import MALFORMED
from mass_jax.tasks.candidates.task import CandidatesTask
from tests.adapt.tiny import ACTOR, PROBLEMS, measure, mixed, once
from tests.mass import tiny
from tests.models import tiny as models


@pytest.mark.parametrize("name", [name for name, arm in ARMS.items() if arm.possible(tiny.LENIENT.task)])
def test_every_arms_recipe_answers(name: str):
    recipe = ARMS[name].recipe
    practice = None if recipe.practice is None else once(recipe.practice)
    outcome = measure(recipe, practice)
    assert len(outcome.texts) == len(PROBLEMS) == len(outcome.correct_P)
    verdicts = [verdict.correct for verdict in tiny.LENIENT.task.grade(PROBLEMS, outcome.texts)]
    np.testing.assert_array_equal(outcome.correct_P, verdicts)
    assert (outcome.scores is None) == (practice is None or recipe.use != "adapter")
    if recipe.has_likelihood:
        assert np.all(outcome.log_likelihood_P < 0)
    else:
        assert outcome.log_likelihood_P is None, "the un-adapted model's is none of what is chosen or read off"
    if outcome.scores is not None:
        weights = outcome.scores.weights_PxM
        assert np.all(weights[~practice.arrays.valid_PxM] == 0) and np.all(np.isfinite(weights))


def test_an_update_can_change_an_answer():
    assert measure(Recipe("gold"), once("gold")).texts != measure(Recipe(), None).texts


def test_practice_in_the_prompt_leaves_the_weights_alone():
    practice = mixed()
    read, none = measure(Recipe("own", use="prompt"), practice), measure(Recipe(), None)
    assert read.scores is None and read.texts != none.texts
    empty = practice._replace(texts=[[MALFORMED] * tiny.EXAMPLES] * len(PROBLEMS))
    nothing = measure(Recipe("own", use="prompt"), empty)
    assert nothing.texts == none.texts
    np.testing.assert_allclose(nothing.log_likelihood_P, none.log_likelihood_P, atol=1e-6)
    # As many examples as fit, the first ones.
    row, task = practice.texts[1], tiny.LENIENT.task
    limit = tiny.MODEL.context - tiny.LENGTHS.solution
    prompt = run._with_shown(ACTOR, PROBLEMS[1], row, limit)
    assert prompt == task.solve_prompt(PROBLEMS[1].prompt, row[:1])
    assert limit < 1 + len(tiny.DOMAIN.tokenizer.encode(task.solve_prompt(PROBLEMS[1].prompt, row[:2])))


def test_the_log_likelihood_is_of_the_reference():
    outcome = measure(Recipe(), None)
    for problem, found in zip(PROBLEMS, outcome.log_likelihood_P, strict=True):
        packed = pack(tiny.DOMAIN.tokenizer, [(f"{problem.prompt} :", problem.solution)], 20, "x")
        log_probs = models.token_log_probs(tiny.MODEL, tiny.make_params(), None, packed.tokens)
        assert found == pytest.approx(float(np.mean(log_probs[packed.target[:, 1:]])), abs=1e-5)


@pytest.mark.parametrize(
    ("field", "words"), [(name, f"{name} = 'x'") for name in ("practice", "weights", "use", "votes")]
)
def test_an_unknown_name_is_refused(field: str, words: str):
    with pytest.raises(InputError, match=f"{words} is not one of"):
        Recipe(**{"practice": "own", field: "x"})


def test_a_recipe_that_contradicts_itself_is_refused():
    with pytest.raises(InputError, match="votes = 'majority' are of answers without practice"):
        Recipe("own", votes="majority")
    for field, value in (("weights", "correct"), ("strict", True), ("use", "prompt"), ("use", "read_off")):
        with pytest.raises(InputError, match="say what becomes of practice, and there is none"):
            Recipe(**{field: value})


def test_what_is_chosen_or_read_off_has_no_likelihood():
    without = {name for name, arm in ARMS.items() if not arm.recipe.has_likelihood}
    assert without == {"self_consistency", "best_of_n", "mass_read_off", "mass_read_off_right"}


def test_what_a_recipe_needs_is_what_its_parts_need():
    assert Recipe().needs == Recipe("own").needs == frozenset() and Recipe("own", "scorer").needs == {"scorer"}
    assert Recipe("random", "correct").needs == {"pool", "family"}
    # A domain that shows no examples, but knows the families.
    possible = {name for name in ARMS if ARMS[name].possible(tiny.DOMAIN.task)}
    assert {*ARMS} - possible == {"ttt_shown"}
    # A source of topics needs a domain that leaves them open.
    domains = (tiny.DOMAIN.task, CandidatesTask(tiny.RULES))
    assert [Recipe("any_topic").possible(task) for task in domains] == [False, True]
