"""The grid: plans are run, a brute-force search agrees, and held-out problems stay held out."""

import itertools
import re
from collections import Counter

import numpy as np
import pytest

from mass_jax.models.tokenizer import WordTokenizer
from mass_jax.tasks.base import MALFORMED, Practice, Problem
from mass_jax.tasks.grid import documents, rules
from mass_jax.tasks.grid.rules import KEYS, Rule, agreeing, make_rules
from mass_jax.tasks.grid.simulator import CELLS, EFFECTS, run
from mass_jax.tasks.grid.task import GridTask
from mass_jax.tasks.worked import KINDS, writer
from tests.tasks.worked import CONFIGS, drawn, section

RULES = CONFIGS["grid"].make_rules()
TASK = GridTask((Rule(("n", "e", "sw")), Rule(("s", "e", "sw"))))
RUNS = "b2A> b3 c1AB> d2 e4C> d3"
PROBLEM = Problem(f"{RUNS} ? a1 b3", "n e sw = A> a2 A> a3 B> b3", documents.facts(f"{RUNS} ? a1 b3"), 0, 0)


def test_the_simulator_by_hand():
    keys = {"A": "n", "B": "sw"}
    assert run(keys, "c3", ("A", "B", "B")) == (("c4", "b3", "a2"), "")
    assert run(keys, "c3", ("A", "A", "A")) == (("c4", "c5"), "step 3 is not allowed: A goes n, out of the grid at c5")
    assert run(keys, "a3", ("B",)) == ((), "step 1 is not allowed: B goes sw, out of the grid at a3")
    assert run(keys, "c3", ("A", "Z")) == (("c4",), "step 2 is not allowed: there is no key 'Z'")
    ends = [run({"A": effect}, "c3", "A").cells for effect in EFFECTS]
    assert ends == [("c4",), ("d4",), ("d3",), ("d2",), ("c2",), ("b2",), ("b3",), ("b4",)]


def places(rule: Rule, start: str, keys: tuple[str, ...]) -> str | None:
    """Where keys lead, by numbers and not by names of cells; None where that is out of the grid."""
    column, row = "abcde".index(start[0]), int(start[1])
    for key in keys:
        across, up = EFFECTS[rule.effects[KEYS.index(key)]]
        column, row = column + across, row + up
        if not (0 <= column <= 4 and 1 <= row <= 5):
            return None
    return f"{'abcde'[column]}{row}"


@pytest.mark.parametrize("rule", TASK.rules + RULES[:2], ids=lambda rule: rule.name)
def test_the_verifier_accepts_every_plan_that_a_search_finds_and_no_other(rule: Rule):
    task = GridTask((rule,))
    runs = documents.stated(documents.draw_runs(rule, np.random.default_rng(0)))
    for start, goal in [("a1", "c2"), ("c3", "c4"), ("e5", "b3"), ("d2", "a2")]:
        problem = Problem(f"{runs} ? {start} {goal}", "", (), 0, 0)
        found = {}
        for count in range(1, 5):
            for keys in itertools.product(KEYS, repeat=count):
                right = places(rule, start, keys) == goal
                plan = " ".join(f"{key}> a1" for key in keys)  # what it says of cells is not judged
                assert task.grade([problem], [f" = {plan}"])[0].correct is right, (start, goal, keys)
                if right:
                    found.setdefault(count, keys)
        shortest = next(iter(found.values()), None)
        assert shortest is None or rule.plans[start, goal] == shortest


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("A> a2 A> a3 B> b3", "ends in b3"),
        ("B> b1 A> b2 A> b3", "ends in b3"),
        ("A> a1 A> a1 B> a1", "ends in b3"),
        ("A> a2 A> a3 A> a4", "ends in a4, not in b3"),
        ("A> a2 B> b3", "ends in b2, not in b3; step 2 is in b2, not in b3"),
        ("C> a1 B> b1", "step 1 is not allowed: C goes sw, out of the grid at a1"),
        (
            "B> a1 A> b2 C> a1 C> a1",
            "step 4 is not allowed: C goes sw, out of the grid at a1; step 1 is in b1, not in a1",
        ),
        ("A> a2 E> a3", "step 2 is not allowed: there is no key 'E'"),
        ("A> a2 A>", "expected a plan such as 'A> a2 B> b2' after '=', read 'A> a2 A>'"),
        ("A> a2 A> a9", "expected a plan"),
        ("A B", "expected a plan"),
        ("", "expected a plan"),
        ("> a2", "expected a plan"),
        ("A> a2 " * 3_000 + "A", "expected a plan"),
    ],
)
def test_verdicts_say_why(text: str, reason: str):
    verdict = TASK.grade([PROBLEM], [f"n e sw = {text}"])[0]
    assert verdict.correct is (reason == "ends in b3") and verdict.judged
    assert verdict.reason.startswith(reason), verdict.reason


def test_plans_are_judged_by_what_the_problem_shows_not_by_its_family():
    other = Problem(PROBLEM.prompt, "", (), -1, -1)
    assert TASK.grade([other], [PROBLEM.solution])[0].correct
    open_ = Problem("b2A> b3 e4C> d3 b5AC> a5 ? a1 b3", "", (), -1, -1)
    assert not TASK.grade([open_], [" = A> a2"])[0].judged, "no key goes out of the grid and back"
    open_ = Problem("b2A> b3 c1A> c2 e4C> d3 ? b2 a2", "", (), -1, -1)
    assert TASK.grade([open_], [" = A> b3 C> a2"])[0].correct
    assert not TASK.grade([open_], [" = B> a2"])[0].correct, "some rules make it, not all"


def test_no_two_families_do_the_same_and_what_is_shown_tells_them_apart():
    every = make_rules(336, 0)
    assert len({rule.name for rule in every}) == 336 and all(len({*rule.effects}) == 3 for rule in every)
    with pytest.raises(ValueError, match="task.rules = 337: there are 1 to 336 different effects of 3 keys"):
        make_rules(337, 0)
    for problem in drawn("grid")["test"][:20]:
        runs = documents.read_runs(" ".join(problem.facts))
        assert [rule for rule in every if rule.makes(runs)] == [RULES[problem.family]]
        assert agreeing(runs) == (RULES[problem.family],)


def test_problems_ask_for_plans_that_are_not_shown():
    task, levels, lengths = GridTask(RULES), Counter(), Counter()
    for problem in itertools.chain(*drawn("grid").values()):
        assert len(problem.facts) == 3
        start, goal = documents.asked(problem.prompt)
        keys = task.answer_of(problem, problem.solution).split(" ")
        assert not any(places(RULES[problem.family], start, k) == goal for k in itertools.product(KEYS, repeat=1))
        assert not any(fact.startswith(start) and fact.endswith(f" {goal}") for fact in problem.facts)
        levels[problem.difficulty, sum(len(fact.split(">")[0]) == 3 for fact in problem.facts)] += 1
        lengths[len(keys)] += 1
    assert {*levels} == {(0, 2), (1, 1)} and {*lengths} == {2, 3} and min(*lengths.values()) > 150


def test_the_same_problem_in_another_order_is_the_same():
    shown = "e4C> d3 b2A> b3 c1AB> d2"
    assert documents.canonical(f"{shown} ? a1 b3") == documents.canonical(PROBLEM.prompt)
    assert documents.canonical(f"{shown} ? b3 a1") != documents.canonical(PROBLEM.prompt)


@pytest.mark.parametrize("kind", KINDS)
def test_documents_are_true_and_fit_the_vocabulary(kind: str):
    rng, tokenizer = np.random.default_rng(1), WordTokenizer(rules.vocabulary())
    task = GridTask(RULES)
    write = writer(documents, RULES, [kind], [])
    for problem in drawn("grid")["pretrain"][:40]:
        text, rule = write(problem, rng), RULES[problem.family]
        assert tokenizer.decode(tokenizer.encode(text)) == text
        if kind == "table":
            name, _, runs = text.partition(" : ")
            assert name == rule.name and rule.makes(documents.read_runs(runs))
            continue
        prompt, _, rest = text.partition(" ; " if kind == "synthesise" else " : ")
        about = Problem(prompt, "", documents.facts(prompt), 0, problem.family)
        if kind == "solve":
            assert task.grade([about], [rest])[0].correct and rest.startswith(f"{rule.name} = ")
        else:
            practice = task.parse(about, rest)
            assert task.is_correct(about, practice) and not task.leaks(about, practice)


def test_practice_is_right_where_its_plan_is_run_as_it_says():
    right = "d5 : n e sw = C> c4 B> d4"
    practice = TASK.parse(PROBLEM, right)
    assert practice == Practice(f"{RUNS} ? d5 d4", "n e sw = C> c4 B> d4", True)
    assert TASK.is_correct(PROBLEM, practice) and not TASK.leaks(PROBLEM, practice)
    wrong = {
        "a cell is wrong": right.replace("c4", "b4"),
        "its end is wrong": right.replace("d4", "e4"),
        "another rule": right.replace("n e", "s e"),
        "out of the grid": "d5 : n e sw = A> d4 C> c3",
    }
    for name, text in wrong.items():
        practice = TASK.parse(PROBLEM, text)
        assert practice.well_formed and TASK.is_on_family(PROBLEM, practice), name
        assert not TASK.is_correct(PROBLEM, practice), name
    strange = Practice(f"{RUNS.replace('b2A> b3', 'b2A> b1')} ? d5 d4", "n e sw = C> c4 B> d4", True)
    assert not TASK.is_on_family(PROBLEM, strange) and not TASK.is_correct(PROBLEM, strange)
    for text, leaks in {"a1 : n e sw = A> a2 B> b2": True, "b2 : n e sw = A> b3": True, right: False}.items():
        assert TASK.leaks(PROBLEM, TASK.parse(PROBLEM, text)) is leaks, text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "d5",
        "d5 : n e sw",
        "d5 : n e sw = ",
        "d5 : n e = C> c4",
        "d5 : n e e = C> c4",
        "d5 : n e up = C> c4",
        "d9 : n e sw = C> c4",
        "d5 : n e sw = C c4",
        "d5 : n e sw = C> c4 B>",
        "d5 : n e sw = E> c4",
        "d5 : n e sw = C> d5",  # no way to go
        "d5 ; n e sw = C> c4",
        "a1 : n e sw = A> a2 A> a3 B> b3",  # the problem's own
        "? = : ;",
    ],
)
def test_what_is_of_another_form_is_malformed(text: str):
    assert TASK.parse(PROBLEM, text) == MALFORMED


def test_what_controls_may_ask():
    task, rng, leaks = GridTask(RULES), np.random.default_rng(2), 0
    for problem in drawn("grid")["test"][:20]:
        for practice in task.gold_practice(problem, 6, rng, strict=False):
            leaks += task.leaks(problem, practice)
        name = RULES[problem.family].name
        assert task.read_off(problem, practice) == f"{problem.prompt} : {name} ="
        found = dict(zip(task.check_names, task.checks(problem, practice), strict=True))
        pressed, _, end = problem.facts[2].partition(" ")
        assert found["run 3 | rule"] == (f"{name} : {pressed}", end)
        assert found["rule | runs"] == (f"{practice.prompt} :", name)
    assert leaks > 0, "what is not strict may begin or end where the problem does"
    assert task.answer_of(PROBLEM, PROBLEM.solution) == "A A B" and task.answer_of(PROBLEM, "n = A a2") == "A a2"


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("", "a problem shows 3 runs"),
        (RUNS, "a problem shows 3 runs"),
        (f"{RUNS} ? a1", "a problem shows 3 runs"),
        (f"{RUNS} ? a1 a1", "a problem shows 3 runs"),
        (f"{RUNS} ? a1 f3", "a problem shows 3 runs"),
        (f"{RUNS[7:]} ? a1 b3", "a problem shows 3 runs"),
        (RUNS.replace("AB>", "ABC>") + " ? a1 b3", "a problem shows 3 runs"),
        (RUNS.replace("AB>", "AA>") + " ? a1 b3", "a problem shows 3 runs"),
        (RUNS.replace("b3", "b4") + " ? a1 c3", "no effects of the keys A, B, C make all runs of 'b2A> b4"),
    ],
)
def test_a_problem_of_another_form_is_a_sentence(prompt: str, words: str):
    with pytest.raises(ValueError, match=re.escape(words)):
        TASK.problem(prompt)


@pytest.mark.parametrize("text", [documents.__doc__, section("Plans on a grid")], ids=["module", "page"])
def test_the_examples_are_true(text: str):
    found = dict(re.findall(r"^    (problem|solve|synthesise|table) +(.*[A-C]> .*)$", text, re.MULTILINE))
    assert found["problem"] == PROBLEM.prompt and found["solve"] == f"{PROBLEM.prompt} : {PROBLEM.solution}"
    assert TASK.is_correct(PROBLEM, TASK.parse(PROBLEM, found["synthesise"].partition(" ; ")[2]))
    name, _, runs = found["table"].removesuffix(" ...").partition(" : ")
    assert name == TASK.rules[0].name and TASK.rules[0].makes(documents.read_runs(runs))
    assert {*CELLS} > {documents.asked(PROBLEM.prompt).goal}
