"""Texts of the domain: problems, practice, and the documents on which the base is pretrained.

    problem      8>1 1>7 6>0 ? 3 9
    solve        8>1 1>7 6>0 ? 3 9 : f2,0,5 = 3>1 9>2
    synthesise   8>1 1>7 6>0 ? 3 9 ; 6>0 1>7 8>1 ? 10 4 : f2,0,5 = 10>7 4>4
    table        f2,0,5 : 4>4 9>2 0>5 ...

A solution is a worked step, the rule's name, then the answer after ``=``. A synthesis document reads a problem and
writes another one with its solution: some of the same pairs, other queries. A table recites a rule.
"""

from collections.abc import Sequence

import numpy as np

from mass_jax.tasks.arithmetic.rules import GIVEN, MODULUS, PAIRS, QUERIES, Rule, pose
from mass_jax.tasks.base import Practice, Problem
from mass_jax.tasks.worked import ASKS, SOLVE, SYNTHESISE, choice, shuffled, solved


def canonical(prompt: str) -> str:
    """The prompt with its pairs and its queries sorted: two prompts of the same content have the same one."""
    given, _, queries = prompt.partition(ASKS)
    return f"{' '.join(sorted(given.split()))}{ASKS}{' '.join(sorted(queries.split()))}"


def draw_problem(rules: Sequence[Rule], family: int, rng: np.random.Generator) -> Problem:
    """A random problem of a family; its difficulty is the number of pairs that it does *not* show."""
    difficulty = choice(range(len(GIVEN)), rng)
    count = GIVEN[len(GIVEN) - 1 - difficulty]
    xs = shuffled(range(MODULUS), rng)[: count + QUERIES]
    posed = pose(rules[family], xs[:count], xs[count:])
    return Problem(posed.prompt, posed.solution, facts(posed.prompt), difficulty, family)


def facts(prompt: str) -> tuple[str, ...]:
    """The pairs that a prompt shows."""
    return tuple(prompt.partition(ASKS)[0].split())


def draw_practice(problem: Problem, rule: Rule, rng: np.random.Generator) -> Practice:
    """Correct practice as a good writer who reads ``problem`` would write it: its pairs or fewer, in a new order."""
    given = shuffled([PAIRS[fact][0] for fact in problem.facts], rng)
    given = given[: choice([count for count in GIVEN if count <= len(given)], rng)]
    queries = [x for x in shuffled(range(MODULUS), rng) if x not in given][:QUERIES]
    return pose(rule, given, queries)


def draw_gold_practice(rule: Rule, rng: np.random.Generator, exclude: frozenset[int]) -> Practice:
    """A random problem of a rule with its solution; the inputs of ``exclude`` (at most four) occur nowhere in it."""
    xs = [x for x in shuffled(range(MODULUS), rng) if x not in exclude]
    count = choice(GIVEN, rng)
    return pose(rule, xs[:count], xs[count : count + QUERIES])


def draw_document(
    rules: Sequence[Rule], problem: Problem, rng: np.random.Generator, kind: str, held_out: frozenset[str] = frozenset()
) -> str:
    """One pretraining document about what ``problem`` shows, in a new order and with new queries; see `Texts`."""
    rule = rules[problem.family]
    if kind == "table":
        return f"{rule.name}{SOLVE} {' '.join(shuffled(rule.pairs, rng))}"
    given = shuffled([PAIRS[fact][0] for fact in problem.facts], rng)
    while True:
        queries = [x for x in shuffled(range(MODULUS), rng) if x not in given][:QUERIES]
        posed = pose(rule, given, queries)
        if canonical(posed.prompt) not in held_out:
            break
    if kind == "solve":
        return solved(posed)
    practice = draw_practice(problem, rule, rng)
    while canonical(practice.prompt) in held_out:
        practice = draw_practice(problem, rule, rng)
    return f"{posed.prompt}{SYNTHESISE} {solved(practice)}"
