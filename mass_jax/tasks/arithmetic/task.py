"""The arithmetic domain as a `Task`: prompts, parser, grader, checks, and what only the controls may ask."""

import dataclasses
import functools
from typing import ClassVar

import numpy as np

from mass_jax.tasks.arithmetic import documents
from mass_jax.tasks.arithmetic.rules import GIVEN, QUERIES, Rule, mentioned, poses, read_pairs, vocabulary
from mass_jax.tasks.base import MALFORMED, Practice, Problem
from mass_jax.tasks.worked import ANSWER, ASKS, SOLVE, MatchedTask, answer_of, other_than


@dataclasses.dataclass(frozen=True)
class ArithmeticTask(MatchedTask):
    """Hidden polynomial rules mod 11; see `rules.py` and `documents.py`.

    Attributes:
      rules: the rule of every family, by its index.
    """

    rules: tuple[Rule, ...]

    states: ClassVar[str] = "pairs"
    queries: ClassVar[int] = QUERIES
    check_names: ClassVar[tuple[str, ...]] = (
        "first facts | practice",
        "last facts | practice",
        "answer | steps",
        "steps | facts",
    )

    @functools.cached_property
    def _steps(self) -> frozenset[str]:
        return frozenset(rule.name for rule in self.rules)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Every word of the domain."""
        return vocabulary(self.rules)

    def problem(self, prompt: str) -> Problem:
        """A problem of which only the prompt is known.

        Raises:
          ValueError: it is not of the form.
        """
        if not poses(prompt, GIVEN):
            raise ValueError(
                f"a problem shows {min(GIVEN)} to {max(GIVEN)} pairs and asks for {QUERIES} outputs, such as "
                "'8>1 1>7 6>0 ? 3 9'"
            )
        return Problem(prompt, "", documents.facts(prompt), -1, -1)

    def read(self, text: str) -> list[tuple[int, int]] | None:
        """See `rules.read_pairs`."""
        return read_pairs(text)

    def parse(self, problem: Problem, text: str) -> Practice:
        """Read ``pairs ? queries : step = pairs``; anything else is malformed.

        Only the form is judged, and that the solution answers what was asked. Pairs that repeat or contradict each
        other are the scorer's business.
        """
        prompt, solved, solution = text.partition(f"{SOLVE} ")
        given, asked, queries = prompt.partition(ASKS)
        step, answered, answer = solution.partition(f"{ANSWER} ")
        if not (solved and asked and answered) or step not in self._steps:
            return MALFORMED
        given_pairs, answers = read_pairs(given), read_pairs(answer)
        if given_pairs is None or answers is None or len(given_pairs) not in GIVEN or len(answers) != QUERIES:
            return MALFORMED
        return Practice(prompt, solution, True) if queries.split(" ") == [str(x) for x, _ in answers] else MALFORMED

    def is_correct(self, problem: Problem, practice: Practice) -> bool:
        """Every pair of prompt and solution is the hidden rule's."""
        return self.is_on_family(problem, practice) and self.rules[problem.family].makes(answer_of(practice.solution))

    def is_on_family(self, problem: Problem, practice: Practice) -> bool:
        """Every pair that the practice shows as given is the hidden rule's."""
        return practice.well_formed and self.rules[problem.family].makes(practice.prompt.partition(ASKS)[0])

    def leaks(self, problem: Problem, practice: Practice) -> bool:
        """An input that the problem asks about occurs anywhere in the practice."""
        said = mentioned(f"{practice.prompt} {answer_of(practice.solution)}")
        return not said.isdisjoint(problem.prompt.partition(ASKS)[2].split())

    def gold_practice(
        self, problem: Problem, count: int, rng: np.random.Generator, strict: bool
    ) -> tuple[Practice, ...]:
        """Random problems of the hidden rule, never with the problem's own prompt; see `KnowsFamily`."""
        rule = self.rules[problem.family]
        asked = frozenset(int(x) for x in problem.prompt.partition(ASKS)[2].split()) if strict else frozenset()
        draw = functools.partial(documents.draw_gold_practice, rule, rng, asked)
        return tuple(other_than(problem, draw) for _ in range(count))
