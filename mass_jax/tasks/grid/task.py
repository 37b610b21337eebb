"""The grid as a `Task`: a plan is run."""

import dataclasses
import functools
import re
from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from mass_jax.tasks.base import MALFORMED, Check, Practice, Problem, Verdict
from mass_jax.tasks.grid import documents
from mass_jax.tasks.grid.documents import RUNS, asked, read_runs
from mass_jax.tasks.grid.rules import KEYS, Rule, agreeing
from mass_jax.tasks.grid.simulator import CELLS, EFFECTS, run
from mass_jax.tasks.worked import ANSWER, ASKS, SOLVE, WorkedTask, answer_of

_KEY = re.compile(r"(\S+)>")


@dataclasses.dataclass(frozen=True)
class GridTask(WorkedTask):
    """Which keys lead to the goal; see `rules.py`, `simulator.py` and `documents.py`.

    Attributes:
      rules: the rule of every family, by its index.
    """

    rules: tuple[Rule, ...]

    check_names: ClassVar[tuple[str, ...]] = (
        *(f"run {i} | rule" for i in range(1, RUNS + 1)),
        "plan | rule",
        "rule | runs",
    )

    def problem(self, prompt: str) -> Problem:
        """A problem of which only the prompt is known.

        Raises:
          ValueError: it is not of the form, or no rule makes its runs.
        """
        shown, _, query = prompt.partition(ASKS)
        runs, ends = read_runs(shown), query.split(" ")
        if runs is None or len(runs) != RUNS or len(ends) != 2 or ends[0] == ends[1] or not {*ends} <= {*CELLS}:
            raise ValueError(
                f"a problem shows {RUNS} runs of one or two of the keys {', '.join(KEYS)} and asks for a plan from one "
                "cell to another, such as 'b2A> b3 c1AB> d2 e4C> d3 ? a1 b3'"
            )
        if not _rules_of(shown):
            raise ValueError(
                f"no effects of the keys {', '.join(KEYS)} make all runs of '{shown}'; correct one of them"
            )
        return Problem(prompt, "", documents.facts(prompt), -1, -1)

    def judge(self, problem: Problem, text: str) -> Verdict:
        """Runs the keys of what stands after ``=`` under every rule that makes the runs that the problem shows.

        Any plan that ends in the goal counts. The cells that it states in between are not judged.
        """
        shown, _, query = problem.prompt.partition(ASKS)
        start, goal = query.split(" ")
        plan = _read_plan(answer_of(text))
        if plan is None:
            return Verdict(False, f"expected a plan such as 'A> a2 B> b2' after '=', read {answer_of(text)!r}")
        wrong = [why for rule in _rules_of(shown) if (why := _missed(rule, start, goal, plan))]
        if not _rules_of(shown):
            return Verdict(False, "no effects of the keys make all runs that the problem shows", judged=False)
        return Verdict(not wrong, wrong[0] if wrong else f"ends in {goal}")

    def answer_of(self, problem: Problem, text: str) -> str:
        """The keys of the plan; all that stands after ``=`` where it is none."""
        plan = _read_plan(answer_of(text))
        return answer_of(text) if plan is None else " ".join(key for key, _ in plan)

    def written(self, problem: Problem, practice: Practice) -> str:
        """``start : rule = plan``."""
        return documents.written(practice)

    def parse(self, problem: Problem, text: str) -> Practice:
        """Read ``start : rule = plan``, a problem after the same runs; anything else is malformed.

        Malformed is also what asks for the problem's own plan. A wrong rule or plan is the scorer's business.
        """
        start, _, solution = text.partition(f"{SOLVE} ")
        name, _, answer = solution.partition(f"{ANSWER} ")
        effects, plan = name.split(" "), _read_plan(answer)
        if start not in CELLS or plan is None or len({*effects} & {*EFFECTS}) != len(KEYS) or len(effects) != len(KEYS):
            return MALFORMED
        query, unknown = documents.Query(start, plan[-1][1]), {key for key, _ in plan} - {*KEYS}
        if unknown or query.start == query.goal or query == asked(problem.prompt):
            return MALFORMED
        shown = problem.prompt.partition(ASKS)[0]
        return Practice(f"{shown}{ASKS}{query.start} {query.goal}", solution, True)

    def checks(self, problem: Problem, practice: Practice) -> tuple[Check, ...]:
        """Does the rule that the practice names make the problem's runs, and does the model stand by the rest?"""
        name, _, answer = practice.solution.partition(f"{ANSWER} ")

        def makes() -> Iterator[Check]:
            for fact in problem.facts:
                pressed, _, end = fact.rpartition(" ")
                yield Check(f"{name}{SOLVE} {pressed}", end)

        return (
            *makes(),
            Check(f"{practice.prompt}{SOLVE} {name}{ANSWER}", answer),
            Check(f"{practice.prompt}{SOLVE}", name),
        )

    def is_correct(self, problem: Problem, practice: Practice) -> bool:
        """It names the hidden rule, and its plan, run under it, goes where it says."""
        rule = self.rules[problem.family]
        plan = _read_plan(answer_of(practice.solution))
        if not self.is_on_family(problem, practice) or plan is None:
            return False
        start, goal = asked(practice.prompt)
        cells = run(rule.by_key, start, [key for key, _ in plan]).cells
        return practice.solution.startswith(f"{rule.name}{ANSWER}") and cells == (*(cell for _, cell in plan),)

    def is_on_family(self, problem: Problem, practice: Practice) -> bool:
        """The runs that it shows are the hidden rule's; they are the problem's own."""
        runs = read_runs(practice.prompt.partition(ASKS)[0]) or []
        return practice.well_formed and bool(runs) and self.rules[problem.family].makes(runs)

    def leaks(self, problem: Problem, practice: Practice) -> bool:
        """Its plan begins or ends where the problem's does."""
        return practice.well_formed and documents.shares(asked(practice.prompt), asked(problem.prompt))

    def gold_practice(
        self, problem: Problem, count: int, rng: np.random.Generator, strict: bool
    ) -> tuple[Practice, ...]:
        """Other plans under the hidden rule after the problem's own runs; see `KnowsFamily`."""
        rule = self.rules[problem.family]
        return tuple(documents.draw_practice(rule, problem.prompt, rng, strict) for _ in range(count))


@functools.lru_cache(4096)
def _rules_of(shown: str) -> tuple[Rule, ...]:
    return agreeing(read_runs(shown) or [])


def _read_plan(text: str) -> list[tuple[str, str]] | None:
    """Keys and the cells after them, or None if a text is of another form."""
    words = text.split(" ")
    keys = [_KEY.fullmatch(word) for word in words[::2]]
    if len(words) % 2 or not {*words[1::2]} <= {*CELLS}:
        return None
    read = [(key[1], cell) for key, cell in zip(keys, words[1::2], strict=True) if key]
    return read if len(read) == len(keys) else None


def _missed(rule: Rule, start: str, goal: str, plan: list[tuple[str, str]]) -> str:
    """Why a plan does not end in the goal; empty where it does."""
    cells, reason = run(rule.by_key, start, [key for key, _ in plan])
    if not reason and cells[-1] != goal:
        reason = f"ends in {cells[-1]}, not in {goal}"
    rows = enumerate(zip(cells, plan, strict=False), 1)
    other = next((f"; step {i} is in {cell}, not in {said}" for i, (cell, (_, said)) in rows if cell != said), "")
    return reason and reason + other
