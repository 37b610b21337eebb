"""What drawn domains share whose solutions are a worked step, a mark and an answer: marks, documents, task, sizes.

    problem      what is shown ? what is asked
    solve        problem : step = answer
    synthesise   problem ; practice
    table        step : what it makes

A domain adds its rules, how they are written, and what it draws.
"""

import abc
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np

from mass_jax.fields import Count
from mass_jax.tasks.base import Check, Domain, Practice, Problem, Verdict
from mass_jax.tasks.domain import Documents, Drawn, Kinds, OwnWords, Splits
from mass_jax.tasks.procedural import ProceduralConfig

T = TypeVar("T")

ASKS, SOLVE, ANSWER, SYNTHESISE = " ? ", " :", " =", " ;"
KINDS = ("solve", "synthesise", "table")
"""Of documents."""


def shuffled(items: Iterable[T], rng: np.random.Generator) -> list[T]:
    """A random order."""
    items = list(items)  # some dozens of them at most: five times faster than `rng.permutation`
    keys = rng.random(len(items)).tolist()
    return [items[i] for i in sorted(range(len(items)), key=keys.__getitem__)]


def choice(options: Sequence[T], rng: np.random.Generator) -> T:
    """One of them, each as likely as the others."""
    return options[int(rng.random() * len(options))]


def solved(practice: Practice) -> str:
    """``problem : step = answer``."""
    return f"{practice.prompt}{SOLVE} {practice.solution}"


def answer_of(solution: str) -> str:
    """What stands after the last ``=``; all of the text where there is none."""
    return solution.rpartition(f"{ANSWER} ")[2].strip()


def posed_document(
    kind: str,
    draw: Callable[[], tuple[Practice, Practice]],
    written: Callable[[Practice], str],
    canonical: Callable[[str], str],
    held_out: frozenset[str],
) -> str:
    """A document that solves a problem, or that writes practice behind it, of which neither is held out.

    Args:
      kind: ``solve`` or ``synthesise``.
      draw: a problem with its solution, and practice for it.
      written: practice as a generator writes it.
      canonical: makes a prompt canonical.
      held_out: canonical prompts.
    """
    while True:
        posed, practice = draw()
        if not {canonical(posed.prompt), canonical(practice.prompt)} & held_out:
            return solved(posed) if kind == "solve" else f"{posed.prompt}{SYNTHESISE} {written(practice)}"


class Texts(Protocol):
    """What a domain's module ``documents`` has of what `writer` and `WorkedConfig` need."""

    def canonical(self, prompt: str) -> str:
        """The same for all prompts of the same content."""

    def facts(self, prompt: str) -> tuple[str, ...]:
        """What a prompt states to be true."""

    def draw_document(
        self, rules: Sequence[Any], problem: Problem, rng: np.random.Generator, kind: str, held_out: frozenset[str]
    ) -> str:
        """One pretraining document.

        Args:
          rules: the rule of every family.
          problem: of the pretraining split, which it is about.
          rng: source of randomness.
          kind: one of `KINDS`.
          held_out: canonical prompts of the problems that it may not pose, neither as its own problem nor as practice.
        """


def other_than(problem: Problem, draw: Callable[[], Practice]) -> Practice:
    """Practice that does not pose the problem itself; what does is drawn again."""
    while (practice := draw()).prompt == problem.prompt:
        pass
    return practice


def writer(
    texts: Texts, rules: Sequence[Any], kinds: Sequence[str], held_out: Iterable[Problem]
) -> Callable[[Problem, np.random.Generator], str]:
    """What writes documents for a pipeline: ``write(problem, rng)``.

    Args:
      texts: of the domain.
      rules: the rule of every family.
      kinds: of `KINDS`, some perhaps more than once; one is drawn uniformly for every document.
      held_out: the problems that no document may pose.

    Raises:
      ValueError: if there is no kind, or an unknown one.
    """
    if not kinds or set(kinds) - set(KINDS):
        raise ValueError(f"the document kinds {list(kinds)} must be one or more of {', '.join(KINDS)}.")
    prompts = frozenset(texts.canonical(problem.prompt) for problem in held_out)
    return lambda problem, rng: texts.draw_document(rules, problem, rng, choice(kinds, rng), prompts)


class WorkedTask(abc.ABC):
    """What the domains' tasks have in common of `Task`, `StatesAnswer` and `ReadsOff`."""

    @abc.abstractmethod
    def judge(self, problem: Problem, text: str) -> Verdict:
        """One completion of a problem's solve prompt. Never raises for what a model wrote."""

    def grade(self, problems: Sequence[Problem], texts: Sequence[str]) -> list[Verdict]:
        """See `judge`."""
        return [self.judge(problem, text) for problem, text in zip(problems, texts, strict=True)]

    def solve_prompt(self, prompt: str, shown: Sequence[Practice] = ()) -> str:
        """The problem, then the mark after which a solution is expected; ``shown`` before it, on words of its own."""
        return " ".join([*map(solved, shown), prompt + SOLVE])

    def synthesis_prompt(self, problem: Problem) -> str:
        """The problem, then the mark after which a practice example is expected."""
        return problem.prompt + SYNTHESISE

    def written(self, problem: Problem, practice: Practice) -> str:
        """``problem : step = answer``."""
        return solved(practice)

    def answer_of(self, problem: Problem, text: str) -> str:
        """What stands after the last ``=``."""
        return answer_of(text)

    def read_off(self, problem: Problem, practice: Practice) -> str:
        """The solve prompt up to the practice's step: what follows is what this step makes."""
        return f"{self.solve_prompt(problem.prompt)} {practice.solution.rpartition(ANSWER)[0]}{ANSWER}"


class MatchedTask(WorkedTask):
    """A task whose problems have one answer, which is compared with the reference."""

    states: ClassVar[str]
    """What an answer is made of, in a sentence: pairs, say."""
    queries: ClassVar[int]
    """How many of these a problem asks for."""

    @abc.abstractmethod
    def read(self, text: str) -> Sequence[object] | None:
        """What a text states, or None if it is of another form."""

    def judge(self, problem: Problem, text: str) -> Verdict:
        """Exact match of what stands after ``=``; the step before it is not judged."""
        answer, reference = answer_of(text), answer_of(problem.solution)
        if answer == reference:
            return Verdict(True, "equal to the reference")
        stated = self.read(answer)
        if stated is None or len(stated) != self.queries:
            return Verdict(False, f"expected {self.queries} {self.states} after '=', read {answer!r}")
        return Verdict(False, f"{answer} differs from {reference}{self.remark(text)}")

    def remark(self, text: str) -> str:
        """What the reason adds on a wrong solution whose answer has the right form."""
        return ""

    def checks(self, problem: Problem, practice: Practice) -> tuple[Check, ...]:
        """Does the practice predict what the problem shows, and does the model stand by what it wrote?

        The practice as context is its step and its answer. What the problem shows is asked for in two questions, of as
        many of its first facts and of its last ones as a problem asks for. A fact is an input, ``>`` and an output.
        """
        steps, _, answer = practice.solution.partition(f"{ANSWER} ")
        facts = problem.facts
        queries = practice.prompt.partition(ASKS)[2]

        def predict(asked: tuple[str, ...], shown: str) -> Check:
            inputs = " ".join(fact.partition(">")[0] for fact in asked)
            return Check(f"{answer} {shown}{ASKS}{inputs}{SOLVE} {steps}{ANSWER}", " ".join(asked))

        return (
            predict(facts[: self.queries], facts[-1]),
            predict(facts[-self.queries :], facts[0]),
            Check(f"{practice.prompt}{SOLVE} {steps}{ANSWER}", answer),
            Check(f"{' '.join(facts)}{ASKS}{queries}{SOLVE}", steps),
        )


@dataclasses.dataclass(eq=False, kw_only=True)
class WorkedConfig(ProceduralConfig):
    """See `procedural.ProceduralConfig`. No prompt of a held-out split is in `pretrain`, which is about all rules.

    Attributes:
      pretrain_problems: problems of all rules, around which pretraining documents are drawn.
    """

    splits: ClassVar[tuple[str, ...]] = ("pretrain", *ProceduralConfig.splits)
    most_per_family: ClassVar[int] = 200  # of the thousands that a rule has
    texts: ClassVar[Texts]
    """The domain's."""

    pretrain_problems: int = 20_000

    def canonical(self, prompt: str) -> str:
        """See `Texts`."""
        return self.texts.canonical(prompt)

    def facts(self, prompt: str) -> tuple[str, ...]:
        """See `Texts`."""
        return self.texts.facts(prompt)


class Worked(Drawn, OwnWords):
    """The declaration of such a domain."""

    kinds: ClassVar[Kinds] = Kinds(short=("solve", "table"), long=("synthesise",), replay=("solve", "table"))

    pretrain_problems: Count

    @abc.abstractmethod
    def data(self) -> WorkedConfig:
        """See `Drawn`."""

    def documents(self, domain: Domain, splits: Splits, kinds: Sequence[str]) -> Documents:
        """About problems of all rules; none poses a problem of the validation or the test split."""
        data = self.data()
        held_out = (*splits.validation, *splits.test)
        return Documents(splits.pretrain, writer(data.texts, data.make_rules(), kinds, held_out))
