"""Families: hidden shapes of a solution. A shape says which numbers of a hand are put together, how and in which order.

A game is a hand of different numbers and a target. Numbers of the hand are called a, b, c, ... in the order in which it
lists them; what the steps make has the letters after these. So ``a*c d-b`` of the hand 3 2 7 is 3 * 7, then 21 - 2.
A step makes a whole number of 1 or more. A shape uses every number of the hand once.
"""

import dataclasses
import functools
import itertools
import operator
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mass_jax.tasks.worked import choice, shuffled

NUMBERS = range(3, 9)
"""How many numbers a hand may have."""
LARGEST, LIMIT = 12, 99
"""The largest number of a hand, and the largest that a step of a drawn game makes."""
DECK = 20_000
"""Hands that are drawn; of three or four numbers these are nearly all that there are."""
LEAST = 100
"""Different games that a shape has in this deck; others are no families."""
MOST = 2_000
"""Shapes that are looked for."""
LABELS = "abcdefghijklmno"
OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.floordiv,  # asked only where nothing is left over
}
_PRIME = 2**61 - 1
_STEP = re.compile(rf"([{LABELS}])([-+*/])([{LABELS}])")


class Move(NamedTuple):
    """A step with its numbers."""

    left: int
    operation: str
    right: int
    made: int


class Step(NamedTuple):
    """A step of a shape: places of what it puts together, among the numbers of the hand and then what steps made."""

    left: int
    operation: str
    right: int

    @property
    def name(self) -> str:
        """Such as ``a*b``."""
        return f"{LABELS[self.left]}{self.operation}{LABELS[self.right]}"


def fault(left: int, operation: str, right: int) -> str:
    """Why a step is not allowed; empty where it is."""
    if operation == "/" and left % right:
        return f"{left} / {right} does not go even"
    if operation == "-" and left <= right:
        return f"{left} - {right} is less than 1"
    return ""


@dataclasses.dataclass(frozen=True)
class Rule:
    """A shape, by its steps."""

    steps: tuple[Step, ...]

    @functools.cached_property
    def name(self) -> str:
        """Such as ``a*b d-c``."""
        return " ".join(step.name for step in self.steps)

    @property
    def difficulty(self) -> int:
        """Steps in which it matters which number is the left one."""
        return sum(step.operation in "-/" for step in self.steps)

    def play(self, hand: Sequence[int]) -> list[Move] | None:
        """Its steps on a hand of as many numbers as it needs; None where one of them is not allowed."""
        values, moves = list(hand), []
        for left, operation, right in ((values[i], name, values[j]) for i, name, j in self.steps):
            if fault(left, operation, right):
                return None
            moves.append(Move(left, operation, right, OPERATIONS[operation](left, right)))
            values.append(moves[-1].made)
        return moves

    @functools.cached_property
    def function(self) -> int:
        """The same for shapes that make the same of all numbers: what it makes of some, modulo a large prime."""
        values = [pow(7, 10 + i, _PRIME) for i in range(len(self.steps) + 1)]
        for i, operation, j in self.steps:
            left, right = values[i], values[j]
            over = operation == "/"
            values.append((left * pow(right, -1, _PRIME) if over else OPERATIONS[operation](left, right)) % _PRIME)
        return values[-1]

    @functools.cached_property
    def games(self) -> np.ndarray:
        """Hands of the deck that it can be played with, no step making more than `LIMIT`, and what each makes.

        int [games, numbers + 1], the target last.
        """
        deck = _deck(len(self.steps) + 1)
        values, allowed = [*deck.T], np.ones(len(deck), bool)
        for i, operation, j in self.steps:
            left, right = values[i], values[j]
            made = OPERATIONS[operation](left, right)
            allowed &= (made >= 1) & (made <= LIMIT) & ((operation != "/") | (made * right == left))
            values.append(np.maximum(made, 1))  # what is left out anyway goes on as a number that divides
        return np.column_stack([deck, values[-1]])[allowed]

    @property
    def different(self) -> int:
        """Games, whatever the order of their numbers."""
        digits = np.column_stack([np.sort(self.games[:, :-1]), self.games[:, -1]])
        return len(np.unique(digits @ (LIMIT + 1) ** np.arange(digits.shape[1])))

    def draw(self, rng: np.random.Generator) -> list[int]:
        """The hand of one of these games."""
        return self.games[int(rng.random() * len(self.games)), :-1].tolist()


@functools.cache
def _deck(numbers: int) -> np.ndarray:
    """Hands of different numbers, int [hands, numbers]."""
    rows = np.tile(np.arange(1, LARGEST + 1), (DECK, 1))
    return np.unique(np.random.default_rng(0).permuted(rows, axis=1)[:, :numbers], axis=0)


def _random(numbers: int, rng: np.random.Generator) -> Rule:
    hand, steps = list(range(numbers)), []
    while len(hand) > 1:
        left, right, *hand = shuffled(hand, rng)
        operation = choice(list(OPERATIONS), rng)
        if operation in "+*":
            left, right = sorted((left, right))
        steps.append(Step(left, operation, right))
        hand.append(numbers + len(steps) - 1)
    return Rule(tuple(steps))


@functools.cache
def make_rules(count: int, seed: int, numbers: int) -> tuple[Rule, ...]:
    """``count`` shapes for hands of so many numbers, no two of which make the same of every hand.

    Raises:
      ValueError: if hands cannot have so many numbers, or fewer than ``count`` shapes were found, or they are too many.
    """
    if numbers not in NUMBERS:
        raise ValueError(f"task.numbers = {numbers}: give {NUMBERS[0]} to {NUMBERS[-1]} numbers of a hand.")
    if count > MOST:
        raise ValueError(f"task.rules = {count}: give {MOST} shapes or fewer.")
    found: dict[int, Rule] = {}
    rng, missed = np.random.default_rng(seed), 0
    while len(found) < count:
        rule, missed = _random(numbers, rng), missed + 1
        if missed > 1_000 + 20 * len(found):
            raise ValueError(
                f"task.rules = {count}: only {len(found)} shapes of {numbers} numbers were found; lower it."
            )
        if rule.function not in found and rule.different >= LEAST:
            found[rule.function], missed = rule, 0
    return tuple(found.values())


def read_shape(words: Sequence[str]) -> Rule | None:
    """The shape of these steps, or None if they are of another form, or do not use every number once."""
    there, steps = {*range(len(words) + 1)}, []
    for word in words:
        read = _STEP.fullmatch(word)
        left, right = (LABELS.index(read[i]) for i in (1, 3)) if read else (0, 0)
        if read is None or left == right or not {left, right} <= there or (read[2] in "+*" and left > right):
            return None
        steps.append(Step(left, read[2], right))
        there = there - {left, right} | {len(words) + len(steps)}
    return Rule(tuple(steps))


def vocabulary(numbers: int) -> tuple[str, ...]:
    """A word for every step of a shape and every number, the operations, and the marks ``> = : ;``."""
    places = itertools.permutations(range(2 * numbers - 2), 2)
    steps = [Step(i, name, j).name for i, j in places for name in OPERATIONS if i < j or name in "-/"]
    return (">", "=", ":", ";", *OPERATIONS, *map(str, range(1, LIMIT + 1)), *steps)
