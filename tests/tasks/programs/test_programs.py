"""Hidden programs: what texts say of them is true, controls know them, and held-out problems stay held out."""

import itertools
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mass_jax.models.tokenizer import WordTokenizer
from mass_jax.tasks.base import MALFORMED, Practice, Problem
from mass_jax.tasks.programs import documents, rules
from mass_jax.tasks.programs.rules import OPERATIONS, STRINGS, Rule, make_rules, run
from mass_jax.tasks.programs.task import ProgramsTask
from mass_jax.tasks.worked import KINDS, answer_of, writer
from tests.tasks.worked import CONFIGS, drawn

RULES = CONFIGS["programs"].make_rules()
TASK = ProgramsTask((Rule(("swap", "sum")), Rule(("reverse", "next"))))
PROBLEM = Problem("abc> bbd cab> acd ddd> dcb ? bca dab", "swap sum = bca> cdd dab> ada", (), 2, 0)
PROBLEM = Problem(PROBLEM.prompt, PROBLEM.solution, documents.facts(PROBLEM.prompt), 2, 0)
PAGE = (Path(__file__).parents[3] / "docs/code.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "outputs"),
    {
        "reverse": "cba dda",
        "left": "bca dda",
        "right": "cab dad",
        "swap": "bac dad",
        "sort": "abc add",
        "fall": "cba dda",
        "next": "bcd baa",
        "back": "dab dcc",
        "mirror": "dcb daa",
        "first": "bbc bdd",
        "last": "abd ada",
        "echo": "aab aad",
        "ends": "acc add",
        "most": "abc add",
        "least": "aaa aaa",
        "sum": "abd adc",
    }.items(),
)
def test_operations_by_hand(name: str, outputs: str):
    assert [OPERATIONS[name](text) for text in ("abc", "add")] == outputs.split()


def test_a_program_runs_its_operations_in_order():
    assert run(("swap", "sum"), "abc") == OPERATIONS["sum"]("bac") == "bbd"
    assert Rule(("swap", "sum"))("cab") == "acd" and {*Rule(("least", "sum")).outputs} == {*STRINGS}


def test_no_two_families_do_the_same_and_none_is_one_operation():
    found = [tuple(rule.outputs.values()) for rule in make_rules(160, 0)]
    assert len({*found}) == 160
    assert not {*found} & {tuple(map(operation, STRINGS)) for operation in OPERATIONS.values()}
    with pytest.raises(ValueError, match="task.rules = 999: there are 1 to 164 different programs of 2 operations"):
        make_rules(999, 0)


def test_problems_have_one_answer_and_say_what_is_true():
    levels = Counter()
    for problem in itertools.chain(*drawn("programs").values()):
        rule = RULES[problem.family]
        shown = documents.read_runs(" ".join(problem.facts))
        answers = documents.read_runs(answer_of(problem.solution))
        assert all(run(rule.steps, text) == output for text, output in shown + answers)
        assert [text for text, _ in answers] == problem.prompt.partition(" ? ")[2].split()
        agree = [r for r in RULES if all(r(text) == output for text, output in shown)]
        assert {tuple(r(text) for text, _ in answers) for r in agree} == {tuple(output for _, output in answers)}
        levels[problem.difficulty, len(shown)] += 1
    assert {*levels} == {(0, 5), (1, 4), (2, 3)} and min(levels.values()) > 80


def test_documents_pose_no_held_out_problem():
    some = drawn("programs")["pretrain"][:3]
    rng = np.random.default_rng(0)
    often = Counter(
        documents.canonical(documents.draw_document(RULES, problem, rng, "synthesise").split(" ; ")[1].split(" : ")[0])
        for problem in some * 300
    )
    held_out = [Problem(prompt, "", (), 0, 0) for prompt, _ in often.most_common(100)]
    write = writer(documents, RULES, ["synthesise"], held_out)
    for problem in some * 60:
        practice = write(problem, rng).split(" ; ")[1].split(" : ")[0]
        assert documents.canonical(practice) not in {each.prompt for each in held_out}


@pytest.mark.parametrize("kind", KINDS)
def test_documents_are_true_and_fit_the_vocabulary(kind: str):
    rng, tokenizer = np.random.default_rng(1), WordTokenizer(rules.vocabulary())
    task = ProgramsTask(RULES)
    write = writer(documents, RULES, [kind], [])
    for problem in drawn("programs")["pretrain"][:40]:
        text, rule = write(problem, rng), RULES[problem.family]
        assert tokenizer.decode(tokenizer.encode(text)) == text
        if kind == "table":
            name, _, runs = text.partition(" : ")
            assert name == rule.name and all(rule(x) == y for x, y in documents.read_runs(runs))
        if kind == "synthesise":
            practice = task.parse(problem, text.partition(" ; ")[2])
            assert task.is_correct(problem, practice) and task.written(problem, practice) in text


def test_practice_is_verified_by_running_its_program():
    right = "abc> bbd cab> acd ddd> dcb ? aab dda : swap sum = aab> aab dda> dcc"
    practice = TASK.parse(PROBLEM, right)
    assert practice.well_formed and TASK.is_correct(PROBLEM, practice) and TASK.is_on_family(PROBLEM, practice)
    wrong = {
        "another output": right.replace("dda> dcc", "dda> ddd"),
        "a shown run is wrong": right.replace("abc> bbd", "abc> bba"),
        "a program that does not make them": right.replace("swap sum", "reverse next"),
    }
    for name, text in wrong.items():
        practice = TASK.parse(PROBLEM, text)
        assert practice.well_formed and not TASK.is_correct(PROBLEM, practice), name
        assert TASK.is_on_family(PROBLEM, practice) is (name != "a shown run is wrong"), name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "swap sum",
        "abc> bbd ? aab dda : swap sum = aab> aab dda> dcc",
        "abc> bbd cab> acd ddd> dcb ? aab dda : swap = ",
    ]
    + ["abc> bbd cab> acd ddd> dcb ? aab dda : swap sum = aab> aab", "abc bbd cab> acd ddd> dcb ? aab : swap sum = x"]
    + [
        "abc> bbd cab> acd ddd> dcb ? aab dda : swap leap = aab> aab dda> dcc",
        "? : = ;",
        "abc> bbd cab> acd ddd> dcb ?",
    ]
    + ["abc> bbd cab> acd ddd> dcb ? dda aab : swap sum = aab> aab dda> dcc"],
)
def test_what_is_of_another_form_is_malformed(text: str):
    assert TASK.parse(PROBLEM, text) == MALFORMED


def test_grading_is_by_what_the_program_makes_of_what_is_asked():
    texts = [
        PROBLEM.solution,
        "reverse next = bca> cdd dab> ada",
        "swap sum = bca> cdd dab> ddd",
        "bca> cdd",
        "swap = = ",
    ]
    found = TASK.grade([PROBLEM] * len(texts), texts)
    assert [verdict.correct for verdict in found] == [True, True, False, False, False]
    assert found[2].reason == "bca> cdd dab> ddd differs from bca> cdd dab> ada; swap sum would give bca> cdd dab> ada"
    assert "expected 2 runs after '='" in found[3].reason


def test_what_controls_may_ask():
    task, rng = ProgramsTask(RULES), np.random.default_rng(2)
    for problem in drawn("programs")["test"][:20]:
        [practice] = task.gold_practice(problem, 1, rng, strict=False)
        assert task.leaks(problem, Practice(problem.prompt, problem.solution, True))
        assert task.read_off(problem, practice) == f"{problem.prompt} : {RULES[problem.family].name} ="
        assert len(task.checks(problem, practice)) == len(task.check_names)


def test_a_problem_of_another_form_is_a_sentence():
    for prompt in (
        "",
        "abc> bbd ? bca dab",
        "abc> bbd cab> acd ddd> dcb ? bca",
        "abc> bbd cab> acd ddd> dcb ? bca xyz",
    ):
        with pytest.raises(ValueError, match="a problem shows 3 to 5 runs and asks for 2 outputs"):
            TASK.problem(prompt)


@pytest.mark.parametrize("text", [documents.__doc__, PAGE], ids=["module", "page"])
def test_the_examples_are_of_the_config(text: str):
    found = dict(re.findall(r"^    (problem|solve|synthesise|table) +(.+)$", text, re.MULTILINE))
    names = {rule.name: rule for rule in make_rules(160, 0)}
    answer = found["solve"].partition(" : ")[2]
    rule = names[answer.partition(" = ")[0]]
    family = ProgramsTask((rule,))
    problem = Problem(found["problem"], answer, documents.facts(found["problem"]), 0, 0)
    assert found["solve"].startswith(f"{problem.prompt} : ") and family.grade([problem], [answer])[0].correct
    written = found["synthesise"].partition(" ; ")[2].replace("...", "aab> aba caa> caa")
    practice = family.parse(problem, written)
    assert family.is_correct(problem, practice) and family.is_correct(problem, Practice(problem.prompt, answer, True))
    name, _, runs = found["table"].removesuffix(" ...").partition(" : ")
    assert all(names[name](x) == y for x, y in documents.read_runs(runs))
