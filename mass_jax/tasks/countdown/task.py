"""Countdown as a `Task`: solutions and practice are verified step by step."""

import dataclasses
from typing import ClassVar

import numpy as np

from mass_jax.tasks.base import MALFORMED, Check, Practice, Problem, Verdict
from mass_jax.tasks.countdown import documents
from mass_jax.tasks.countdown.documents import GIVES, Game, read_game
from mass_jax.tasks.countdown.rules import LARGEST, LIMIT, Rule, read_shape
from mass_jax.tasks.countdown.verify import read_moves, stated, verify
from mass_jax.tasks.worked import ANSWER, SOLVE, WorkedTask, answer_of


@dataclasses.dataclass(frozen=True)
class CountdownTask(WorkedTask):
    """How numbers make a target; see `rules.py` and `documents.py`.

    Attributes:
      rules: the shape of every family, by its index.
    """

    rules: tuple[Rule, ...]

    check_names: ClassVar[tuple[str, ...]] = ("target | shape", "practice | shape", "steps | shape", "shape | problem")

    @property
    def numbers(self) -> int:
        """Of a hand."""
        return len(self.rules[0].steps) + 1

    def problem(self, prompt: str) -> Problem:
        """A problem of which only the prompt is known.

        Raises:
          ValueError: it is not of the form.
        """
        if self._game(prompt) is None:
            example = " ".join(map(str, self.rules[0].games[0, :-1]))
            raise ValueError(
                f"a problem gives {self.numbers} different numbers from 1 to {LARGEST} and a target from 1 to {LIMIT}, "
                f"such as '{example} > {self.rules[0].games[0, -1]}'"
            )
        return Problem(prompt, "", documents.facts(prompt), -1, -1)

    def _game(self, prompt: str) -> Game | None:
        game = read_game(prompt)
        return game if game and len(game.hand) == self.numbers else None

    def judge(self, problem: Problem, text: str) -> Verdict:
        """What stands after ``=``, by `verify.verify`: any solution counts, whatever shape is named before it."""
        hand, _, target = problem.prompt.partition(f"{GIVES} ")
        return verify([*map(int, hand.split())], int(target), answer_of(text))

    def written(self, problem: Problem, practice: Practice) -> str:
        """``shape numbers = steps``."""
        return documents.written(practice)

    def parse(self, problem: Problem, text: str) -> Practice:
        """Read ``shape numbers = steps``; anything else is malformed. The target is what the last step makes.

        Only the form is judged. Steps that are wrong or not the shape's are the scorer's business.
        """
        words = text.partition(ANSWER)[0].split(" ")
        name, hand, answer = words[: self.numbers - 1], words[self.numbers - 1 :], text.partition(f"{ANSWER} ")[2]
        moves = read_moves(answer)
        if moves is None or read_shape(name) is None or answer != stated(moves) or len(moves) != len(name):
            return MALFORMED
        prompt = f"{' '.join(hand)}{GIVES} {moves[-1].made}"
        return MALFORMED if self._game(prompt) is None else Practice(prompt, f"{' '.join(name)}{ANSWER} {answer}", True)

    def checks(self, problem: Problem, practice: Practice) -> tuple[Check, ...]:
        """Does the shape that the practice names make the problem's target, and does the model stand by the rest?"""
        name, _, answer = practice.solution.partition(f"{ANSWER} ")

        def makes(prompt: str) -> Check:
            hand, _, target = prompt.partition(f"{GIVES} ")
            return Check(f"{name}{SOLVE} {hand}{GIVES}", target)

        return (
            makes(problem.prompt),
            makes(practice.prompt),
            Check(f"{practice.prompt}{SOLVE} {name}{ANSWER}", answer),
            Check(f"{problem.prompt}{SOLVE}", name),
        )

    def is_correct(self, problem: Problem, practice: Practice) -> bool:
        """It names the hidden shape, or one that makes the same of all numbers, and plays it without a mistake."""
        game, shape = self._game(practice.prompt), _shape(practice)
        if game is None or shape is None or shape.function != self.rules[problem.family].function:
            return False
        moves, answer = shape.play(game.hand), answer_of(practice.solution)
        return moves is not None and stated(moves) == answer and verify(*game, answer).correct

    def is_on_family(self, problem: Problem, practice: Practice) -> bool:
        """The hidden shape makes the target of the practice's numbers."""
        game = self._game(practice.prompt)
        if game is None:
            return False
        moves = self.rules[problem.family].play(game.hand)
        return moves is not None and moves[-1].made == game.target

    def leaks(self, problem: Problem, practice: Practice) -> bool:
        """The practice is about the problem's numbers."""
        mine, other = read_game(problem.prompt), read_game(practice.prompt)
        return mine is not None and other is not None and mine.same_numbers(other)

    def gold_practice(
        self, problem: Problem, count: int, rng: np.random.Generator, strict: bool
    ) -> tuple[Practice, ...]:
        """Random games of the hidden shape with other numbers than the problem's, whether ``strict`` or not."""
        rule = self.rules[problem.family]
        return tuple(documents.draw_practice(rule, rng, problem.prompt) for _ in range(count))


def _shape(practice: Practice) -> Rule | None:
    return read_shape(practice.solution.partition(ANSWER)[0].split(" "))
