"""The arithmetic domain as a `Task`: prompts, parser, grader, checks, and the privileged views for the controls."""

import dataclasses
import functools

import numpy as np

from mass_jax.tasks.arithmetic import documents
from mass_jax.tasks.arithmetic.documents import ANSWER, SYNTHESISE, WORKING
from mass_jax.tasks.arithmetic.rules import GIVEN, PAIRS, QUERIES, Rule, vocabulary
from mass_jax.tasks.base import MALFORMED, Check, Practice, Problem, Verdict


@dataclasses.dataclass(frozen=True)
class ArithmeticTask:
    """Hidden polynomial rules mod 11; see `rules.py` and `documents.py`.

    Attributes:
      rules: the rule of every family, by its index.
    """

    rules: tuple[Rule, ...]

    check_names = ("facts | practice", "facts | steps", "solution | facts", "solution | steps", "steps | facts")

    @functools.cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(rule.name for rule in self.rules)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Every word of the domain."""
        return vocabulary(self.rules)

    def solve_prompt(self, prompt: str) -> str:
        """The problem with its working left empty: a solution is expected at once."""
        return prompt + WORKING + ANSWER

    def steps_prompt(self, prompt: str) -> str:
        """The problem up to its working: the rule's name is expected before the solution."""
        return prompt + WORKING

    def synthesis_prompt(self, problem: Problem) -> str:
        """The problem, then the mark after which a practice example is expected."""
        return problem.prompt + SYNTHESISE

    def parse(self, text: str) -> Practice:
        """Read ``name : pairs ? queries = pairs``; anything else is malformed."""
        steps, mark, rest = text.partition(" : ")
        given, asked, rest = rest.partition(" ? ")
        queries, equals, solution = rest.partition(" = ")
        if not (mark and asked and equals) or steps not in self._names:
            return MALFORMED
        given_pairs, query_list, answers = _pairs(given), queries.split(" "), _pairs(solution)
        if given_pairs is None or answers is None or len(given_pairs) not in GIVEN or len(answers) != QUERIES:
            return MALFORMED
        # The solution must answer what was asked, and what was asked must not stand in the prompt already.
        if query_list != [str(x) for x, _ in answers] or {x for x, _ in answers} & {x for x, _ in given_pairs}:
            return MALFORMED
        return Practice(f"{given} ? {queries}", solution, steps, True)

    def grade(self, problem: Problem, text: str) -> Verdict:
        """Exact match of the asked pairs; the steps before ``=``, if there are any, are not judged."""
        solution = text.rpartition("= ")[2].strip()
        if solution == problem.solution:
            return Verdict(True, "equal to the reference")
        pairs = _pairs(solution)
        if pairs is None or len(pairs) != QUERIES:
            return Verdict(False, f"expected {QUERIES} pairs, read {solution!r}")
        return Verdict(False, f"{solution} differs from {problem.solution}")

    def checks(self, problem: Problem, practice: Practice) -> tuple[Check, ...]:
        """Does the practice predict the problem's given pairs, and do those predict the practice?"""
        facts = " ".join(problem.facts)
        asked = " ".join(fact.split(">")[0] for fact in problem.facts)
        queries = practice.prompt.partition(" ? ")[2]
        return (
            Check(f"{practice.solution} ? {asked}{WORKING}{ANSWER}", facts),
            Check(f"{practice.solution} ? {asked}{WORKING} {practice.steps}{ANSWER}", facts),
            Check(f"{facts} ? {queries}{WORKING}{ANSWER}", practice.solution),
            Check(f"{facts} ? {queries}{WORKING} {practice.steps}{ANSWER}", practice.solution),
            Check(f"{facts} ? {queries}{WORKING}", practice.steps),
        )

    def is_correct(self, problem: Problem, practice: Practice) -> bool:
        """Every pair of prompt and solution is the hidden rule's."""
        return self.is_on_family(problem, practice) and self._holds(problem, practice.solution)

    def is_on_family(self, problem: Problem, practice: Practice) -> bool:
        """Every pair that the practice shows as given is the hidden rule's."""
        return practice.well_formed and self._holds(problem, practice.prompt.partition(" ? ")[0])

    def leaks(self, problem: Problem, practice: Practice) -> bool:
        """An input that the problem asks about occurs anywhere in the practice."""
        asked = set(problem.prompt.partition(" ? ")[2].split())
        words = f"{practice.prompt} {practice.solution}".split()
        return any(word.split(">")[0] in asked for word in words)

    def gold_practice(
        self, problem: Problem, count: int, rng: np.random.Generator, strict: bool
    ) -> tuple[Practice, ...]:
        """Correct practice as a good writer would write it, never with the problem's own prompt; see `Task`."""
        rule = self.rules[problem.family]
        asked = frozenset(int(x) for x in problem.prompt.partition(" ? ")[2].split()) if strict else frozenset()
        written: list[Practice] = []
        while len(written) < count:
            practice = documents.draw_practice(rule, problem, rng, exclude=asked)
            if practice.prompt != problem.prompt:
                written.append(practice)
        return tuple(written)

    def _holds(self, problem: Problem, pairs: str) -> bool:
        rule = self.rules[problem.family]
        return all(rule(x) == y for x, y in _pairs(pairs) or ((0, -1),))


def _pairs(text: str) -> list[tuple[int, int]] | None:
    """The pairs of ``8>5 1>4``, each input once, or None."""
    # A word is looked up, never converted: int() would accept the digits of other scripts, and refuse very long ones.
    pairs = [PAIRS.get(word) for word in text.split(" ")]
    known = [pair for pair in pairs if pair is not None]
    return known if len({x for x, _ in known}) == len(pairs) else None
