"""Multiple choice as a `Task`: questions with lettered choices, answered by likelihood or in text."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar

from mass_jax.tasks import overlap
from mass_jax.tasks.base import MALFORMED, Check, Practice, Problem, Verdict
from mass_jax.tasks.chat import Chat, without_special_tokens
from mass_jax.tasks.science import form, letters, practice, prompts
from mass_jax.tasks.science.form import Question
from mass_jax.tasks.science.prompts import Solved


@dataclasses.dataclass(frozen=True)
class ScienceTask:
    """Prompts, a parser and a grader.

    Attributes:
      chat: the chat template of the model, or None where it reads plain text.
      special_tokens: strings that the tokenizer reads as special; they are removed from questions and practice.
      by_likelihood: the answer is the likeliest letter; else the model writes it.
      shots: solved questions that stand before those of a subject, by its words.
    """

    chat: Chat | None = None
    special_tokens: tuple[str, ...] = ()
    by_likelihood: bool = True
    shots: Mapping[str, Sequence[Solved]] = dataclasses.field(default_factory=dict)

    check_names: ClassVar[tuple[str, ...]] = (
        "answer | practice question",
        "answer's text | practice question",
        "question | practice",
    )

    @property
    def stops(self) -> tuple[str, ...]:
        """Strings that end a completion: none for a chat model, which ends its turn itself."""
        return prompts.STOPS if self.chat is None else ()

    def problem(self, prompt: str) -> Problem:
        """A problem of which only the prompt is known.

        Raises:
          ValueError: it is no question with choices.
        """
        form.read(prompt)
        return Problem(prompt, "", (), -1, -1)

    def solve_prompt(self, prompt: str, shown: Sequence[Practice] = ()) -> str:
        """What the solver reads; its completion is a letter. Solved questions come first: shots, then ``shown``."""
        question = self._read(prompt)
        read = [(self._read(each.prompt), each.solution.strip()) for each in shown]
        return prompts.solve(question, [*self.shots.get(question.subject, ()), *read], self.chat)

    def synthesis_prompt(self, problem: Problem) -> str:
        """What the generator reads; its completion is one practice example, for `parse`."""
        return prompts.synthesise(self._read(problem.prompt), self.chat)

    def written(self, problem: Problem, practice: Practice) -> str:
        """A practice example as a generator would write it."""
        return prompts.written(self._read(practice.prompt), practice.solution.strip())

    def parse(self, problem: Problem, text: str) -> Practice:
        """Read a question with its answer; it is of the problem's subject. `why_malformed` says what is wrong."""
        read = practice.read(self._clean(text))
        if read.question is None:
            return MALFORMED
        question = read.question._replace(subject=self._read(problem.prompt).subject)
        return Practice(question.whole, self.solution(read.letter), True)

    def why_malformed(self, text: str) -> str:
        """Why practice cannot be read; empty where it can."""
        return practice.read(self._clean(text)).reason

    def grade(self, problems: Sequence[Problem], texts: Sequence[str]) -> list[Verdict]:
        """Compare the letter that each text names with the reference's. Never raises for what a model wrote."""
        return [self._grade(problem, text) for problem, text in zip(problems, texts, strict=True)]

    def _grade(self, problem: Problem, text: str) -> Verdict:
        known, found = problem.solution.strip(), letters.read(text, self._read(problem.prompt).letters)
        if not known:
            return Verdict(False, "no answer is known", judged=False)
        if not found.letter:
            return Verdict(False, found.reason)
        return Verdict(
            found.letter == known, f"{found.letter} {'is' if found.letter == known else 'is not'} the answer"
        )

    def answer_of(self, problem: Problem, text: str) -> str:
        """The letter; all of the text where it names none."""
        return letters.read(text, self._read(problem.prompt).letters).letter or text.strip()

    def choices(self, problem: Problem) -> tuple[str, ...]:
        """The solutions of which the likeliest is the answer, one a letter; none where the model writes it."""
        return tuple(map(self.solution, self._read(problem.prompt).letters)) if self.by_likelihood else ()

    def solution(self, letter: str) -> str:
        """A letter as it follows the solve prompt."""
        return letter if self.chat else f" {letter}"

    def checks(self, problem: Problem, practice: Practice) -> tuple[Check, ...]:
        """Does the solver stand by the answer, is its text likely by itself, and does practice lead to the problem?"""
        question, letter = self._read(practice.prompt), practice.solution.strip()
        named = question.letters.find(letter) if letter else -1
        text = question.choices[named] if named >= 0 else letter
        return (
            Check(self.solve_prompt(practice.prompt), practice.solution),
            Check(f"{question.text}{prompts.ANSWER}", f" {text}"),
            Check(f"{prompts.written(question, letter)}\n\n", self._read(problem.prompt).body),
        )

    def leaks(self, problem: Problem, practice: Practice) -> bool:
        """The practice repeats the problem's own question."""
        return overlap.copies(self._read(practice.prompt).body, self._read(problem.prompt).text)

    def _read(self, prompt: str) -> Question:
        return form.read(self._clean(prompt))

    def _clean(self, text: str) -> str:
        return without_special_tokens(text, self.special_tokens)
