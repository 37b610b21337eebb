"""Texts of the domain: problems, practice, and the documents on which the base is pretrained.

    problem      8>1 1>7 6>0 ? 3 9
    solve        8>1 1>7 6>0 ? 3 9 : f2,0,5 = 3>1 9>2
    synthesise   8>1 1>7 6>0 ? 3 9 ; 6>0 1>7 8>1 ? 10 4 : f2,0,5 = 10>7 4>4
    table        f2,0,5 : 4>4 9>2 0>5 ...

A solution is a worked step, the rule's name, then the answer after ``=``. A synthesis document reads a problem and
writes another one with its solution: some of the same pairs, other queries. A table recites a rule.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np

from mass_jax.tasks.arithmetic.rules import GIVEN, MODULUS, PAIRS, QUERIES, Rule
from mass_jax.tasks.base import Practice, Problem

T = TypeVar("T")

SOLVE, ANSWER, SYNTHESISE = " :", " =", " ;"
KINDS = ("solve", "synthesise", "table")
INPUTS = frozenset(map(str, range(MODULUS)))


def shuffled(items: Iterable[T], rng: np.random.Generator) -> list[T]:
    """A random order."""
    items = list(items)  # a dozen of them at most: five times faster than `rng.permutation`
    keys = rng.random(len(items)).tolist()
    return [items[i] for i in sorted(range(len(items)), key=keys.__getitem__)]


def choice(options: Sequence[T], rng: np.random.Generator) -> T:
    """One of them, each as likely as the others."""
    return options[int(rng.random() * len(options))]


def pose(rule: Rule, given: Iterable[int], queries: Iterable[int]) -> tuple[str, str]:
    """Prompt and solution."""
    pairs, queries = rule.pairs, list(queries)
    prompt = f"{' '.join([pairs[x] for x in given])} ? {' '.join(map(str, queries))}"
    return prompt, f"{rule.name}{ANSWER} {' '.join([pairs[x] for x in queries])}"


def canonical(prompt: str) -> str:
    """The prompt with its pairs and its queries sorted: two prompts of the same content have the same one."""
    given, _, queries = prompt.partition(" ? ")
    return f"{' '.join(sorted(given.split()))} ? {' '.join(sorted(queries.split()))}"


def draw_problem(rule: Rule, family: int, rng: np.random.Generator) -> Problem:
    """A random problem of a rule; its difficulty is the number of pairs that it does *not* show."""
    difficulty = choice(range(len(GIVEN)), rng)
    count = GIVEN[len(GIVEN) - 1 - difficulty]
    xs = shuffled(range(MODULUS), rng)[: count + QUERIES]
    prompt, solution = pose(rule, xs[:count], xs[count:])
    return Problem(prompt, solution, facts(prompt), difficulty, family)


def facts(prompt: str) -> tuple[str, ...]:
    """The pairs that a prompt shows."""
    return tuple(prompt.partition(" ? ")[0].split())


def read_pairs(text: str) -> list[tuple[int, int]] | None:
    """The pairs of ``8>5 1>4``, or None if a word is not one."""
    # A word is looked up, never converted: int() would accept the digits of other scripts, and refuse very long ones.
    pairs = [PAIRS.get(word) for word in text.split(" ")]
    known = [pair for pair in pairs if pair is not None]
    return known if len(known) == len(pairs) else None


def poses(text: str, shown: Sequence[int]) -> bool:
    """Whether a text is ``8>1 1>7 6>0 ? 3 9``, with as many pairs as one of ``shown``."""
    given, _, queries = text.partition(" ? ")
    pairs, inputs = read_pairs(given), queries.split(" ")
    return pairs is not None and len(pairs) in shown and len(inputs) == QUERIES and INPUTS.issuperset(inputs)


def answer_of(solution: str) -> str:
    """What stands after the last ``=``; all of the text where there is none."""
    return solution.rpartition(f"{ANSWER} ")[2].strip()


def draw_practice(problem: Problem, rule: Rule, rng: np.random.Generator) -> Practice:
    """Correct practice as a good writer who reads ``problem`` would write it: its pairs or fewer, in a new order."""
    given = shuffled([PAIRS[fact][0] for fact in problem.facts], rng)
    given = given[: choice([count for count in GIVEN if count <= len(given)], rng)]
    queries = [x for x in shuffled(range(MODULUS), rng) if x not in given][:QUERIES]
    return Practice(*pose(rule, given, queries), True)


def draw_gold_practice(rule: Rule, rng: np.random.Generator, exclude: frozenset[int]) -> Practice:
    """A random problem of a rule with its solution; the inputs of ``exclude`` (at most four) occur nowhere in it."""
    xs = [x for x in shuffled(range(MODULUS), rng) if x not in exclude]
    count = choice(GIVEN, rng)
    return Practice(*pose(rule, xs[:count], xs[count : count + QUERIES]), True)


def draw_document(
    problem: Problem, rule: Rule, rng: np.random.Generator, kind: str, held_out: frozenset[str] = frozenset()
) -> str:
    """One pretraining document about what ``problem`` shows, in a new order and with new queries.

    Args:
      problem: a problem of the pretraining split.
      rule: its rule.
      rng: source of randomness.
      kind: one of `KINDS`.
      held_out: canonical prompts of the problems that no document may pose, neither as its own problem nor as practice.
    """
    if kind == "table":
        return f"{rule.name}{SOLVE} {' '.join(shuffled(rule.pairs, rng))}"
    given = shuffled([PAIRS[fact][0] for fact in problem.facts], rng)
    while True:
        queries = [x for x in shuffled(range(MODULUS), rng) if x not in given][:QUERIES]
        prompt, solution = pose(rule, given, queries)
        if canonical(prompt) not in held_out:
            break
    if kind == "solve":
        return f"{prompt}{SOLVE} {solution}"
    practice = draw_practice(problem, rule, rng)
    while canonical(practice.prompt) in held_out:
        practice = draw_practice(problem, rule, rng)
    return f"{prompt}{SYNTHESISE} {practice.prompt}{SOLVE} {practice.solution}"


def document_writer(
    rules: Sequence[Rule], kinds: Sequence[str], held_out: Iterable[Problem]
) -> Callable[[Problem, np.random.Generator], str]:
    """`draw_document` for a pipeline.

    Args:
      rules: the rule of every family.
      kinds: see `writer`, with its errors.
      held_out: the problems that no document may pose.
    """
    prompts = frozenset(canonical(problem.prompt) for problem in held_out)
    return writer(lambda p, rng, kind: draw_document(p, rules[p.family], rng, kind, prompts), kinds)


def writer(
    draw: Callable[[Problem, np.random.Generator, str], str], kinds: Sequence[str]
) -> Callable[[Problem, np.random.Generator], str]:
    """What writes documents for a pipeline: ``write(problem, rng)``.

    Args:
      draw: writes one about a problem, of a kind.
      kinds: of `KINDS`, some perhaps more than once; one is drawn uniformly for every document.

    Raises:
      ValueError: if there is no kind, or an unknown one.
    """
    if not kinds or set(kinds) - set(KINDS):
        raise ValueError(f"the document kinds {list(kinds)} must be one or more of {', '.join(KINDS)}.")
    return lambda problem, rng: draw(problem, rng, choice(kinds, rng))
