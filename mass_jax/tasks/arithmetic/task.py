"""The arithmetic domain as a `Task`: prompts, parser, grader, checks, and what only the controls may ask."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from mass_jax.tasks.arithmetic import documents
from mass_jax.tasks.arithmetic.documents import ANSWER, SOLVE, SYNTHESISE, answer_of, read_pairs
from mass_jax.tasks.arithmetic.rules import GIVEN, QUERIES, Rule, vocabulary
from mass_jax.tasks.base import MALFORMED, Check, Practice, Problem, Verdict


@dataclasses.dataclass(frozen=True)
class ArithmeticTask:
    """Hidden polynomial rules mod 11; see `rules.py` and `documents.py`.

    Attributes:
      rules: the rule of every family, by its index.
    """

    rules: tuple[Rule, ...]

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
        if not documents.poses(prompt, GIVEN):
            raise ValueError(
                f"a problem shows {min(GIVEN)} to {max(GIVEN)} pairs and asks for {QUERIES} outputs, such as "
                "'8>1 1>7 6>0 ? 3 9'"
            )
        return Problem(prompt, "", documents.facts(prompt), -1, -1)

    def solve_prompt(self, prompt: str, shown: Sequence[Practice] = ()) -> str:
        """The problem, then the mark after which a solution is expected; ``shown`` before it, on words of its own."""
        return " ".join([*(f"{e.prompt}{SOLVE} {e.solution}" for e in shown), prompt + SOLVE])

    def synthesis_prompt(self, problem: Problem) -> str:
        """The problem, then the mark after which a practice example is expected."""
        return problem.prompt + SYNTHESISE

    def written(self, problem: Problem, practice: Practice) -> str:
        """``prompt : solution``."""
        return f"{practice.prompt}{SOLVE} {practice.solution}"

    def parse(self, problem: Problem, text: str) -> Practice:
        """Read ``pairs ? queries : step = pairs``; anything else is malformed.

        Only the form is judged, and that the solution answers what was asked. Pairs that repeat or contradict each
        other are the scorer's business.
        """
        prompt, solved, solution = text.partition(" : ")
        given, asked, queries = prompt.partition(" ? ")
        step, answered, answer = solution.partition(" = ")
        if not (solved and asked and answered) or step not in self._steps:
            return MALFORMED
        given_pairs, answers = read_pairs(given), read_pairs(answer)
        if given_pairs is None or answers is None or len(given_pairs) not in GIVEN or len(answers) != QUERIES:
            return MALFORMED
        return Practice(prompt, solution, True) if queries.split(" ") == [str(x) for x, _ in answers] else MALFORMED

    def grade(self, problems: Sequence[Problem], texts: Sequence[str]) -> list[Verdict]:
        """Exact match of the asked pairs after ``=``; the step before it is not judged."""
        return [self._grade(problem, text) for problem, text in zip(problems, texts, strict=True)]

    def _grade(self, problem: Problem, text: str) -> Verdict:
        answer, reference = answer_of(text), answer_of(problem.solution)
        if answer == reference:
            return Verdict(True, "equal to the reference")
        pairs = read_pairs(answer)
        if pairs is None or len(pairs) != QUERIES:
            return Verdict(False, f"expected {QUERIES} pairs after '=', read {answer!r}")
        return Verdict(False, f"{answer} differs from {reference}")

    def answer_of(self, problem: Problem, text: str) -> str:
        """The pairs after the last ``=``."""
        return answer_of(text)

    def read_off(self, problem: Problem, practice: Practice) -> str:
        """The solve prompt up to the practice's step, which names a rule: what follows recites it."""
        return f"{self.solve_prompt(problem.prompt)} {practice.solution.rpartition(ANSWER)[0]}{ANSWER}"

    def checks(self, problem: Problem, practice: Practice) -> tuple[Check, ...]:
        """Does the practice predict the pairs that the problem shows, and does the model stand by what it wrote?

        The practice as context is its step and its answered pairs. What the problem shows is asked for in two questions
        of two pairs, its first and its last.
        """
        steps, _, answer = practice.solution.partition(f"{ANSWER} ")
        facts = problem.facts
        queries = practice.prompt.partition(" ? ")[2]

        def predict(asked: tuple[str, ...], shown: str) -> Check:
            inputs = " ".join(fact.partition(">")[0] for fact in asked)
            return Check(f"{answer} {shown} ? {inputs}{SOLVE} {steps}{ANSWER}", " ".join(asked))

        return (
            predict(facts[:QUERIES], facts[-1]),
            predict(facts[-QUERIES:], facts[0]),
            Check(f"{practice.prompt}{SOLVE} {steps}{ANSWER}", answer),
            Check(f"{' '.join(facts)} ? {queries}{SOLVE}", steps),
        )

    def is_correct(self, problem: Problem, practice: Practice) -> bool:
        """Every pair of prompt and solution is the hidden rule's."""
        return self.is_on_family(problem, practice) and self._holds(problem, answer_of(practice.solution))

    def is_on_family(self, problem: Problem, practice: Practice) -> bool:
        """Every pair that the practice shows as given is the hidden rule's."""
        return practice.well_formed and self._holds(problem, practice.prompt.partition(" ? ")[0])

    def leaks(self, problem: Problem, practice: Practice) -> bool:
        """An input that the problem asks about occurs anywhere in the practice."""
        asked = set(problem.prompt.partition(" ? ")[2].split())
        words = f"{practice.prompt} {answer_of(practice.solution)}".split()
        return any(word.split(">")[0] in asked for word in words)

    def gold_practice(
        self, problem: Problem, count: int, rng: np.random.Generator, strict: bool
    ) -> tuple[Practice, ...]:
        """Random problems of the hidden rule, never with the problem's own prompt; see `KnowsFamily`."""
        rule = self.rules[problem.family]
        asked = frozenset(int(x) for x in problem.prompt.partition(" ? ")[2].split()) if strict else frozenset()
        written: list[Practice] = []
        while len(written) < count:
            practice = documents.draw_gold_practice(rule, rng, asked)
            if practice.prompt != problem.prompt:
                written.append(practice)
        return tuple(written)

    def _holds(self, problem: Problem, pairs: str) -> bool:
        rule = self.rules[problem.family]
        return all(rule(x) == y for x, y in read_pairs(pairs) or ((0, -1),))
