"""Hidden operators: rules told apart, problems that have one answer, practice that is read and judged by the rule."""

import numpy as np
import pytest

from mass_jax.tasks.base import MALFORMED, KnowsFamily, Practice, Problem, ReadsOff, ShowsExamples
from mass_jax.tasks.operators import builder
from mass_jax.tasks.operators.builder import PAIRS, OperatorsConfig, draw_problem, facts
from mass_jax.tasks.operators.rules import INNER, OUTER, SHOWN, Rule, make_rules
from mass_jax.tasks.operators.task import OperatorsTask
from mass_jax.tasks.procedural import draw_splits, load

RULE = Rule("max", "x + 1")
TASK = OperatorsTask((RULE, Rule("product", "x")))
PROMPT = "4@7=8\n3@5=6\n2@9=10\n8@3=9\n6@9="
PROBLEM = Problem(PROMPT, "10", ("4@7=8", "3@5=6", "2@9=10", "8@3=9"), 0, 0)
LINES = "4@7=8\n3@5=6\n2@9=10\n8@3=9\n"


def small_config(**changes) -> OperatorsConfig:
    sizes = dict(train_problems=90, validation_problems=20, test_problems=52)
    return OperatorsConfig(**sizes | changes)


def test_rules_by_hand():
    values = {name: Rule(name, "x")(4, 7) for name in INNER}
    assert list(values.values()) == [4, 7, 7, 4, 11, 3, 28, 47, 74, 16, 49]
    assert [Rule("sum", name)(4, 7) for name in OUTER] == [11, 10, 12, 21, 22, 110]
    assert RULE.name == "x + 1 of max"


def test_all_rules_differ():
    rules = make_rules(66, 0)
    assert len({tuple(rule(a, b) for a, b in PAIRS) for rule in rules}) == len({rule.name for rule in rules}) == 66
    assert make_rules(66, 1) != rules and make_rules(10, 0) == rules[:10]
    with pytest.raises(ValueError, match=r"task.rules = 67: there are 1 to 66 operators"):
        make_rules(67, 0)


def test_a_problem_has_one_answer_among_all_rules():
    rules, rng = make_rules(66, 0), np.random.default_rng(0)
    for family in range(66):
        problem = draw_problem(rules, family, rng)
        assert len(problem.facts) == SHOWN and facts(problem.prompt) == problem.facts
        lines = [*problem.facts, problem.prompt.rpartition("\n")[2] + problem.solution]
        read = [(int(x[0]), int(x[2]), int(x[4:])) for x in lines]
        assert len({pair[:2] for pair in read}) == SHOWN + 1, "no line twice, and the question is not among them"
        assert all(rules[family](a, b) == value for a, b, value in read)
        agreeing = [rule for rule in rules if all(rule(a, b) == value for a, b, value in read[:-1])]
        assert {rule(*read[-1][:2]) for rule in agreeing} == {read[-1][2]}


def test_splits_share_no_family_and_no_prompt(tmp_path):
    config, drawn = small_config(), draw_splits(small_config())
    families = {split: {p.family for p in problems} for split, problems in drawn.items()}
    assert {split: len(found) for split, found in families.items()} == {"train": 30, "validation": 10, "test": 26}
    assert len(set.union(*families.values())) == 66
    prompts = {split: {config.canonical(p.prompt) for p in problems} for split, problems in drawn.items()}
    assert not prompts["test"] & (prompts["train"] | prompts["validation"])
    for split in config.splits:
        assert load(config, split, tmp_path) == tuple(drawn[split])
    assert config.canonical("b\na\n6@9=") == config.canonical("a\nb\n6@9=") != config.canonical("a\nb\n9@6=")


def test_the_question_may_not_be_ambiguous(monkeypatch):
    # 4 and 7 both ways: the largest, or the second? Lines that do not tell are drawn again.
    rules = (Rule("max", "x"), Rule("b", "x"))
    monkeypatch.setattr(builder, "PAIRS", ((2, 4), (3, 4), (2, 5), (3, 5), (6, 7), (7, 2), (8, 9)))
    rng = np.random.default_rng(0)
    for _ in range(30):
        problem = draw_problem(rules, 0, rng)
        assert "7@2=7" in problem.facts or "7@2=" not in problem.prompt


def test_prompts():
    assert TASK.solve_prompt(PROMPT) == PROMPT
    shown = [Practice("2@9=10\n4@5=", "6", True)]
    assert TASK.solve_prompt(PROMPT, shown) == "4@5=6\n" + PROMPT
    prompt = TASK.synthesis_prompt(PROBLEM)
    assert prompt.startswith(LINES) and sorted(prompt.split()) == sorted(2 * LINES.split())
    assert "6@9" not in prompt


def test_practice_on_a_new_question_has_all_lines_before_it():
    assert TASK.parse(PROBLEM, "5@2=6") == Practice(LINES + "5@2=", "6", True)
    assert TASK.parse(PROBLEM, " 12@3=13\n").prompt.endswith("\n12@3=")


def test_practice_on_a_shown_question_cannot_be_copied():
    read = TASK.parse(PROBLEM, "3@5=6")
    assert read == Practice("4@7=8\n2@9=10\n8@3=9\n3@5=", "6", True)
    # The other order of the operands is another question.
    assert TASK.parse(PROBLEM, "5@3=6").prompt == LINES + "5@3="


@pytest.mark.parametrize(
    "text",
    ["", "5@2", "5@2=", "=6", "5@2=6\n3@4=5", "5@2= 6", "a@2=6", "5@2=x", "5@2=٦", "512@2=6", "5@2=12345", "5-2=6"],
)
def test_anything_else_is_malformed(text: str):
    assert TASK.parse(PROBLEM, text) == MALFORMED


def test_written_practice_is_read_back():
    for text in ("3@5=6", "5@2=9", "12@34=5"):
        practice = TASK.parse(PROBLEM, text)
        assert TASK.written(PROBLEM, practice) == text
        assert TASK.parse(PROBLEM, TASK.written(PROBLEM, practice)) == practice


def test_grading():
    texts = ["10", " 10\n", "11", "10 or 11", "1", "", "010"]
    verdicts = TASK.grade([PROBLEM] * len(texts), texts)
    assert [verdict.correct for verdict in verdicts] == [True, True] + 5 * [False]
    assert verdicts[2].reason == "'11' differs from 10"


def test_checks_ask_what_they_say():
    new, shown = TASK.parse(PROBLEM, "5@2=6"), TASK.parse(PROBLEM, "4@7=8")
    asked = TASK.checks(PROBLEM, new)
    assert len(asked) == len(TASK.check_names)
    assert asked[0] == (LINES + "5@2=", "6\n")
    assert asked[1] == ("3@5=6\n2@9=10\n8@3=9\n5@2=6\n4@7=", "8\n")
    assert asked[2] == ("4@7=8\n3@5=6\n2@9=10\n5@2=6\n8@3=", "9\n")
    # What the problem shows is there to be copied: a wrong copy is told by its likelihood.
    assert TASK.checks(PROBLEM, shown)[0] == (LINES + "4@7=", "8\n")


def test_what_knows_the_family():
    assert isinstance(TASK, KnowsFamily) and isinstance(TASK, ShowsExamples)
    assert TASK.answer_of(PROBLEM, " 6 \n") == "6" and not isinstance(TASK, ReadsOff), "a value answers no other line"
    right, wrong = TASK.parse(PROBLEM, "5@2=6"), TASK.parse(PROBLEM, "5@2=7")
    assert TASK.is_correct(PROBLEM, right) and not TASK.is_correct(PROBLEM, wrong)
    assert not TASK.is_correct(PROBLEM, MALFORMED) and not TASK.is_on_family(PROBLEM, MALFORMED)
    assert TASK.is_on_family(PROBLEM, wrong)
    assert TASK.leaks(PROBLEM, TASK.parse(PROBLEM, "6@9=1")) and TASK.leaks(PROBLEM, TASK.parse(PROBLEM, "9@6=1"))
    assert not TASK.leaks(PROBLEM, right) and not TASK.leaks(PROBLEM, MALFORMED)


@pytest.mark.parametrize("strict", [False, True])
def test_gold_practice_is_right_new_and_strictly_never_leaks(strict: bool):
    rng = np.random.default_rng(0)
    practice = [e for _ in range(40) for e in TASK.gold_practice(PROBLEM, 6, rng, strict)]
    assert all(TASK.is_correct(PROBLEM, e) for e in practice)
    assert all(e.prompt.startswith(LINES) for e in practice), "never one of the shown lines"
    assert any(TASK.leaks(PROBLEM, e) for e in practice) != strict


def test_shown_practice_leaves_one_line_out():
    practice = TASK.shown_practice(PROBLEM, 6, np.random.default_rng(0))
    assert len(practice) == 6 and len({e.prompt for e in practice[:4]}) == 4
    assert all(TASK.is_correct(PROBLEM, e) for e in practice)
    assert all(TASK.written(PROBLEM, e) in PROBLEM.facts and TASK.written(PROBLEM, e) not in e.prompt for e in practice)
