"""Hidden programs as a `Task`: what a solution or practice says of a program is verified by running it."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from mass_jax.tasks.base import MALFORMED, Practice, Problem
from mass_jax.tasks.programs import documents
from mass_jax.tasks.programs.documents import GIVEN, QUERIES, Run, read_runs, stated
from mass_jax.tasks.programs.rules import OPERATIONS, STEPS, STRINGS, Rule, run
from mass_jax.tasks.worked import ANSWER, ASKS, SOLVE, MatchedTask, answer_of, other_than


@dataclasses.dataclass(frozen=True)
class ProgramsTask(MatchedTask):
    """Which program made the runs; see `rules.py` and `documents.py`.

    Attributes:
      rules: the program of every family, by its index.
    """

    rules: tuple[Rule, ...]

    states: ClassVar[str] = "runs"
    queries: ClassVar[int] = QUERIES
    check_names: ClassVar[tuple[str, ...]] = (
        "first facts | practice",
        "last facts | practice",
        "answer | program",
        "program | facts",
    )

    def problem(self, prompt: str) -> Problem:
        """A problem of which only the prompt is known.

        Raises:
          ValueError: it is not of the form.
        """
        shown, _, queries = prompt.partition(ASKS)
        runs, asked = read_runs(shown), queries.split(" ")
        if runs is None or len(runs) not in GIVEN or len(asked) != QUERIES or not {*asked} <= {*STRINGS}:
            raise ValueError(
                f"a problem shows {min(GIVEN)} to {max(GIVEN)} runs and asks for {QUERIES} outputs, such as "
                "'abc> bca dab> abd bbd> bdb ? cab ddc'"
            )
        return Problem(prompt, "", documents.facts(prompt), -1, -1)

    def read(self, text: str) -> list[Run] | None:
        """See `documents.read_runs`."""
        return read_runs(text)

    def parse(self, problem: Problem, text: str) -> Practice:
        """Read ``runs ? queries : program = runs``; anything else is malformed.

        Only the form is judged, and that the solution answers what was asked. A program that does not do what is said
        of it is the scorer's business.
        """
        prompt, solved, solution = text.partition(f"{SOLVE} ")
        given, asked, queries = prompt.partition(ASKS)
        if not (solved and asked) or _program(solution) is None:
            return MALFORMED
        runs, answers = read_runs(given), read_runs(answer_of(solution))
        if runs is None or answers is None or len(runs) not in GIVEN or len(answers) != QUERIES:
            return MALFORMED
        return Practice(prompt, solution, True) if queries.split(" ") == [x for x, _ in answers] else MALFORMED

    def remark(self, text: str) -> str:
        """What the program that a wrong solution names would give."""
        program, runs = _program(text), read_runs(answer_of(text))
        return f"; {' '.join(program)} would give {_rerun(program, runs)}" if program and runs else ""

    def is_correct(self, problem: Problem, practice: Practice) -> bool:
        """Every run of it is the hidden program's, and the program that it names, when it is run, makes them."""
        if not self.is_on_family(problem, practice):
            return False
        runs = read_runs(answer_of(practice.solution)) or []
        shown = read_runs(practice.prompt.partition(ASKS)[0]) or []
        program = _program(practice.solution)
        return (
            program is not None and self._holds(problem, runs) and _rerun(program, runs + shown) == stated(runs + shown)
        )

    def is_on_family(self, problem: Problem, practice: Practice) -> bool:
        """Every run that the practice shows as given is the hidden program's."""
        return practice.well_formed and self._holds(problem, read_runs(practice.prompt.partition(ASKS)[0]) or [])

    def leaks(self, problem: Problem, practice: Practice) -> bool:
        """An input that the problem asks about occurs as one in the practice."""
        answered = documents.inputs(answer_of(practice.solution).split()[::2])
        said = {*documents.inputs(documents.facts(practice.prompt)), *documents.asked(practice.prompt), *answered}
        return not said.isdisjoint(documents.asked(problem.prompt))

    def gold_practice(
        self, problem: Problem, count: int, rng: np.random.Generator, strict: bool
    ) -> tuple[Practice, ...]:
        """Random problems of the hidden program, never with the problem's own prompt; see `KnowsFamily`."""
        exclude = documents.asked(problem.prompt) if strict else frozenset()
        draw = functools.partial(documents.draw_practice, self.rules[problem.family], STRINGS, rng, exclude)
        return tuple(other_than(problem, draw) for _ in range(count))

    def _holds(self, problem: Problem, runs: Sequence[Run]) -> bool:
        rule = self.rules[problem.family]
        return bool(runs) and all(rule(text) == output for text, output in runs)


def _program(solution: str) -> tuple[str, ...] | None:
    """The program that a solution names before ``=``, or None if it names none."""
    steps = tuple(solution.partition(ANSWER)[0].split(" "))
    return steps if len(steps) == STEPS and {*steps} <= OPERATIONS.keys() and ANSWER in solution else None


def _rerun(program: Sequence[str], runs: Sequence[Run]) -> str:
    """The same inputs with the outputs of a program."""
    return stated((text, run(program, text)) for text, _ in runs)
