"""The candidates domain as a `Task`, about the rules of arithmetic."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from mass_jax.tasks.arithmetic.rules import QUERIES, Rule, mentioned, poses, read_pairs, vocabulary
from mass_jax.tasks.base import MALFORMED, Check, Practice, Problem
from mass_jax.tasks.candidates import documents
from mass_jax.tasks.candidates.documents import CANDIDATES, GIVEN
from mass_jax.tasks.worked import ANSWER, ASKS, SOLVE, MatchedTask, answer_of, other_than


@dataclasses.dataclass(frozen=True)
class CandidatesTask(MatchedTask):
    """One of three candidates made the pairs; see `documents.py`.

    Attributes:
      rules: the rule of every family, by its index.
    """

    rules: tuple[Rule, ...]

    states: ClassVar[str] = "pairs"
    queries: ClassVar[int] = QUERIES
    check_names: ClassVar[tuple[str, ...]] = ("facts | practice", "practice | facts", "answer | practice")

    @functools.cached_property
    def _by_name(self) -> dict[str, Rule]:
        return {rule.name: rule for rule in self.rules}

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Every word of the domain."""
        return vocabulary(self.rules)

    def problem(self, prompt: str) -> Problem:
        """A problem of which only the prompt is known.

        Raises:
          ValueError: it is not of the form.
        """
        *names, posed = prompt.split(" ", CANDIDATES)
        if not (len({*names} & self._by_name.keys()) == CANDIDATES and poses(posed, GIVEN)):
            raise ValueError(
                f"a problem names {CANDIDATES} rules, shows {min(GIVEN)} or {max(GIVEN)} pairs and asks for {QUERIES} "
                f"outputs, such as '{' '.join(list(self._by_name)[:CANDIDATES])} 8>1 1>7 ? 3 9'"
            )
        return Problem(prompt, "", documents.facts(prompt), -1, -1)

    def read(self, text: str) -> list[tuple[int, int]] | None:
        """See `rules.read_pairs`."""
        return read_pairs(text)

    def written(self, problem: Problem, practice: Practice) -> str:
        """``name pairs ? queries = pairs``."""
        return documents.written(practice)

    def parse(self, problem: Problem, text: str) -> Practice:
        """Read ``name pairs ? queries = pairs``; anything else is malformed.

        Malformed is also what names no candidate, and what mentions an input that the problem asks about: no practice
        can state the answer. Pairs that are wrong, repeated or at odds are the scorer's business.
        """
        names = documents.names_of(problem.prompt)
        name, _, pairs = text.partition(" ")
        given, asked, rest = pairs.partition(ASKS)
        queries, answered, answer = rest.partition(f"{ANSWER} ")
        if name not in names or not (asked and answered):
            return MALFORMED
        given_pairs, answers = read_pairs(given), read_pairs(answer)
        if given_pairs is None or answers is None or len(given_pairs) not in GIVEN or len(answers) != QUERIES:
            return MALFORMED
        if queries.split(" ") != [str(x) for x, _ in answers]:
            return MALFORMED
        practice = Practice(f"{' '.join(names)} {given}{ASKS}{queries}", f"{name}{ANSWER} {answer}", True)
        return MALFORMED if self.leaks(problem, practice) else practice

    def checks(self, problem: Problem, practice: Practice) -> tuple[Check, ...]:
        """Is what the problem shows predicted by the practice's pairs, and the other way round; and by itself?"""
        names = " ".join(documents.names_of(problem.prompt))
        step = practice.solution.rpartition(ANSWER)[0]
        shown, queries = " ".join(documents.facts(practice.prompt)), practice.prompt.partition(ASKS)[2]

        def predict(shown: str, inputs: str, outputs: str) -> Check:
            context = f"{names} {shown}{ASKS}{inputs}{SOLVE}"
            return Check(f"{context} {step}{ANSWER}" if step else context, outputs)

        asked = problem.facts[:QUERIES]
        return (
            predict(shown, " ".join(fact.partition(">")[0] for fact in asked), " ".join(asked)),
            predict(" ".join(problem.facts), queries, answer_of(practice.solution)),
            Check(f"{names} {shown}{ASKS}{queries}{SOLVE}", practice.solution),
        )

    def is_correct(self, problem: Problem, practice: Practice) -> bool:
        """It is about the hidden rule, and every pair of it holds."""
        rule, given = self.rules[problem.family], " ".join(documents.facts(practice.prompt))
        return self.is_on_family(problem, practice) and rule.makes(given) and rule.makes(answer_of(practice.solution))

    def is_on_family(self, problem: Problem, practice: Practice) -> bool:
        """It names the hidden rule."""
        return practice.well_formed and practice.solution.startswith(f"{self.rules[problem.family].name} ")

    def leaks(self, problem: Problem, practice: Practice) -> bool:
        """An input that the problem asks about occurs anywhere in the practice."""
        said = mentioned(f"{practice.prompt} {answer_of(practice.solution)}")
        return not said.isdisjoint(problem.prompt.partition(ASKS)[2].split())

    def gold_practice(
        self, problem: Problem, count: int, rng: np.random.Generator, strict: bool
    ) -> tuple[Practice, ...]:
        """Random problems of the hidden rule among the problem's candidates, never its own prompt; see `Task`."""
        return self._practice(problem, [self.rules[problem.family]] * count, rng, strict)

    def any_practice(self, problem: Problem, count: int, rng: np.random.Generator) -> tuple[Practice, ...]:
        """Right practice without a choice: each example is about one of the candidates, whichever."""
        names = documents.names_of(problem.prompt)
        rules = [self._by_name[names[int(i)]] for i in rng.integers(len(names), size=count)]
        return self._practice(problem, rules, rng, strict=True)

    def _practice(
        self, problem: Problem, rules: Sequence[Rule], rng: np.random.Generator, strict: bool
    ) -> tuple[Practice, ...]:
        exclude = documents.asked(problem.prompt) if strict else frozenset()
        draws = (functools.partial(documents.draw_practice, problem, rule, rng, exclude) for rule in rules)
        return tuple(other_than(problem, draw) for draw in draws)
