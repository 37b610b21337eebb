"""Families: hidden polynomial rules over the residues mod 11, and problems about them.

A rule is x -> a x^2 + b x + c (mod 11). A problem shows a few `x>y` pairs of one rule and asks for two more. All rules
are known to the pretrained model, none is named in a problem: a solution first names the rule, its worked step, and
then recalls the two outputs.
"""

import dataclasses
import functools
from collections.abc import Iterable, Sequence

import numpy as np

from mass_jax.tasks.base import Practice
from mass_jax.tasks.worked import ANSWER, ASKS

MODULUS = 11
QUERIES = 2
GIVEN = (3, 4, 5)
"""Pairs shown in a problem, hardest first: three pairs single a rule out, and more make it plainer."""
PAIRS = {f"{x}>{y}": (x, y) for x in range(MODULUS) for y in range(MODULUS)}
"""Every word that states an input and its output."""
INPUTS = frozenset(map(str, range(MODULUS)))


@dataclasses.dataclass(frozen=True, order=True)
class Rule:
    """x -> a x^2 + b x + c (mod 11); affine where a = 0."""

    a: int
    b: int
    c: int

    def __call__(self, x: int) -> int:
        """The output, 0 to 10."""
        return (self.a * x * x + self.b * x + self.c) % MODULUS

    @functools.cached_property
    def name(self) -> str:
        """One word, such as ``f2,0,5``."""
        return f"f{self.a},{self.b},{self.c}"

    @functools.cached_property
    def pairs(self) -> tuple[str, ...]:
        """One word for each input, such as ``8>1`` at index 8."""
        return tuple(f"{x}>{self(x)}" for x in range(MODULUS))

    def makes(self, text: str) -> bool:
        """Whether a text is pairs, all of them this rule's."""
        return {*text.split(" ")} <= {*self.pairs}


def make_rules(count: int, seed: int) -> tuple[Rule, ...]:
    """``count`` different non-constant rules, drawn without replacement.

    Raises:
      ValueError: if there are fewer than ``count`` such rules.
    """
    rules = [Rule(a, b, c) for a in range(MODULUS) for b in range(MODULUS) for c in range(MODULUS) if (a, b) != (0, 0)]
    if not 1 <= count <= len(rules):
        raise ValueError(f"task.rules = {count}: there are 1 to {len(rules)} quadratic and affine rules mod {MODULUS}.")
    order = np.random.default_rng(seed).permutation(len(rules))
    return tuple(rules[i] for i in order[:count])


@functools.cache
def named(name: str) -> Rule:
    """The rule of such a name."""
    a, b, c = map(int, name.removeprefix("f").split(","))
    return Rule(a, b, c)


def vocabulary(rules: tuple[Rule, ...]) -> tuple[str, ...]:
    """A word for every residue, pair and rule name, and the marks ``? = : ;``."""
    return ("?", "=", ":", ";", *map(str, range(MODULUS)), *PAIRS, *(rule.name for rule in rules))


def pose(rule: Rule, given: Iterable[int], queries: Iterable[int]) -> Practice:
    """A problem about a rule and its solution."""
    pairs, queries = rule.pairs, list(queries)
    prompt = f"{' '.join([pairs[x] for x in given])}{ASKS}{' '.join(map(str, queries))}"
    return Practice(prompt, f"{rule.name}{ANSWER} {' '.join([pairs[x] for x in queries])}", True)


def poses(text: str, shown: Sequence[int]) -> bool:
    """Whether a text is ``8>1 1>7 6>0 ? 3 9``, with as many pairs as one of ``shown``."""
    given, _, queries = text.partition(ASKS)
    pairs, inputs = read_pairs(given), queries.split(" ")
    return pairs is not None and len(pairs) in shown and len(inputs) == QUERIES and INPUTS.issuperset(inputs)


def read_pairs(text: str) -> list[tuple[int, int]] | None:
    """The pairs of ``8>5 1>4``, or None if a word is not one."""
    # A word is looked up, never converted: int() would accept the digits of other scripts, and refuse very long ones.
    pairs = [PAIRS.get(word) for word in text.split(" ")]
    known = [pair for pair in pairs if pair is not None]
    return known if len(known) == len(pairs) else None


def mentioned(text: str) -> frozenset[str]:
    """The inputs that a text has, by themselves or in pairs."""
    return frozenset(word.partition(">")[0] for word in text.split())
