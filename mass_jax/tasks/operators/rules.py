"""Families: hidden operations on two one-digit numbers, made of plain arithmetic that a language model has seen.

A rule is a function of the operands followed by a function of its value, ``x + 1`` of ``max(a, b)``, say. A problem
shows a few lines such as ``4@7=28`` of one rule and asks for one more. No rule is named anywhere.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

OPERANDS = range(2, 10)
SHOWN = 4
"""Lines that a problem shows."""

INNER: dict[str, Callable[[int, int], int]] = {
    "a": lambda a, b: a,
    "b": lambda a, b: b,
    "max": lambda a, b: max(a, b),
    "min": lambda a, b: min(a, b),
    "sum": lambda a, b: a + b,
    "distance": lambda a, b: abs(a - b),
    "product": lambda a, b: a * b,
    "ab": lambda a, b: int(f"{a}{b}"),
    "ba": lambda a, b: int(f"{b}{a}"),
    "a squared": lambda a, b: a * a,
    "b squared": lambda a, b: b * b,
}
OUTER: dict[str, Callable[[int], int]] = {
    "x": lambda x: x,
    "x - 1": lambda x: x - 1,
    "x + 1": lambda x: x + 1,
    "x + 10": lambda x: x + 10,
    "2 x": lambda x: 2 * x,
    "10 x": lambda x: 10 * x,
}


@dataclasses.dataclass(frozen=True)
class Rule:
    """a @ b = outer(inner(a, b)), by the names of `INNER` and `OUTER`."""

    inner: str
    outer: str

    def __call__(self, a: int, b: int) -> int:
        """The value, 0 or more."""
        return OUTER[self.outer](INNER[self.inner](a, b))

    @property
    def name(self) -> str:
        """Such as ``x + 1 of max``."""
        return f"{self.outer} of {self.inner}"


def make_rules(count: int, seed: int) -> tuple[Rule, ...]:
    """``count`` different rules in random order.

    Raises:
      ValueError: if there are fewer than ``count``.
    """
    rules = [Rule(inner, outer) for inner in INNER for outer in OUTER]
    if not 1 <= count <= len(rules):
        raise ValueError(f"task.rules = {count}: there are 1 to {len(rules)} operators.")
    return tuple(rules[i] for i in np.random.default_rng(seed).permutation(len(rules))[:count])
