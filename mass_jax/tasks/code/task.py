"""Programming as a `Task`: what a model writes is run against tests, in the sandbox."""

import ast
import dataclasses
from collections.abc import Sequence
from typing import ClassVar

from mass_jax.tasks.base import MALFORMED, Check, Practice, Problem, Verdict
from mass_jax.tasks.chat import Chat, without_special_tokens
from mass_jax.tasks.code import prompts
from mass_jax.tasks.code.data import TESTS, Programming, posed, undefined
from mass_jax.tasks.code.extract import Found, defines, program
from mass_jax.tasks.code.runner import Result, Runner, Suite

MOST_TESTS = 8
"""Of a practice example."""


@dataclasses.dataclass(frozen=True)
class CodeTask:
    """Prompts, a parser, and a grader that runs.

    Attributes:
      runner: runs programs; the caller closes it.
      chat: the chat template of the model, or None for a base model, which continues worked examples.
      special_tokens: strings that the tokenizer reads as special; they are removed from problems and practice.
    """

    runner: Runner
    chat: Chat | None = None
    special_tokens: tuple[str, ...] = ()

    check_names: ClassVar[tuple[str, ...]] = (
        "solution | practice problem",
        "right | its own tests",
        "problem | practice",
    )

    @property
    def stops(self) -> tuple[str, ...]:
        """Strings that end a completion: none for a chat model, which ends its turn itself."""
        return prompts.STOPS if self.chat is None else ()

    def problem(self, prompt: str) -> Problem:
        """A problem of which only the prompt is known; the tests that it shows judge it."""
        text, told, tests = prompt.partition(f"\n{TESTS}\n")
        lines = tuple(line.strip() for line in tests.split("\n") if line.strip())
        suite = _suite(lines) if told else None
        return Programming(prompt, "", lines, -1, -1, suite or Suite((), ()))

    def solve_prompt(self, prompt: str, shown: Sequence[Practice] = ()) -> str:
        """What the solver reads; practice that is ``shown`` comes first, solved."""
        examples = [(self._clean(each.prompt), self._clean(each.solution)) for each in shown]
        return prompts.solve(self._clean(prompt), examples, self.chat)

    def synthesis_prompt(self, problem: Problem) -> str:
        """What the generator reads; its completion is one practice example, for `parse`."""
        return prompts.synthesise(self._clean(problem.prompt), self.chat)

    def written(self, problem: Problem, practice: Practice) -> str:
        """A practice example as a generator would write it."""
        return prompts.practice(practice.prompt, practice.solution)

    def parse(self, problem: Problem, text: str) -> Practice:
        """Read a task, its tests and its solution. Malformed are also tests and solutions that are no Python."""
        read = prompts.read_practice(self._clean(text))
        if read is None:
            return MALFORMED
        task, tests, solution = read
        found, suite = program(solution), _suite(tests[:MOST_TESTS])
        if suite is None or not suite.asked or not any(defines(found.program, name) for name in suite.asked):
            return MALFORMED
        return Practice(posed(task, suite.tests), found.program.strip(), True)

    def grade(self, problems: Sequence[Problem], texts: Sequence[str]) -> list[Verdict]:
        """Run one completion of each problem's solve prompt against its tests, in parallel. Never raises."""
        found = [self._program(problem, text) for problem, text in zip(problems, texts, strict=True)]
        runs = [(each.program, _tests(problem)) for each, problem in zip(found, problems, strict=True)]
        sound = [i for i, each in enumerate(found) if each.program and runs[i][1].tests]
        results = dict(zip(sound, self.runner.run([runs[i] for i in sound]), strict=True))
        return [
            _verdict(results[i])
            if i in results
            else Verdict(False, each.reason or "no tests are known", bool(each.reason))
            for i, each in enumerate(found)
        ]

    def own_tests(self, practice: Practice) -> Result:
        """How the solution of well-formed practice fares in the tests that were written with it."""
        suite = _suite(practice.prompt.partition(f"\n{TESTS}\n")[2].split("\n"))
        return self.runner.run([(practice.solution, suite)])[0] if suite else Result(0, 0, "it has no tests")

    def checks(self, problem: Problem, practice: Practice) -> tuple[Check, ...]:
        """Does the solver stand by the solution, does that pass its own tests, and does practice lead to the problem?

        The second is run: what the model is asked says how many tests passed.
        """
        result = self.own_tests(practice)
        said = f"{practice.prompt}\n{prompts.fenced(practice.solution)}\n{result.passed} of {result.total} tests pass."
        return (
            Check(self.solve_prompt(practice.prompt), self._answer(practice.solution)),
            Check(f"{said} The solution is", " right" if result.right else " wrong"),
            Check(
                f"Problem: {practice.prompt}\n{prompts.fenced(practice.solution)}\n\nProblem: ",
                self._clean(problem.prompt),
            ),
        )

    def leaks(self, problem: Problem, practice: Practice) -> bool:
        """The practice has a test of the problem, or defines what the problem asks for."""
        tests = {"".join(line.split()) for line in practice.prompt.partition(TESTS)[2].split("\n") if line.strip()}
        same = not tests.isdisjoint("".join(line.split()) for line in _tests(problem).tests)
        return same or any(defines(practice.solution, name) for name in _tests(problem).asked)

    def _answer(self, code: str) -> str:
        """A solution as the solver would go on with it."""
        return f"{code}\n```" if self.chat is None else prompts.fenced(code)

    def _program(self, problem: Problem, text: str) -> Found:
        begun = problem.begun if isinstance(problem, Programming) else ""
        # What a base model reads ends with the beginning of a fence.
        inside = self.chat is None
        return program(text, begun, _tests(problem).asked[0] if begun else "", inside)

    def _clean(self, text: str) -> str:
        return without_special_tokens(text, self.special_tokens)


def _suite(tests: Sequence[str]) -> Suite | None:
    """Tests that a model wrote: assertions, all of them Python; else None."""
    lines = tuple(line for line in tests if line.strip())
    try:
        asserts = [ast.parse(line).body for line in lines]
        asked = undefined(lines)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if not lines or not all(len(body) == 1 and isinstance(body[0], ast.Assert) for body in asserts):
        return None
    return Suite(lines, asked)


def _tests(problem: Problem) -> Suite:
    return problem.suite if isinstance(problem, Programming) else Suite((), ())


def _verdict(result: Result) -> Verdict:
    passed = f"{result.passed} of {result.total} tests pass"
    return Verdict(result.right, passed if result.right else f"{passed}: {result.reason}", result.judged)
