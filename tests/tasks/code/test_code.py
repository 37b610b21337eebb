"""Programming as a task: data, prompts, practice with its tests, and verdicts that are run."""

import gzip
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mass_jax.tasks.base import MALFORMED, Practice
from mass_jax.tasks.code import data, extract, prompts
from mass_jax.tasks.code.domain import Code
from mass_jax.tasks.code.passing import mean_pass_at_k, pass_at_k
from mass_jax.tasks.code.runner import Runner
from mass_jax.tasks.code.task import CodeTask
from mass_jax.tasks.sandbox.jail import Limits

MBPP = {
    "task_id": 601,
    "text": "Write a function to square a number.",
    "code": "class Box:\r\n\tdef __init__(self, x): self.x = x\r\ndef sum(x):\r\n\treturn x.x * x.x",
    "test_list": ["assert sum(Box(3)) == 9", "assert math.isclose(sum(Box(0.5)), 0.25)"],
    "test_setup_code": "",
}
HUMAN_EVAL = {
    "task_id": "HumanEval/0",
    "prompt": 'import math\n\ndef helper(x):\n    return x\n\ndef area(r: float) -> float:\n    """Of a circle."""\n',
    "canonical_solution": "    return math.pi * helper(r) ** 2\n",
    "test": "def check(candidate):\n    assert abs(candidate(1.0) - helper(3.14159)) < 1e-3\n",
    "entry_point": "area",
}


@pytest.fixture(scope="module")
def task() -> Iterator[CodeTask]:
    with Runner(workers=1, anyhow=True) as runner:
        yield CodeTask(runner)


@pytest.fixture
def square(tmp_path: Path) -> data.Programming:
    path = tmp_path / "mbpp.jsonl"
    path.write_text(json.dumps(MBPP | {"task_id": 11}) + "\n\n" + json.dumps(MBPP) + "\n")
    (problem,) = data.mbpp(path, "train")
    return problem


@pytest.fixture
def area(tmp_path: Path) -> data.Programming:
    path = tmp_path / "HumanEval.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(HUMAN_EVAL).encode()))
    (problem,) = data.human_eval(data.human_eval_file(str(path)))
    return problem


def test_mbpp_is_posed_with_its_tests_which_ask_only_for_what_a_solution_defines(square: data.Programming):
    assert square.prompt == "\n".join(["Write a function to square a number.", data.TESTS, *MBPP["test_list"]])
    assert square.suite.asked == ("sum", "Box") and square.suite.setup == "import math\n" and square.family == 601
    assert "\r" not in square.solution


def test_reference_solutions_pass_and_mutated_ones_fail(task: CodeTask, square, area):
    whole = f"Here:\n```python\n{area.prompt}{area.solution}```\nDone."
    texts = {
        square: [square.solution, prompts.fenced(square.solution), square.solution.replace("x.x * x.x", "x.x + x.x")],
        area: [area.solution, whole, whole.replace("math.pi", "3.0"), "    return math.pi\n"],
    }
    right = {square: [True, True, False], area: [True, True, False, True]}
    for problem, each in texts.items():
        assert [v.correct for v in task.grade([problem] * len(each), each)] == right[problem]


def test_a_model_that_continues_is_inside_of_a_fence(task: CodeTask, square, area):
    texts = [f"{square.solution}\n```", prompts.fenced(square.solution), f"{area.solution}```\nSo it is."]
    assert [v.correct for v in task.grade([square, square, area], texts)] == [True, True, True]


def test_a_solution_has_no_say_about_what_its_tests_compare_with(task: CodeTask, square, area):
    lies = "class math:\n isclose = lambda *a: True\nclass Box:\n def __init__(self, x): 0\ndef sum(x): return 9"
    helper = "def helper(x): return 0\ndef area(r): return 0"
    assert [v.correct for v in task.grade([square, area], [lies, helper])] == [False, False]


BAD = {
    "": "there is no code",
    "```python\n```": "there is no code",
    "I cannot do it.": "0 of 2 tests pass: .*SyntaxError",
    "```java\nint sum(int x) { return x * x; }\n```": "the code is in a fence of 'java', not of Python",
    "```\ndef sum(x): return x.x ** 2\n```": "0 of 2 tests pass: .*no Box",
    "x" * 100_001: "the answer has 100001 characters, more than 100000",
    "while True: pass": "0 of 2 tests pass: over the time limit of 1 s",
}


def test_what_is_no_solution_is_a_verdict_with_a_reason(square: data.Programming):
    with Runner(workers=1, limits=Limits(seconds=1), anyhow=True) as runner:
        for verdict, (text, reason) in zip(
            CodeTask(runner).grade([square] * len(BAD), [*BAD]), BAD.items(), strict=True
        ):
            assert not verdict.correct and verdict.judged and re.match(reason, verdict.reason), (text[:40], verdict)


def test_a_problem_without_tests_is_not_judged(task: CodeTask):
    (verdict,) = task.grade([task.problem("Write a function to double a number.")], ["def f(x): return 2 * x"])
    assert not verdict.judged and verdict.reason == "no tests are known"
    known = task.problem(f"Double it.\n{data.TESTS}\nassert f(2) == 4")
    assert task.grade([known], ["def f(x): return 2 * x"])[0].correct


WRITTEN = (
    "Task: Write a function to double a number.\nTests:\nassert double(2) == 4\nassert double(0) == 0\nSolution:\n"
    "```python\ndef double(x):\n    return 2 * x\n```"
)


def test_practice_is_a_task_with_tests_and_a_solution_which_are_run(task: CodeTask, square: data.Programming):
    practice = task.parse(square, WRITTEN)
    assert practice.solution == "def double(x):\n    return 2 * x" and task.written(square, practice) == WRITTEN
    assert practice.prompt.endswith("assert double(2) == 4\nassert double(0) == 0")
    assert task.own_tests(practice).right and not task.leaks(square, practice)
    wrong = task.parse(square, WRITTEN.replace("2 * x", "x + 2"))
    assert task.own_tests(wrong).passed == 1
    for each, said, target in ((practice, "2 of 2 tests pass", " right"), (wrong, "1 of 2 tests pass", " wrong")):
        checks = task.checks(square, each)
        assert len(checks) == len(task.check_names)
        assert said in checks[1].context and checks[1].target == target


@pytest.mark.parametrize(
    "text",
    [
        "",
        WRITTEN.replace("Tests:", ""),
        WRITTEN.replace("assert double(2) == 4", "assert double(2) =="),
        WRITTEN.replace("assert double(0) == 0", "import os; os.system('true')"),
        WRITTEN.replace("def double", "def other"),
        WRITTEN.replace("```python", "```java"),
        WRITTEN.replace("double(2) == 4", "True").replace("double(0) == 0", "True"),
        WRITTEN.partition("Solution")[0],
        "\x00",
    ],
)
def test_practice_of_another_form_is_malformed(task: CodeTask, square: data.Programming, text: str):
    assert task.parse(square, text) == MALFORMED


def test_practice_that_has_the_problems_test_or_function_leaks(task: CodeTask, square: data.Programming):
    own = Practice(square.prompt.replace("== 9", "==  9"), "def other(x): return x", True)
    assert task.leaks(square, own) and task.leaks(
        square, Practice(data.posed("t", ["assert 1"]), square.solution, True)
    )


def test_prompts_of_chats_and_of_models_that_continue(square: data.Programming):
    def chat(messages: list[dict[str, str]]) -> str:
        return "|".join(f"{each['role']}: {each['content']}" for each in messages)

    base, told = CodeTask(None), CodeTask(None, chat, ("<|end|>",))
    shown = Practice(data.posed("Double it.", ["assert f(1) == 2"]), "def f(x): return 2 * x", True)
    assert base.solve_prompt(square.prompt, [shown]).endswith(f"Problem: {square.prompt}\nSolution:\n```python\n")
    assert prompts.fenced(shown.solution) in base.solve_prompt(square.prompt, [shown])
    assert told.solve_prompt("a<|e<|end|>nd|>b").endswith("\n\nab") and told.stops == ()
    example = base.synthesis_prompt(square).partition("\n\n")[0]
    assert base.parse(
        square, example.partition("\nTask:")[2] and f"Task:{example.partition(chr(10) + 'Task:')[2]}"
    ).well_formed


def test_pass_at_k_is_the_mean_over_all_draws_of_k():
    for samples, right, k in itertools.product(range(1, 7), range(7), range(1, 7)):
        if right <= samples and k <= samples:
            draws = [any(i < right for i in draw) for draw in itertools.combinations(range(samples), k)]
            assert pass_at_k(samples, right, k) == pytest.approx(sum(draws) / len(draws))
    assert mean_pass_at_k([[True, False], [False, False]], 1) == 0.25
    with pytest.raises(ValueError, match="pass@3 of 2 samples"):
        mean_pass_at_k([[True, False]], 3)


BROKEN = {
    "{": "line 1 is not JSON",
    "[1]": "line 1 of .* is not an object",
    '{"task_id": "x"}': "has no task_id, or one that is no int",
    json.dumps(MBPP | {"test_list": "x"}): "has no test_list, or one that is no list",
    json.dumps(MBPP | {"test_list": ["assert f("]}): "has a test or solution that is no Python",
    json.dumps(MBPP | {"task_id": 11}): "has no problem of the split 'train'",
}


@pytest.mark.parametrize("line", BROKEN)
def test_a_broken_line_of_the_data_is_a_sentence(tmp_path: Path, line: str):
    path = tmp_path / "mbpp.jsonl"
    path.write_text(line)
    with pytest.raises(ValueError, match=BROKEN[line]):
        data.mbpp(path, "train")


def test_nothing_is_run_unless_the_config_asks_for_it(tmp_path: Path):
    (fault,) = Code(name="code").contradictions()
    assert "Give 'jailed' to allow it in the sandbox" in fault
    path = tmp_path / "mbpp.jsonl"
    path.write_text(json.dumps(MBPP))
    allowed = Code(name="code", execute="jailed", source=str(tmp_path), train_problems=5)
    assert [*allowed.contradictions()] == [] and allowed.most("train") == 5
    assert [problem.family for problem in allowed.load("train")] == [601] and allowed.load("pretrain") == ()


def test_the_last_fence_of_python_counts():
    assert extract.program("```python\na\n```\n```py\nb\n```\n```text\nc\n```").program == "b\n"
    assert extract.program("```python\nunclosed").program == "unclosed"
