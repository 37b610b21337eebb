"""Families: hidden programs on short strings. A program is two operations, run one after the other.

All operations are known to the pretrained model by name; which two made a problem's pairs is hidden. A claim about a
program is verified by running it: there are 64 strings, so two programs are compared on all of them.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Sequence

import numpy as np

LETTERS = "abcd"
LENGTH = 3
STRINGS = tuple(map("".join, itertools.product(LETTERS, repeat=LENGTH)))
"""Every input, and every output."""
STEPS = 2
"""Operations of a program."""


def _turned(text: str, by: Iterable[int]) -> str:
    """Each letter that many places further in the alphabet, after whose end comes its beginning."""
    return "".join(LETTERS[(LETTERS.index(c) + k) % len(LETTERS)] for c, k in zip(text, by, strict=True))


def _places(text: str) -> list[int]:
    return [LETTERS.index(c) for c in text]


def _letters(places: Iterable[int]) -> str:
    return "".join(LETTERS[i % len(LETTERS)] for i in places)


OPERATIONS: dict[str, Callable[[str], str]] = {
    "reverse": lambda s: s[::-1],
    "left": lambda s: s[1:] + s[0],
    "right": lambda s: s[-1] + s[:-1],
    "swap": lambda s: s[1] + s[0] + s[2:],
    "sort": lambda s: "".join(sorted(s)),
    "fall": lambda s: "".join(sorted(s, reverse=True)),
    "next": lambda s: _turned(s, (1, 1, 1)),
    "back": lambda s: _turned(s, (3, 3, 3)),
    "mirror": lambda s: _letters(len(LETTERS) - 1 - i for i in _places(s)),
    "first": lambda s: _turned(s, (1, 0, 0)),
    "last": lambda s: _turned(s, (0, 0, 1)),
    "echo": lambda s: s[0] + s[:-1],
    "ends": lambda s: s[0] + s[-1] * (LENGTH - 1),
    "most": lambda s: "".join(itertools.accumulate(s, max)),
    "least": lambda s: "".join(itertools.accumulate(s, min)),
    "sum": lambda s: _letters(itertools.accumulate(_places(s))),
}


def run(steps: Sequence[str], text: str) -> str:
    """What a program makes of a string."""
    return functools.reduce(lambda value, step: OPERATIONS[step](value), steps, text)


@dataclasses.dataclass(frozen=True)
class Rule:
    """A program, by the names of its operations."""

    steps: tuple[str, ...]

    def __call__(self, text: str) -> str:
        """Its output."""
        return self.outputs[text]

    @functools.cached_property
    def name(self) -> str:
        """Such as ``swap sum``: first swap, then sum."""
        return " ".join(self.steps)

    @functools.cached_property
    def outputs(self) -> dict[str, str]:
        """Of every string."""
        return {text: run(self.steps, text) for text in STRINGS}


@functools.cache
def _different() -> tuple[Rule, ...]:
    """One program for everything that two operations do and one or none does not."""
    shorter = [tuple(STRINGS), *(tuple(map(operation, STRINGS)) for operation in OPERATIONS.values())]
    found: dict[tuple[str, ...], Rule] = {}
    for steps in itertools.product(OPERATIONS, repeat=STEPS):
        rule = Rule(steps)
        found.setdefault(tuple(rule.outputs.values()), rule)
    return tuple(rule for outputs, rule in found.items() if outputs not in shorter)


def make_rules(count: int, seed: int) -> tuple[Rule, ...]:
    """``count`` programs in random order, no two of which do the same.

    Raises:
      ValueError: if there are fewer than ``count``.
    """
    rules = _different()
    if not 1 <= count <= len(rules):
        raise ValueError(f"task.rules = {count}: there are 1 to {len(rules)} different programs of {STEPS} operations.")
    return tuple(rules[i] for i in np.random.default_rng(seed).permutation(len(rules))[:count])


def vocabulary() -> tuple[str, ...]:
    """A word for every operation, every string as an input and as it is, and the marks ``? = : ;``."""
    return ("?", "=", ":", ";", *(f"{text}>" for text in STRINGS), *STRINGS, *OPERATIONS)
