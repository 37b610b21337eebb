"""Texts of the domain: games, practice, and the documents on which the base is pretrained.

    problem      3 2 7 > 19
    solve        3 2 7 > 19 : a*c d-b = 3 * 7 > 21 21 - 2 > 19
    synthesise   3 2 7 > 19 ; a*c d-b 5 9 4 = 5 * 4 > 20 20 - 9 > 11
    table        a*c d-b : 4 6 2 > 2 8 1 3 > 23 ...

A problem is a game, its numbers and the target. A solution names a shape, its worked step, then plays it. Practice is
another game of the shape. It is written with the shape first, and without its target, which is what its last step
makes. A table says what a shape makes.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from mass_jax.tasks.base import Practice, Problem
from mass_jax.tasks.countdown.rules import LARGEST, LIMIT, Rule
from mass_jax.tasks.countdown.verify import read_numbers, stated
from mass_jax.tasks.worked import ANSWER, SOLVE, SYNTHESISE, solved

GIVES = " >"
"""The mark between what is put together and what it makes."""
TABLE = 3
"""Games of a table."""


class Game(NamedTuple):
    """Numbers and a target."""

    hand: tuple[int, ...]
    target: int

    @property
    def prompt(self) -> str:
        """Such as ``3 2 7 > 19``."""
        return f"{' '.join(map(str, self.hand))}{GIVES} {self.target}"

    def same_numbers(self, other: "Game") -> bool:
        """In whatever order."""
        return sorted(self.hand) == sorted(other.hand)


def read_game(text: str) -> Game | None:
    """The game that a prompt poses, or None if it is of another form: different numbers that hands have, a target."""
    hand, marked, target = text.partition(f"{GIVES} ")
    numbers = read_numbers([*hand.split(" "), target])
    if not marked or numbers is None or len({*numbers[:-1]}) < len(numbers) - 1:
        return None
    return Game((*numbers[:-1],), numbers[-1]) if max(numbers[:-1]) <= LARGEST and numbers[-1] <= LIMIT else None


def pose(rule: Rule, hand: Sequence[int]) -> Practice:
    """A game of a shape that can be played with a hand, and its solution."""
    moves = rule.play(hand) or []
    return Practice(Game((*hand,), moves[-1].made).prompt, f"{rule.name}{ANSWER} {stated(moves)}", True)


def written(practice: Practice) -> str:
    """Practice as a generator writes it: the shape, the numbers, the steps; the last of these makes the target."""
    name, _, answer = practice.solution.rpartition(f"{ANSWER} ")
    return f"{name} {practice.prompt.partition(GIVES)[0]}{ANSWER} {answer}"


def canonical(prompt: str) -> str:
    """The prompt with its numbers sorted."""
    hand, _, target = prompt.partition(f"{GIVES} ")
    return f"{' '.join(sorted(hand.split()))}{GIVES} {target}"


def facts(prompt: str) -> tuple[str, ...]:
    """That its numbers make its target."""
    return (prompt,)


def draw_problem(rules: Sequence[Rule], family: int, rng: np.random.Generator) -> Problem:
    """A random game of a shape; its difficulty is the shape's."""
    posed = pose(rules[family], rules[family].draw(rng))
    return Problem(posed.prompt, posed.solution, facts(posed.prompt), rules[family].difficulty, family)


def draw_practice(rule: Rule, rng: np.random.Generator, not_of: str) -> Practice:
    """A game of a shape, with other numbers than a prompt's."""
    numbers = sorted(not_of.partition(GIVES)[0].split())
    while True:
        posed = pose(rule, rule.draw(rng))
        if sorted(posed.prompt.partition(GIVES)[0].split()) != numbers:
            return posed


def draw_document(
    rules: Sequence[Rule], problem: Problem, rng: np.random.Generator, kind: str, held_out: frozenset[str] = frozenset()
) -> str:
    """One pretraining document about the shape of ``problem``; no table has a held-out game; see `Texts`."""
    rule = rules[problem.family]

    def drawn(draw: Callable[[], Practice]) -> Practice:
        while canonical((practice := draw()).prompt) in held_out:
            pass
        return practice

    def any_game() -> Practice:
        return pose(rule, rule.draw(rng))

    if kind == "table":
        return f"{rule.name}{SOLVE} {' '.join(drawn(any_game).prompt for _ in range(TABLE))}"
    posed = drawn(any_game)
    if kind == "solve":
        return solved(posed)
    practice = drawn(lambda: draw_practice(rule, rng, posed.prompt))
    return f"{posed.prompt}{SYNTHESISE} {written(practice)}"
