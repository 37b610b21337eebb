"""Texts of the domain: problems, practice, and the documents on which the base is pretrained.

A problem names three candidates and shows a few pairs, which one of them made. Solutions name that rule before
the answer, and practice the rule that it is about:

    problem     f7,8,5 f5,10,8 f0,3,10 3>4 4>6 2>5 ? 9 6
    solve       f7,8,5 f5,10,8 f0,3,10 3>4 4>6 2>5 ? 9 6 : f7,8,5 = 9>6 6>8
    synthesise  f7,8,5 f5,10,8 f0,3,10 3>4 4>6 2>5 ? 9 6 ; f5,10,8 3>6 5>7 ? 8 1 = 8>1 1>1
    table       f7,8,5 : 4>6 9>6 1>9 ...

What is written is practice about one of the candidates, whichever: as a solver reads it, all three stand in front. A
table recites a rule.
"""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from mass_jax.tasks.arithmetic.rules import MODULUS, PAIRS, QUERIES, Rule, named, pose
from mass_jax.tasks.base import Practice, Problem
from mass_jax.tasks.worked import ANSWER, ASKS, SOLVE, choice, posed_document, shuffled

CANDIDATES = 3
"""Rules that a problem names."""
GIVEN = (2, 3)
"""Pairs that it shows, hardest first."""


def make_practice(names: Sequence[str], rule: Rule, given: Iterable[int], queries: Sequence[int]) -> Practice:
    """A problem of a rule among the candidates of these names, and its solution."""
    posed = pose(rule, given, queries)
    return dataclasses.replace(posed, prompt=f"{' '.join(names)} {posed.prompt}")


def written(practice: Practice) -> str:
    """Practice as a generator writes it: without the candidates, which are the problem's."""
    asked = practice.prompt.split(" ", CANDIDATES)[CANDIDATES]
    name, _, answer = practice.solution.rpartition(f"{ANSWER} ")
    return f"{name} {asked}{ANSWER} {answer}"


def canonical(prompt: str) -> str:
    """The prompt with its candidates, pairs and queries sorted."""
    shown, _, queries = prompt.partition(ASKS)
    names, facts = names_of(prompt), shown.split()[CANDIDATES:]
    return f"{' '.join(sorted(names))} {' '.join(sorted(facts))}{ASKS}{' '.join(sorted(queries.split()))}"


def names_of(prompt: str) -> list[str]:
    """The candidates that a prompt names."""
    return prompt.split(" ", CANDIDATES)[:CANDIDATES]


def facts(prompt: str) -> tuple[str, ...]:
    """The pairs that a prompt shows."""
    return tuple(prompt.partition(ASKS)[0].split()[CANDIDATES:])


def asked(prompt: str) -> frozenset[int]:
    """The inputs that a prompt asks about."""
    return frozenset(int(x) for x in prompt.partition(ASKS)[2].split())


def _pose(candidates: Sequence[Rule], rule: Rule, rng: np.random.Generator, count: int) -> Practice:
    """A problem of ``rule`` whose ``count`` pairs rule out each of the other candidates; these in a new order."""
    names = [candidate.name for candidate in shuffled(candidates, rng)]
    others = [candidate for candidate in candidates if candidate != rule]
    while True:
        xs = shuffled(range(MODULUS), rng)[: count + QUERIES]
        if all(any(other(x) != rule(x) for x in xs[:count]) for other in others):
            return make_practice(names, rule, xs[:count], xs[count:])


def draw_problem(rules: Sequence[Rule], family: int, others: Sequence[int], rng: np.random.Generator) -> Problem:
    """A random problem of a family; its difficulty is the number of pairs that it does *not* show.

    Args:
      rules: the rule of every family.
      family: whose problem it is.
      others: the families that its other candidates are drawn from, at least two of them not ``family``.
      rng: source of randomness.
    """
    difficulty = choice(range(len(GIVEN)), rng)
    chosen: list[int] = []
    while len(chosen) < CANDIDATES - 1:
        other = choice(others, rng)
        if other != family and other not in chosen:
            chosen.append(other)
    count = GIVEN[len(GIVEN) - 1 - difficulty]
    posed = _pose([rules[i] for i in (family, *chosen)], rules[family], rng, count)
    return Problem(posed.prompt, posed.solution, facts(posed.prompt), difficulty, family)


def draw_practice(problem: Problem, rule: Rule, rng: np.random.Generator, exclude: Iterable[int]) -> Practice:
    """Right practice about ``rule`` among the problem's candidates; the inputs of ``exclude`` occur nowhere in it."""
    xs = [x for x in shuffled(range(MODULUS), rng) if x not in exclude]
    count = choice(GIVEN, rng)
    return make_practice(names_of(problem.prompt), rule, xs[:count], xs[count : count + QUERIES])


def unseen(prompt: str) -> frozenset[int]:
    """What a good writer leaves out who reads the prompt: every input that it asks about or shows."""
    return asked(prompt) | {PAIRS[fact][0] for fact in facts(prompt)}


def draw_document(
    rules: Sequence[Rule], problem: Problem, rng: np.random.Generator, kind: str, held_out: frozenset[str] = frozenset()
) -> str:
    """One document about a problem's candidates, which it names; any may have made the pairs; see `Texts`."""
    candidates = [named(name) for name in names_of(problem.prompt)]
    rule = choice(candidates, rng)
    if kind == "table":
        xs = shuffled(range(MODULUS), rng)
        return f"{rule.name}{SOLVE} {' '.join([rule.pairs[x] for x in xs])}"

    def draw() -> tuple[Practice, Practice]:
        posed = _pose(candidates, rule, rng, choice(GIVEN, rng))
        about = Problem(posed.prompt, posed.solution, facts(posed.prompt), -1, -1)
        return posed, draw_practice(about, choice(candidates, rng), rng, unseen(posed.prompt))

    return posed_document(kind, draw, written, canonical, held_out)
