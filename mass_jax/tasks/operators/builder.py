"""Problems about operators, and their data on disk."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from mass_jax.tasks import procedural
from mass_jax.tasks.base import Problem
from mass_jax.tasks.operators.rules import OPERANDS, SHOWN, Rule, make_rules

PAIRS = tuple((a, b) for a in OPERANDS for b in OPERANDS if a != b)
"""Operands of shown lines and of questions."""


def line(rule: Rule, a: int, b: int) -> str:
    """One line of a prompt, ``4@7=28``."""
    return f"{question(a, b)}{rule(a, b)}"


def question(a: int, b: int) -> str:
    """A line without its value, ``4@7=``."""
    return f"{a}@{b}="


def draw_problem(rules: Sequence[Rule], family: int, rng: np.random.Generator) -> Problem:
    """`SHOWN` lines of a rule and one question, whose answer all rules share that agree with the lines."""
    rule = rules[family]
    while True:
        *shown, asked = (PAIRS[i] for i in rng.permutation(len(PAIRS))[: SHOWN + 1])
        agreeing = (other for other in rules if all(other(*pair) == rule(*pair) for pair in shown))
        if all(other(*asked) == rule(*asked) for other in agreeing):
            break
    prompt = "\n".join([*(line(rule, *pair) for pair in shown), question(*asked)])
    return Problem(prompt, str(rule(*asked)), facts(prompt), 0, family)


def facts(prompt: str) -> tuple[str, ...]:
    """The lines that a prompt shows."""
    return tuple(prompt.split("\n")[:-1])


class MassOperators(procedural.ProceduralBuilder):
    """Hidden operators. Build with ``MassOperators(config=OperatorsConfig(...), data_dir=...)``."""

    VERSION = tfds.core.Version("1.0.0")  # raise it when the same configuration would draw other problems
    RELEASE_NOTES = {"1.0.0": "First release."}


@dataclasses.dataclass(eq=False, kw_only=True)
class OperatorsConfig(procedural.ProceduralConfig):
    """See `procedural.ProceduralConfig`."""

    builder: ClassVar[type[procedural.ProceduralBuilder]] = MassOperators
    most_per_family: ClassVar[int] = 200  # a rule has some millions

    rules: int = 66
    validation_families: int = 10
    test_families: int = 26
    train_problems: int = 600
    validation_problems: int = 80
    test_problems: int = 130

    def make_rules(self) -> tuple[Rule, ...]:
        """Operators."""
        return make_rules(self.rules, self.rules_seed)

    def draw_problem(self, rules: Sequence[Rule], family: int, rng: np.random.Generator) -> Problem:
        """See the function of that name."""
        return draw_problem(rules, family, rng)

    def canonical(self, prompt: str) -> str:
        """The prompt with its lines sorted."""
        return "\n".join([*sorted(facts(prompt)), prompt.rpartition("\n")[2]])

    def facts(self, prompt: str) -> tuple[str, ...]:
        """See the function of that name."""
        return facts(prompt)
