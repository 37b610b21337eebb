"""Families: hidden recipes. Which two files are put together, by which sign, and where the number is to be written.

What a problem shows of its recipe are runs, each of them what was in the files, and what was then written where.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mass_jax.tasks.agent import tools
from mass_jax.tasks.agent.tools import LARGEST, SIGNS

NAMES = "abcd"
"""Of the files."""
HELD = range(1, 10)
"""What they hold when an episode begins."""
EITHER_WAY = "+*"
"""Signs that do not ask which file comes first."""


_MADE = {
    (left, sign, right): made
    for left, sign, right in itertools.product(HELD, SIGNS, HELD)
    if isinstance(made := tools.calculated(left, sign, right), int)
}


class Run(NamedTuple):
    """What was in the files, and the number that was then written to one."""

    files: Mapping[str, int]
    name: str
    number: int


@dataclasses.dataclass(frozen=True)
class Rule:
    """A recipe: ``left sign right``, written to ``target``; the first three are `NAMES` and one of `tools.SIGNS`."""

    left: str
    sign: str
    right: str
    target: str

    @property
    def name(self) -> str:
        """Such as ``a*d c``."""
        return f"{self.left}{self.sign}{self.right} {self.target}"

    def made(self, files: Mapping[str, int]) -> int | None:
        """What is to be written, where files hold `HELD`; None where one is not there, or the tools make no number."""
        return _MADE.get((files.get(self.left), self.sign, files.get(self.right)))

    def calls(self, files: Mapping[str, int]) -> tuple[str, ...]:
        """What carries it out in a world where it can be."""
        left, right = files[self.left], files[self.right]
        calculated = f"calc {left} {self.sign} {right}"
        return (
            f"read {self.left}",
            f"read {self.right}",
            calculated,
            f"write {self.target} {self.made(files)}",
            "done",
        )

    def draw_files(self, rng: np.random.Generator) -> dict[str, int]:
        """Random contents of `NAMES` that it makes a number of."""
        while True:
            files = {name: HELD.start + int(rng.random() * len(HELD)) for name in NAMES}
            if self.made(files) is not None:
                return files


def _every() -> tuple[Rule, ...]:
    pairs = {sign: itertools.combinations if sign in EITHER_WAY else itertools.permutations for sign in SIGNS}
    return tuple(
        Rule(left, sign, right, target) for sign in SIGNS for left, right in pairs[sign](NAMES, 2) for target in NAMES
    )


EVERY = _every()
"""All of them, each once."""
_INTO = {name: tuple(rule for rule in EVERY if rule.target == name) for name in NAMES}


def agreeing(runs: Iterable[Run]) -> tuple[Rule, ...]:
    """All recipes of which these are runs."""
    runs = tuple(runs)
    rules = _INTO[runs[0].name] if len({run.name for run in runs}) == 1 else ()
    for files, _, number in runs:
        rules = tuple(rule for rule in rules if rule.made(files) == number)
    return rules


@functools.cache
def make_rules(count: int, seed: int) -> tuple[Rule, ...]:
    """``count`` different recipes in random order.

    Raises:
      ValueError: if there are fewer than ``count``.
    """
    if not 1 <= count <= len(EVERY):
        raise ValueError(f"task.rules = {count}: there are 1 to {len(EVERY)} different recipes.")
    return tuple(EVERY[i] for i in np.random.default_rng(seed).permutation(len(EVERY))[:count])


def named(name: str) -> Rule | None:
    """The recipe of a name, or None if there is none."""
    return _BY_NAME.get(name)


_BY_NAME = {rule.name: rule for rule in EVERY}


def vocabulary() -> Sequence[str]:
    """A word for every call, sign, file, number, file with what it holds, what is calculated, and the marks."""
    held = (f"{name}{number}" for name in NAMES for number in HELD)
    calculated = dict.fromkeys(rule.name.split(" ")[0] for rule in EVERY)
    words = ("?", "=", ":", ";", ">", "read", "calc", "write", "done", tools.OK, tools.ERROR)
    return (*words, *SIGNS, *NAMES, *map(str, range(LARGEST + 1)), *held, *calculated)
