"""The arithmetic task: grading table, parser against garbage, gold practice, checks, what only controls may ask."""

import dataclasses

import numpy as np
import pytest

from mass_jax.models.tokenizer import WordTokenizer
from mass_jax.tasks.arithmetic import documents
from mass_jax.tasks.arithmetic.rules import PAIRS
from mass_jax.tasks.base import MALFORMED, KnowsFamily, Practice, ShowsExamples
from tests.tasks.helpers import PROBLEM, TASK, small_splits, small_task

RIGHT = "equal to the reference"
WRONG = "differs from 3>1 9>2"
UNREADABLE = "expected 2 pairs after '=', read"
GRADES = [
    # Right: after its step, at once, with the prompt echoed, with white space at the ends. The step is not judged.
    ("f2,0,5 = 3>1 9>2", True, RIGHT),
    (" f2,0,5 = 3>1 9>2 ", True, RIGHT),
    ("f2,0,5 = 3>1 9>2\n", True, RIGHT),
    ("f9,9,9 = 3>1 9>2", True, RIGHT),
    ("any thing at all = 3>1 9>2", True, RIGHT),
    (" = 3>1 9>2", True, RIGHT),
    ("3>1 9>2", True, RIGHT),
    ("  3>1 9>2", True, RIGHT),
    ("f2,0,5 = 3>0 9>0 = 3>1 9>2", True, RIGHT),
    (f"{PROBLEM.prompt} : {PROBLEM.solution}", True, RIGHT),
    # Readable and wrong.
    ("f2,0,5 = 3>2 9>1", False, WRONG),
    ("f2,0,5 = 3>1 9>3", False, WRONG),
    ("f2,0,5 = 3>0 9>2", False, WRONG),
    ("f2,0,5 = 9>2 3>1", False, WRONG),
    ("f2,0,5 = 9>2 4>4", False, WRONG),
    ("f2,0,5 = 8>1 1>7", False, WRONG),
    ("f2,0,5 = 3>1 3>1", False, WRONG),
    ("f2,0,5 = 3>1 9>2 = 3>1 9>3", False, WRONG),
    ("3>4 9>4", False, WRONG),
    # Not two pairs.
    ("", False, UNREADABLE),
    (" ", False, UNREADABLE),
    ("=", False, UNREADABLE),
    (" = ", False, UNREADABLE),
    ("f2,0,5", False, UNREADABLE),
    ("f2,0,5 =", False, UNREADABLE),
    ("f2,0,5 3>1 9>2", False, UNREADABLE),
    ("f2,0,5=3>1 9>2", False, UNREADABLE),
    ("f2,0,5 = 3>1", False, UNREADABLE),
    ("f2,0,5 = 9>2", False, UNREADABLE),
    ("f2,0,5 = 3>1 9>2 9>2", False, UNREADABLE),
    ("f2,0,5 = 3>1 9>2 0>5", False, UNREADABLE),
    ("f2,0,5 = 3>1  9>2", False, UNREADABLE),
    ("f2,0,5 = 3>19>2", False, UNREADABLE),
    ("f2,0,5 = 3>1, 9>2", False, UNREADABLE),
    ("f2,0,5 = 3 9", False, UNREADABLE),
    ("f2,0,5 = 1 2", False, UNREADABLE),
    ("f2,0,5 = 3>1 9>2 ?", False, UNREADABLE),
    ("f2,0,5 = 3>1 9>2 ; 3>1 9>2", False, UNREADABLE),
    ("f2,0,5 = 3>12 9>2", False, UNREADABLE),
    ("f2,0,5 = 3>-10 9>2", False, UNREADABLE),
    ("f2,0,5 = 03>1 9>2", False, UNREADABLE),
    ("f2,0,5 = 3>1 9>2.0", False, UNREADABLE),
    ("f2,0,5 = 3>1 9>２", False, UNREADABLE),
    ("f2,0,5 = 3>1 9>" + "2" * 5000, False, UNREADABLE),
    ("f2,0,5 = 3>1 9>2 =", False, UNREADABLE),
    ("= = =", False, UNREADABLE),
    ("\x00", False, UNREADABLE),
]


@pytest.mark.parametrize(("text", "correct", "reason"), GRADES, ids=range(len(GRADES)))
def test_grading_table(text, correct, reason):
    (verdict,) = TASK.grade([PROBLEM], [text])
    assert verdict.correct is correct
    assert reason in verdict.reason


PARSED = [
    "6>0 1>7 2>2 ? 10 4 : f2,0,5 = 10>7 4>4",
    "1>1 2>2 3>3 5>5 ? 10 4 : f0,1,0 = 10>10 4>4",
    "1>1 2>4 3>9 5>3 0>0 ? 10 4 : f1,0,0 = 10>1 4>5",
    "6>1 1>7 2>2 ? 10 4 : f0,1,0 = 10>3 4>4",  # wrong in every part, but a scorer's business
    "6>0 6>1 2>2 ? 10 4 : f2,0,5 = 10>7 4>4",  # so is what contradicts itself
    "6>0 1>7 2>2 ? 6 4 : f2,0,5 = 6>0 4>4",  # and what asks for what it shows
    "6>0 1>7 2>2 ? 4 4 : f2,0,5 = 4>4 4>4",
]
MALFORMED_TEXTS = [
    "",
    " ",
    ":",
    " : ",
    " : f2,0,5 = 10>7 4>4",
    "f2,0,5",
    "6>0 1>7 2>2 ? 10 4",
    "6>0 1>7 2>2 ? 10 4 : ",
    "6>0 1>7 2>2 ? 10 4 : f2,0,5",
    "6>0 1>7 2>2 ? 10 4 : f2,0,5 = ",
    "6>0 1>7 2>2 ? 10 4 = 10>7 4>4",  # no step
    "6>0 1>7 2>2 ? 10 4 :  = 10>7 4>4",
    "6>0 1>7 2>2 ? 10 4 : = 10>7 4>4",
    "6>0 1>7 2>2 ? 10 4 : f3,3,3 = 10>7 4>4",  # no rule has this name, and no token either
    "6>0 1>7 2>2 ? 10 4 : f = 10>7 4>4",
    "6>0 1>7 2>2 ? 10 4 : f2,0,5 f2,0,5 = 10>7 4>4",
    "6>0 1>7 2>2 ? 10 4 : ? = 10>7 4>4",
    "6>0 1>7 2>2 ? 10 4 : 10 = 10>7 4>4",
    " ? 10 4 : f2,0,5 = 10>7 4>4",
    "? 10 4 : f2,0,5 = 10>7 4>4",
    "6>0 1>7 ? 10 4 : f2,0,5 = 10>7 4>4",  # two pairs shown
    "6>0 1>7 2>2 3>1 5>0 7>4 ? 10 4 : f2,0,5 = 10>7 4>4",  # six
    "6 1>7 2>2 ? 10 4 : f2,0,5 = 10>7 4>4",
    "6>0 1>7 2>2 ? 10 4 : f2,0,5 = 10>7",
    "6>0 1>7 2>2 ? 10 : f2,0,5 = 10>7",
    "6>0 1>7 2>2 ? 10 4 3 : f2,0,5 = 10>7 4>4 3>1",
    "6>0 1>7 2>2 ? 10 4 : f2,0,5 = 4>4 10>7",  # answers in another order than asked
    "6>0 1>7 2>2 ? 10 3 : f2,0,5 = 10>7 4>4",  # answers something else
    "6>0 1>7 2>2 ? 10 4 : f2,0,5 = 10>7 4>4 = 10>7 4>4",
    "6>0 1>7 2>2 ? 10 4 : f2,0,5 = 10>7 4>4 ;",
    "6>0 1>7 2>2 ? 10 4 ; f2,0,5 = 10>7 4>4",
    "6>0 1>7 2>2 : 10 4 ? f2,0,5 = 10>7 4>4",
    "6>0 1>7 2>2 ? 10 4 ? 10 4 : f2,0,5 = 10>7 4>4",
    "6>0  1>7 2>2 ? 10 4 : f2,0,5 = 10>7 4>4",
    "6>0 1>7 2>2?10 4:f2,0,5=10>7 4>4",
    "06>0 1>7 2>2 ? 10 4 : f2,0,5 = 10>7 4>4",  # words outside the vocabulary
    "６>0 1>7 2>2 ? 10 4 : f2,0,5 = 10>7 4>4",
    "6>0 1>7 2>11 ? 10 4 : f2,0,5 = 10>7 4>4",
    "6>0 1>7 2>2 ? 10 4 : f2,0,5 = 10>7 4>" + "4" * 5000,
]


def written(practice: Practice) -> str:
    return f"{TASK.solve_prompt(practice.prompt)} {practice.solution}"


@pytest.mark.parametrize("text", PARSED, ids=range(len(PARSED)))
def test_well_formed_practice_is_read(text):
    practice = TASK.parse(PROBLEM, text)
    assert practice == Practice(*text.split(" : "), True)
    assert written(practice) == text


@pytest.mark.parametrize("text", MALFORMED_TEXTS, ids=range(len(MALFORMED_TEXTS)))
def test_malformed_practice_is_told_apart(text):
    assert TASK.parse(PROBLEM, text) == MALFORMED


def test_the_parser_survives_anything():
    rng = np.random.default_rng(0)
    tokenizer = WordTokenizer(TASK.vocabulary)
    characters = list(" :?=;>,f0123456789") + ["\n", "\t", "\x00", "é", "６", "٣", "\ud800", "🙂"]
    well_formed = 0
    for trial in range(6000):
        if trial % 3 == 0:  # words of the vocabulary in any order
            text = " ".join(rng.choice(TASK.vocabulary, size=rng.integers(0, 20)).tolist())
        elif trial % 3 == 1:  # characters of any kind
            text = "".join(characters[i] for i in rng.integers(0, len(characters), size=rng.integers(0, 60)))
        else:  # good practice with a few words exchanged, lost or doubled
            words = PARSED[rng.integers(len(PARSED))].split(" ")
            for _ in range(rng.integers(1, 3)):
                i = int(rng.integers(len(words)))
                words[i : i + 1] = [[], [words[i]] * 2, [str(rng.choice(TASK.vocabulary))]][rng.integers(3)]
                words = words or [""]
            text = " ".join(words)
        practice = TASK.parse(PROBLEM, text)
        TASK.grade([PROBLEM], [text])
        TASK.leaks(PROBLEM, practice)
        assert not TASK.is_correct(PROBLEM, practice) or TASK.is_on_family(PROBLEM, practice)
        if practice.well_formed:
            well_formed += 1
            assert written(practice) == text
            tokenizer.encode(text)
            assert len(TASK.checks(PROBLEM, practice)) == len(TASK.check_names)
        else:
            assert practice == MALFORMED
    assert 50 < well_formed < 2000


def test_prompts_are_how_the_documents_begin():
    assert TASK.solve_prompt(PROBLEM.prompt) == "8>1 1>7 6>0 ? 3 9 :"
    assert TASK.synthesis_prompt(PROBLEM) == "8>1 1>7 6>0 ? 3 9 ;"
    rng = np.random.default_rng(0)
    solve, synthesise = (documents.draw_document(TASK.rules, PROBLEM, rng, kind) for kind in ("solve", "synthesise"))
    assert solve.startswith(TASK.solve_prompt(solve.split(" :")[0]) + " f2,0,5 = ")
    shown = dataclasses.replace(PROBLEM, prompt=synthesise.split(" ;")[0])
    practice = synthesise.removeprefix(TASK.synthesis_prompt(shown) + " ")
    assert TASK.parse(PROBLEM, practice).well_formed


@pytest.mark.parametrize("strict", [False, True])
def test_gold_practice_is_right_and_strict_practice_never_leaks(strict):
    task, rng = small_task(), np.random.default_rng(0)
    leaks = 0
    for problem in small_splits()["test"]:
        practice = task.gold_practice(problem, 6, rng, strict)
        assert len(practice) == 6
        for example in practice:
            assert task.is_correct(problem, example)
            assert task.parse(PROBLEM, written(example)) == example
            assert example.prompt != problem.prompt
            leaks += task.leaks(problem, example)
    assert (leaks == 0) if strict else leaks > 300


def test_gold_practice_is_decided_by_the_generator():
    task, problem = small_task(), small_splits()["test"][0]
    first, again, other = (task.gold_practice(problem, 5, np.random.default_rng(seed), True) for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize(
    ("prompt", "answer", "correct", "on_family", "leak"),
    [
        ("6>0 2>2 1>7 ? 10 4", "10>7 4>4", True, True, False),
        ("6>0 2>2 1>7 ? 10 4", "10>7 4>5", False, True, False),
        ("6>0 2>3 1>7 ? 10 4", "10>7 4>4", False, False, False),
        ("6>0 2>2 1>7 ? 3 4", "3>1 4>4", True, True, True),
        ("6>0 2>2 1>7 ? 3 4", "3>0 4>4", False, True, True),
        ("6>0 9>2 1>7 ? 10 4", "10>7 4>4", True, True, True),
        ("6>0 9>3 1>7 ? 10 4", "10>7 4>4", False, False, True),
    ],
)
@pytest.mark.parametrize("step", ["f2,0,5", "f9,3,9"])
def test_what_only_the_controls_may_ask(prompt, answer, correct, on_family, leak, step):
    practice = Practice(prompt, f"{step} = {answer}", True)
    assert TASK.is_correct(PROBLEM, practice) is correct
    assert TASK.is_on_family(PROBLEM, practice) is on_family
    assert TASK.leaks(PROBLEM, practice) is leak


def test_malformed_practice_is_neither_right_nor_on_family_nor_a_leak():
    assert not TASK.is_correct(PROBLEM, MALFORMED)
    assert not TASK.is_on_family(PROBLEM, MALFORMED)
    assert not TASK.leaks(PROBLEM, MALFORMED)


def test_checks_read_as_documents_and_fit_the_vocabulary():
    practice = Practice("6>0 2>2 1>7 ? 10 4", "f2,0,5 = 10>7 4>4", True)
    assert TASK.checks(PROBLEM, practice) == (
        ("10>7 4>4 6>0 ? 8 1 : f2,0,5 =", "8>1 1>7"),
        ("10>7 4>4 8>1 ? 1 6 : f2,0,5 =", "1>7 6>0"),
        ("6>0 2>2 1>7 ? 10 4 : f2,0,5 =", "10>7 4>4"),
        ("8>1 1>7 6>0 ? 10 4 :", "f2,0,5"),
    )
    task, rng = small_task(), np.random.default_rng(0)
    tokenizer = WordTokenizer(task.vocabulary)
    for problem in small_splits()["validation"]:
        for example in task.gold_practice(problem, 2, rng, strict=False):
            checks = task.checks(problem, example)
            assert len(checks) == len(task.check_names)
            assert all(tokenizer.encode(check.context) and tokenizer.encode(check.target) for check in checks)


def test_a_check_never_shows_what_the_problem_asks():
    task, rng = small_task(), np.random.default_rng(0)
    for problem in small_splits()["validation"]:
        for example in task.gold_practice(problem, 2, rng, strict=True):
            asked = set(problem.solution.split()) & set(PAIRS)
            assert len(asked) == 2
            for check in task.checks(problem, example):
                assert not asked & set(f"{check.context} {check.target}".split())


def test_the_family_is_known_and_no_example_is_shown():
    assert isinstance(TASK, KnowsFamily) and not isinstance(TASK, ShowsExamples)


def test_solutions_vote_by_their_pairs_and_a_named_rule_is_recited():
    problem = small_splits()["validation"][0]
    step, _, pairs = problem.solution.partition(" = ")
    assert TASK.answer_of(problem, problem.solution) == TASK.answer_of(problem, f"another = {pairs}") == pairs
    assert (
        TASK.read_off(problem, Practice("x", problem.solution, True)) == f"{TASK.solve_prompt(problem.prompt)} {step} ="
    )
