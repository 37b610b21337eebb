"""What a domain offers to the method: problems, prompts, a parser for written practice, and a grader.

The method never looks inside a domain. It asks for a prompt, samples text, and asks for a verdict.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from mass_jax.types import Tokenizer


@dataclasses.dataclass(frozen=True)
class Problem:
    """One problem.

    Attributes:
      prompt: what a solver reads.
      solution: the reference solution, as a solver should write it.
      facts: what the prompt states to be true, in a form that a solution could also contain (worked examples); used to
        verify practice, never to read the answer.
      difficulty: 0 is the easiest level.
      family: the hidden rule. Only the oracle controls and the diagnostics may read it.
    """

    prompt: str
    solution: str
    facts: tuple[str, ...]
    difficulty: int
    family: int


@dataclasses.dataclass(frozen=True)
class Practice:
    """One practice example that a model wrote for a problem.

    Attributes:
      prompt: a problem in the form that a solver reads.
      solution: the solution that the model wrote for it.
      well_formed: False where the text could not be parsed; ``prompt`` and ``solution`` are then empty.
    """

    prompt: str
    solution: str
    well_formed: bool


MALFORMED = Practice("", "", False)


class Verdict(NamedTuple):
    """A grader's answer: is it right, and why (not).

    Attributes:
      correct: whether the completion is right.
      reason: why (not).
      judged: False where the grader could not tell: its machine was too busy, or the comparison has no end. Such a
        verdict is never ``correct``; in training it counts for nothing, elsewhere it is counted and shown.
    """

    correct: bool
    reason: str
    judged: bool = True


class Check(NamedTuple):
    """A question to the model whose answer bears on whether a practice example is right.

    Attributes:
      context: what the model reads.
      target: the text whose mean token log-probability after ``context`` is the check's outcome.
    """

    context: str
    target: str


class Piece(NamedTuple):
    """A part of a solution, and whether the model writes it; tools do where it does not."""

    text: str
    own: bool


class Task(Protocol):
    """What every domain has."""

    @property
    def check_names(self) -> tuple[str, ...]:
        """One name for each of the checks that `checks` returns, in order."""

    def problem(self, prompt: str) -> Problem:
        """A problem of which only the prompt is known: no solution, and -1 for what is hidden.

        Raises:
          ValueError: the prompt is not of the domain's form; the message says of which form it has to be.
        """

    def solve_prompt(self, prompt: str, shown: Sequence[Practice] = ()) -> str:
        """What the solver reads; its completion is a solution. Practice that is ``shown`` comes first, solved."""

    def synthesis_prompt(self, problem: Problem) -> str:
        """What the generator reads before it writes one practice example for ``problem``."""

    def written(self, problem: Problem, practice: Practice) -> str:
        """A practice example as a generator would write it for ``problem``; `parse` reads it back."""

    def parse(self, problem: Problem, text: str) -> Practice:
        """Read what a generator wrote for ``problem``. Never raises: what cannot be read is `MALFORMED`."""

    def grade(self, problems: Sequence[Problem], texts: Sequence[str]) -> list[Verdict]:
        """Judge one completion of each problem's solve prompt. Never raises for what a model wrote."""

    def checks(self, problem: Problem, practice: Practice) -> tuple[Check, ...]:
        """What a verification scorer asks the model; always as many checks as `check_names`, in that order."""

    def leaks(self, problem: Problem, practice: Practice) -> bool:
        """The practice mentions something that ``problem`` asks for, whether right or wrong."""


@runtime_checkable
class KnowsFamily(Task, Protocol):
    """What a domain adds that knows the hidden rule of a problem: only oracle controls and diagnostics may ask it."""

    def is_correct(self, problem: Problem, practice: Practice) -> bool:
        """Every statement of the practice holds in the family of ``problem``."""

    def is_on_family(self, problem: Problem, practice: Practice) -> bool:
        """What the practice states as given holds in the family of ``problem``."""

    def gold_practice(
        self, problem: Problem, count: int, rng: np.random.Generator, strict: bool
    ) -> tuple[Practice, ...]:
        """Correct practice of the problem's family; where ``strict``, none of it leaks."""


@runtime_checkable
class OffersTopics(KnowsFamily, Protocol):
    """What a domain adds whose problems leave open what to practise: one topic is the hidden rule."""

    def any_practice(self, problem: Problem, count: int, rng: np.random.Generator) -> tuple[Practice, ...]:
        """Correct practice without a choice: each example is about one of the topics, whichever. None of it leaks."""


@runtime_checkable
class StatesAnswer(Task, Protocol):
    """What a domain adds whose solutions can vote."""

    def answer_of(self, problem: Problem, text: str) -> str:
        """The answer that a solution of ``problem`` comes to, in a form in which equal answers are mostly equal."""


@runtime_checkable
class OffersChoices(Task, Protocol):
    """What a domain adds whose problems name their possible solutions: the likeliest one is the answer."""

    def choices(self, problem: Problem) -> tuple[str, ...]:
        """Completions of the problem's solve prompt; none where the model is to write its answer."""


@runtime_checkable
class ReadsOff(Task, Protocol):
    """What a domain adds where practice may say what answers the problem."""

    def read_off(self, problem: Problem, practice: Practice) -> str:
        """A prompt whose completion answers ``problem`` with what well-formed practice says."""


@runtime_checkable
class ShowsExamples(Task, Protocol):
    """What a domain adds whose problems show solved examples."""

    def shown_practice(self, problem: Problem, count: int, rng: np.random.Generator) -> tuple[Practice, ...]:
        """What the problem itself shows as practice: each example is asked with the others shown (leave one out)."""


@runtime_checkable
class UsesTools(Task, Protocol):
    """What a domain adds whose solutions are episodes: the model writes calls, and tools write what they say to them.

    Of a solution nothing is learned that tools wrote. Its texts have no stop strings beside `hands_over`.
    """

    @property
    def hands_over(self) -> str:
        """What ends a call, a token of the model's: tools go on from there."""

    def answered(self, problem: Problem, text: str) -> str | None:
        """What tools say to the call that an episode so far ends with; None where it is over. Never raises."""

    def pieces(self, solution: str) -> tuple[Piece, ...]:
        """A solution in the order in which it is written; the pieces together are the text."""


@dataclasses.dataclass(frozen=True)
class Domain:
    """A task, and how the model that works on it reads and writes.

    Attributes:
      task: problems, prompts, a parser and a grader.
      tokenizer: of the model.
      stops: strings that end a completion, for models that would write on.
    """

    task: Task
    tokenizer: Tokenizer
    stops: tuple[str, ...] = ()
