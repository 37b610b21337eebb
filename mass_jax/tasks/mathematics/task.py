r"""Mathematics as a `Task`: problems with a final answer in ``\boxed{}``, for chat models and base models."""

import dataclasses
from collections.abc import Sequence

from mass_jax.tasks import overlap
from mass_jax.tasks.base import Check, Practice, Problem, Verdict
from mass_jax.tasks.chat import Chat, without_special_tokens
from mass_jax.tasks.mathematics import answers
from mass_jax.tasks.mathematics.grading import Grader
from mass_jax.tasks.mathematics.parser import parse_practice
from mass_jax.tasks.mathematics.prompts import Prompts, render, worked_practice

BASE_STOPS = ("\nProblem:",)
"""Where a base model has ended its answer and begins another problem."""


@dataclasses.dataclass(frozen=True)
class MathematicsTask:
    """One data set's prompts, a parser, and a grader.

    Attributes:
      prompts: of the data set; see `prompts.load`.
      grader: judges final answers; the caller closes it.
      chat: the chat template of the model, or None for a base model, which continues worked examples.
      special_tokens: strings that the tokenizer reads as special. They are removed from problems and practice, whose
        texts are untrusted: an end-of-turn mark in a problem would otherwise end the turn.
      shots: worked examples that a chat model reads, as earlier turns, before it writes practice. A base model reads
        all of them.

    Raises:
      ValueError: the prompts have fewer examples than ``shots``.
    """

    prompts: Prompts
    grader: Grader
    chat: Chat | None = None
    special_tokens: tuple[str, ...] = ()
    shots: int = 0

    def __post_init__(self) -> None:
        count = len(worked_practice(self.prompts))
        if not 0 <= self.shots <= count:
            raise ValueError(
                f"task.shots = {self.shots}: the prompts have {count} worked examples of practice. Choose fewer, or "
                "write some into their section '## synthesise, base model', as those of gsm8k.md are."
            )

    check_names = ("solution | practice problem", "answer | practice problem", "test problem | practice")

    @property
    def stops(self) -> tuple[str, ...]:
        """Strings that end a completion: none for a chat model, which ends its turn itself."""
        return BASE_STOPS if self.chat is None else ()

    def problem(self, prompt: str) -> Problem:
        """A problem of which only the prompt is known."""
        return Problem(prompt, "", (), -1, -1)

    def solve_prompt(self, prompt: str, shown: Sequence[Practice] = ()) -> str:
        """What the solver reads; its completion is a solution.

        Practice that is ``shown`` comes first, solved: earlier turns of a chat, further examples for a base model.
        """
        template = self.prompts.base_solve if self.chat is None else self.prompts.solve
        examples = [(self._clean(each.prompt), self._clean(each.solution)) for each in shown]
        return render(template, self._clean(prompt), examples, self.prompts.system, self.chat)

    def synthesis_prompt(self, problem: Problem) -> str:
        """What the generator reads; its completion is one practice example, for `parse`."""
        template = self.prompts.base_synthesise if self.chat is None else self.prompts.synthesise
        examples = () if self.chat is None else worked_practice(self.prompts)[: self.shots]
        return render(template, self._clean(problem.prompt), examples, self.prompts.system, self.chat)

    def written(self, problem: Problem, practice: Practice) -> str:
        """A practice example as a generator would write it; the heading of its problem ends a base model's prompt."""
        prompt, solution = self._clean(practice.prompt), self._clean(practice.solution)
        return f"{prompt}\nSolution:\n{solution}" if self.chat is None else f"Problem: {prompt}\nSolution: {solution}"

    def parse(self, problem: Problem, text: str) -> Practice:
        """Read a generator's completion. Never raises: what cannot be read is `MALFORMED`."""
        return parse_practice(self._clean(text))

    def grade(self, problems: Sequence[Problem], texts: Sequence[str]) -> list[Verdict]:
        """Judge one completion of each problem's solve prompt by its final answer, in parallel."""
        pairs = [
            (answers.final_answer(problem.solution), answers.final_answer(text, self._clean(problem.prompt)))
            for problem, text in zip(problems, texts, strict=True)
        ]
        return self.grader.grade_many(pairs)

    def answer_of(self, problem: Problem, text: str) -> str:
        """The final answer as it is written: that equal ones are written alike is left to the model."""
        return answers.final_answer(text, self._clean(problem.prompt))

    def checks(self, problem: Problem, practice: Practice) -> tuple[Check, ...]:
        """Does the solver stand by the practice's solution and by its answer, and does practice lead to the problem?"""
        solve = self.solve_prompt(practice.prompt)
        answer = answers.final_answer(practice.solution)
        shown = f"Problem:\n{practice.prompt}\nSolution:\n{practice.solution}\n\nProblem:\n"
        return (
            Check(solve, practice.solution),
            Check(f"{solve}The answer is \\boxed{{", f"{answer}}}"),
            Check(shown, self._clean(problem.prompt)),
        )

    def leaks(self, problem: Problem, practice: Practice) -> bool:
        """The practice repeats the problem's own text: all of its words, or half of their runs of eight."""
        return overlap.copies(f"{practice.prompt}\n{practice.solution}", problem.prompt)

    def _clean(self, text: str) -> str:
        return without_special_tokens(text, self.special_tokens)
