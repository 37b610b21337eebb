"""Texts of the domain: problems, practice, and the documents on which the base is pretrained.

    problem      8>5 1>4 6>9 ? 3 7
    solve        8>5 1>4 6>9 ? 3 7 : = 3>4 7>2
    with steps   8>5 1>4 6>9 ? 3 7 : f2,0,5 = 3>4 7>2
    synthesise   8>5 1>4 6>9 ? 3 7 ; f2,0,5 : 6>9 2>0 ? 10 4 = 10>7 4>6

Between ``:`` and ``=`` stands the working: the rule's name, or nothing where the answer must come at once. A synthesis
document reads a problem, names its rule, and writes another problem of the same rule with its solution.
"""

import numpy as np

from mass_jax.tasks.arithmetic.rules import GIVEN, MODULUS, QUERIES, Rule
from mass_jax.tasks.base import Practice, Problem

WORKING, ANSWER, SYNTHESISE = " :", " =", " ;"
DOCUMENT_QUERIES = (2, 3, 4)
"""Outputs asked for in a pretraining document; a problem always asks for `QUERIES`."""
COPY = 0.8
"""How often a pair shown in written practice is copied from the problem, rather than recalled."""


def _pairs(rule: Rule, xs) -> str:
    return " ".join(rule.pair(int(x)) for x in xs)


def _text(rule: Rule, given, queries) -> tuple[str, str]:
    """Prompt and solution."""
    return f"{_pairs(rule, given)} ? {' '.join(str(int(x)) for x in queries)}", _pairs(rule, queries)


def draw_problem(rule: Rule, family: int, rng: np.random.Generator) -> Problem:
    """A random problem of a rule; its difficulty is the number of pairs that it does *not* show."""
    difficulty = int(rng.integers(len(GIVEN)))
    count = GIVEN[len(GIVEN) - 1 - difficulty]
    xs = rng.permutation(MODULUS)[: count + QUERIES]
    prompt, solution = _text(rule, xs[:count], xs[count:])
    return Problem(prompt, solution, tuple(prompt.split(" ? ")[0].split()), difficulty, family)


def draw_practice(rule: Rule, problem: Problem, rng: np.random.Generator, exclude: frozenset[int]) -> Practice:
    """Correct practice of ``rule``, as a good writer who reads ``problem`` would write it.

    Args:
      rule: the rule that the practice is about.
      problem: the problem whose pairs may be copied.
      rng: source of randomness.
      exclude: inputs that occur nowhere in the practice.
    """
    copied = [int(fact.split(">")[0]) for fact in problem.facts]
    copied = [int(x) for x in rng.permutation(copied) if int(x) not in exclude]
    recalled = [int(x) for x in rng.permutation(MODULUS) if int(x) not in exclude and int(x) not in copied]
    given: list[int] = []
    for _ in range(int(rng.choice(GIVEN))):
        source = copied if copied and (not recalled or rng.random() < COPY) else recalled
        given.append(source.pop())
    queries = rng.permutation([x for x in range(MODULUS) if x not in given and x not in exclude])[:QUERIES]
    prompt, solution = _text(rule, given, queries)
    return Practice(prompt, solution, rule.name, True)


def draw_document(rule: Rule, family: int, rng: np.random.Generator, mix: tuple[float, float, float]) -> str:
    """One pretraining document.

    Args:
      rule: the rule that it is about.
      family: its index.
      rng: source of randomness.
      mix: probabilities of a solve, a with-steps and a synthesis document.
    """
    problem = draw_problem(rule, family, rng)
    kind = rng.choice(3, p=mix)
    if kind == 2:
        practice = draw_practice(rule, problem, rng, exclude=frozenset())
        return f"{problem.prompt}{SYNTHESISE} {write_practice(practice)}"
    given = [int(fact.split(">")[0]) for fact in problem.facts]
    queries = rng.permutation([x for x in range(MODULUS) if x not in given])[: int(rng.choice(DOCUMENT_QUERIES))]
    prompt, solution = _text(rule, given, queries)
    steps = f" {rule.name}" if kind == 1 else ""
    return f"{prompt}{WORKING}{steps}{ANSWER} {solution}"


def write_practice(practice: Practice) -> str:
    """What a generator writes for one practice example."""
    return f"{practice.steps}{WORKING} {practice.prompt}{ANSWER} {practice.solution}"
