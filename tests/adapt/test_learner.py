"""The door of a learner: what is no problem of its domain is a sentence, before anything is computed."""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import pytest

from mass_jax.adapt.learner import Learner
from mass_jax.adapt.neighbours import Pool
from mass_jax.adapt.run import Recipe
from mass_jax.errors import InputError
from mass_jax.models.tokenizer import WordTokenizer
from mass_jax.tasks.base import Domain, Problem
from mass_jax.tasks.candidates.task import CandidatesTask
from mass_jax.tasks.mathematics import prompts
from mass_jax.tasks.mathematics.grading import Grader
from mass_jax.tasks.mathematics.task import MathematicsTask
from mass_jax.tasks.operators.rules import make_rules
from mass_jax.tasks.operators.task import OperatorsTask
from tests.adapt.tiny import ACTOR, KEY, PROBLEMS
from tests.mass import tiny

RIGHT = PROBLEMS[0]
LONG = f"{RIGHT.prompt}{' 4' * 9}"


def learner(domain: Domain = tiny.LENIENT, prompt: int = 10) -> Learner:
    lengths = dataclasses.replace(ACTOR.method.lengths, prompt=prompt)
    actor = ACTOR.replace(domain=domain, method=dataclasses.replace(ACTOR.method, lengths=lengths))
    return Learner(actor, {}, Recipe("own"), Pool(actor, ()), KEY, batch=4)


@pytest.mark.parametrize("ask", [lambda one, given: one.answer(given), lambda one, given: one.answers([RIGHT, given])])
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("", "the problem '' has no text: give one"),
        (" \n", r"the problem ' \n' has no text: give one"),
        (Problem("", "", (), -1, -1), "the problem '' has no text: give one"),
        (Problem(None, "", (), -1, -1), "the problem None has no text: give one"),  # type: ignore[arg-type]
        (
            "hello",
            "the problem 'hello' cannot be read: a problem shows 3 to 5 pairs and asks for 2 outputs, such as '8>1",
        ),
        ("1>2 ? 3", "the problem '1>2 ? 3' cannot be read: a problem shows 3 to 5 pairs and asks for 2 outputs"),
        ("x" * 200, f"the problem '{'x' * 79}... cannot be read"),
        (Problem("8>1 1>7 6>0 ? 3", "", (), -1, -1), "the problem '8>1 1>7 6>0 ? 3' cannot be read"),
        (dataclasses.replace(RIGHT, facts=()), "has facts () and states ('"),
        (5, "5 is no problem: give its text, or a Problem"),
        (None, "None is no problem"),
        ([], "[] is no problem"),
        ([RIGHT.prompt], "is no problem: give its text"),
        (b"8>1", "b'8>1' is no problem"),
    ],
)
def test_what_is_no_problem_is_a_sentence(ask: Callable[[Learner, Any], object], given: Any, words: str):
    with pytest.raises(InputError, match=re.escape(words)):
        ask(learner(), given)


@pytest.mark.parametrize("given", [RIGHT.prompt, RIGHT])
def test_a_problem_that_is_too_long_is_a_sentence(given: str | Problem):
    needed = 2 + len(RIGHT.prompt.split())
    with pytest.raises(InputError, match=f"takes {needed} tokens, more than lengths.prompt = {needed - 1}: shorten it"):
        learner(prompt=needed - 1).answer(given)
    assert learner(prompt=needed).read(given).prompt == RIGHT.prompt


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("8>1", "'8>1' is one problem: give a list, or ask `answer`"),
        (b"8>1", "b'8>1' is one problem"),
        (RIGHT, "is one problem: give a list, or ask `answer`"),
        (5, "5 is no list of problems: give one, of texts or of Problem"),
        (None, "None is no list of problems"),
    ],
)
def test_what_is_no_list_is_a_sentence(given: Any, words: str):
    with pytest.raises(InputError, match=re.escape(words)):
        learner().answers(given)


def test_no_problems_have_no_answers():
    assert learner().answers([]) == learner().batches([]) == []


OPERATORS = OperatorsTask(make_rules(4, 0))
LINES = "4@7=28\n3@5=15\n2@9=18\n8@3=24\n"
CANDIDATES = CandidatesTask(tiny.RULES)
NAMES = " ".join(rule.name for rule in tiny.RULES[:3])


@pytest.mark.parametrize(
    ("task", "good", "bad"),
    [
        (
            OPERATORS,
            f"{LINES}6@9=",
            [LINES, f"{LINES}6@9=54", f"{LINES}\n6@9=", "6@9=", f"{LINES}six@9=", LINES[:7] + "6@9="],
        ),
        (
            CANDIDATES,
            f"{NAMES} 8>1 1>7 ? 3 9",
            [
                "8>1 1>7 ? 3 9",
                f"{NAMES} 8>1 ? 3 9",
                f"{NAMES} 8>1 1>7 ? 3",
                f"{NAMES[:6]} {NAMES[:13]} 8>1 1>7 ? 3 9",
                NAMES,
            ],
        ),
    ],
)
def test_every_domain_says_of_which_form_its_problems_are(task: Any, good: str, bad: list[str]):
    assert task.problem(good).prompt == good
    for text in bad:
        with pytest.raises(ValueError, match="^a problem .* such as '.*'$"):
            task.problem(text)


def test_of_mathematics_an_empty_problem_is_a_sentence():
    domain = Domain(MathematicsTask(prompts.load("gsm8k"), Grader()), WordTokenizer(("1",)))
    with pytest.raises(InputError, match="the problem '' has no text"):
        learner(domain).answer("")
