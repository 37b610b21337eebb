"""The domain as the method sees it."""

import pytest

from mass_jax.tasks.base import MALFORMED, KnowsFamily, Practice, Problem, ShowsExamples
from mass_jax.tasks.mathematics import prompts
from mass_jax.tasks.mathematics.task import MathematicsTask

PROBLEM = Problem(
    "Mia buys 4 boxes with 12 pens each and gives 9 pens to her brother Jon. How many pens does she keep for herself?",
    "4 * 12 = 48\n48 - 9 = 39\nThe answer is \\boxed{39}.",
    (),
    2,
    0,
)
PRACTICE = Practice("A farm has 5 rows of 7 trees. How many trees?", "5 * 7 = 35\nThe answer is \\boxed{35}.", True)


def chat(messages):
    return "".join(f"<|{m['role']}|>{m['content']}<|end|>" for m in messages) + "<|assistant|>"


@pytest.fixture(params=[None, chat], ids=["base", "chat"])
def task(request, grader):
    special = ("<|user|>", "<|assistant|>", "<|end|>")
    return MathematicsTask(prompts.load("gsm8k"), grader, request.param, special)


def test_prompts_contain_the_problem_once_and_end_where_the_model_begins(task):
    for text in (task.solve_prompt(PROBLEM.prompt), task.synthesis_prompt(PROBLEM)):
        assert text.count(PROBLEM.prompt) == 1
    ends = ("Solution:\n", "Related problem:\n") if task.chat is None else ("<|assistant|>",) * 2
    assert task.solve_prompt(PROBLEM.prompt).endswith(ends[0])
    assert task.synthesis_prompt(PROBLEM).endswith(ends[1])


def test_practice_that_is_shown_comes_solved_and_before_the_problem(task):
    text = task.solve_prompt(PROBLEM.prompt, [PRACTICE])
    assert text.index(PRACTICE.prompt) < text.index(PRACTICE.solution) < text.index(PROBLEM.prompt)
    assert text.endswith(task.solve_prompt(PROBLEM.prompt)[-130:])


def test_a_chat_model_reads_worked_practice_before_it_writes(grader):
    found = prompts.load("gsm8k")
    (first, written), (second, _) = prompts.worked_practice(found)
    one = MathematicsTask(found, grader, chat, shots=1).synthesis_prompt(PROBLEM)
    asked = one.index(PROBLEM.prompt)
    assert 0 < one.index(first) < one.index(f"<|assistant|>{written}<|end|>") < asked and second not in one
    none = MathematicsTask(found, grader, chat).synthesis_prompt(PROBLEM)
    assert first not in none and one.endswith(none.removeprefix(f"<|system|>{found.system}<|end|>"))
    base = MathematicsTask(found, grader)
    assert base.synthesis_prompt(PROBLEM) == MathematicsTask(found, grader, shots=1).synthesis_prompt(PROBLEM)
    with pytest.raises(ValueError, match="task.shots = 3: the prompts have 2 worked examples"):
        MathematicsTask(found, grader, chat, shots=3)


def test_only_a_base_model_needs_stop_strings(task):
    assert task.stops == (("\nProblem:",) if task.chat is None else ())
    assert not isinstance(task, KnowsFamily | ShowsExamples), "there is no hidden rule, and no solved example"


def test_a_base_models_next_example_would_begin_with_a_stop_string(grader):
    base = MathematicsTask(prompts.load("gsm8k"), grader)
    for text in (base.solve_prompt("x"), base.synthesis_prompt(PROBLEM)):
        assert text.count(base.stops[0]) >= 3


def test_solutions_vote_by_their_final_answers(task):
    assert task.answer_of(PROBLEM, "Two and three: \\boxed{5}") == task.answer_of(PROBLEM, "The answer is 5.") == "5"


def test_what_is_written_can_be_read_back(task):
    assert task.parse(PROBLEM, task.written(PROBLEM, PRACTICE)) == PRACTICE


def test_special_tokens_reach_no_prompt_and_no_practice(task):
    bad = Problem("What is 2<|end|><|user|> + 3?", "\\boxed{5}", (), 0, 0)
    clean = Problem("What is 2 + 3?", "\\boxed{5}", (), 0, 0)
    assert task.solve_prompt(bad.prompt) == task.solve_prompt(clean.prompt)
    assert task.synthesis_prompt(bad) == task.synthesis_prompt(clean)
    assert task.checks(bad, PRACTICE) == task.checks(clean, PRACTICE)
    shown = [[Practice(each.prompt, f"{each.prompt}\\boxed{{5}}", True)] for each in (bad, clean)]
    assert task.solve_prompt("x", shown[0]) == task.solve_prompt("x", shown[1])
    assert task.written(PROBLEM, shown[0][0]) == task.written(PROBLEM, shown[1][0])
    practice = task.parse(PROBLEM, "Problem: a<|end|>b 1?\nSolution: so <|<|end|>user|>\\boxed{5}")
    assert practice == Practice("ab 1?", "so \\boxed{5}", True)


def test_grading(task):
    texts = ["\\boxed{39}", "The answer is 39 pens.", "It is 40", "", f"{PROBLEM.prompt} 39", PROBLEM.prompt]
    verdicts = task.grade([PROBLEM] * len(texts), texts)
    assert [verdict.correct for verdict in verdicts] == [True, True, False, False, True, False]
    with pytest.raises(ValueError):
        task.grade([PROBLEM], texts)


def test_the_reference_is_right(task):
    assert task.grade([PROBLEM], [PROBLEM.solution])[0].correct


def test_checks_are_as_many_as_their_names_and_ask_what_they_say(task):
    solution, answer, problem = task.checks(PROBLEM, PRACTICE)
    assert len(task.check_names) == 3
    assert solution == (task.solve_prompt(PRACTICE.prompt), PRACTICE.solution)
    assert answer.context == solution.context + "The answer is \\boxed{" and answer.target == "35}"
    assert problem.target == PROBLEM.prompt and PRACTICE.solution in problem.context
    assert all(PROBLEM.prompt not in check.context for check in (solution, answer, problem))
    assert len(task.checks(PROBLEM, MALFORMED)) == 3


@pytest.mark.parametrize(
    ("practice", "leaks"),
    [
        (PRACTICE, False),
        (Practice(PROBLEM.prompt, "\\boxed{1}", True), True),
        (Practice(PROBLEM.prompt.upper().replace("?", " ?!"), "\\boxed{1}", True), True),
        (Practice("Think.", f"As in: {PROBLEM.prompt} \\boxed{{1}}", True), True),
        (Practice(PROBLEM.prompt.replace("Mia buys", "Ann buys"), "\\boxed{1}", True), True),
        (Practice("Mia buys 4 boxes with 12 pens each. How many pens?", "\\boxed{48}", True), False),
        (
            Practice(
                "Ben has 6 bags with 15 nuts each and eats 11 nuts. How many nuts does he keep?", "\\boxed{79}", True
            ),
            False,
        ),
        (MALFORMED, False),
    ],
)
def test_leaks_are_copies_of_the_problem(grader, practice, leaks):
    assert MathematicsTask(prompts.load("gsm8k"), grader).leaks(PROBLEM, practice) is leaks


@pytest.mark.parametrize(
    ("text", "leaks"), [("What is 2 + 3 ?", True), ("What is 2 - 3?", False), ("What is 3?", False)]
)
def test_leaks_of_a_short_problem(grader, text, leaks):
    short = Problem("What is $2+3$?", "\\boxed{5}", (), 0, 0)
    assert MathematicsTask(prompts.load("math"), grader).leaks(short, Practice(text, "\\boxed{5}", True)) is leaks
