"""Texts of the domain: problems, practice, and the documents on which the base is pretrained.

    problem      8>1 1>7 6>0 ? 3 9
    solve        8>1 1>7 6>0 ? 3 9 : = 3>1 9>2
    with steps   8>1 1>7 6>0 ? 3 9 : f2,0,5 = 3>1 9>2
    synthesise   8>1 1>7 6>0 ? 3 9 ; f2,0,5 : 6>0 2>2 ? 10 4 = 10>7 4>4

Between ``:`` and ``=`` stands the working: the rule's name, or nothing where the answer must come at once. A synthesis
document reads a problem, names its rule, and writes another problem of the same rule with its solution.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from mass_jax.tasks.arithmetic.rules import GIVEN, MODULUS, PAIRS, QUERIES, Rule
from mass_jax.tasks.base import Practice, Problem

WORKING, ANSWER, SYNTHESISE = " :", " =", " ;"
DOCUMENT_QUERIES = (2, 3, 4)
"""Outputs asked for in a solving document; a problem always asks for `QUERIES`."""
COPY = 0.8
"""How often a pair shown in written practice is copied from the problem, rather than recalled."""


def _shuffled(items: Iterable[int], rng: np.random.Generator) -> list[int]:
    """A random order."""
    items = list(items)  # a dozen of them at most: five times faster than `rng.permutation`
    return [x for _, x in sorted(zip(rng.random(len(items)).tolist(), items, strict=True))]


def _choice(options: Sequence[int], rng: np.random.Generator) -> int:
    return options[int(rng.random() * len(options))]


def _text(rule: Rule, given: Iterable[int], queries: Iterable[int]) -> tuple[str, str]:
    """Prompt and solution."""
    pairs, queries = rule.pairs, list(queries)
    return f"{' '.join([pairs[x] for x in given])} ? {' '.join(map(str, queries))}", " ".join(
        [pairs[x] for x in queries]
    )


def canonical(prompt: str) -> str:
    """The prompt with its pairs and its queries sorted: two prompts of the same content have the same one."""
    given, _, queries = prompt.partition(" ? ")
    return f"{' '.join(sorted(given.split()))} ? {' '.join(sorted(queries.split()))}"


def contains(rule: Rule, given: Iterable[int], queries: Iterable[int], prompts: frozenset[str]) -> bool:
    """Whether showing ``given`` and asking ``queries`` poses, among others, a problem of the canonical ``prompts``."""
    shown = " ".join(sorted([rule.pairs[x] for x in given]))
    asked = itertools.combinations(sorted(map(str, queries)), QUERIES)
    return any(f"{shown} ? {' '.join(pair)}" in prompts for pair in asked)


def draw_problem(rule: Rule, family: int, rng: np.random.Generator) -> Problem:
    """A random problem of a rule; its difficulty is the number of pairs that it does *not* show."""
    difficulty = _choice(range(len(GIVEN)), rng)
    count = GIVEN[len(GIVEN) - 1 - difficulty]
    xs = _shuffled(range(MODULUS), rng)[: count + QUERIES]
    prompt, solution = _text(rule, xs[:count], xs[count:])
    return Problem(prompt, solution, facts(prompt), difficulty, family)


def facts(prompt: str) -> tuple[str, ...]:
    """The pairs that a prompt shows."""
    return tuple(prompt.partition(" ? ")[0].split())


def draw_practice(rule: Rule, problem: Problem, rng: np.random.Generator, exclude: frozenset[int]) -> Practice:
    """Correct practice of ``rule``, as a good writer who reads ``problem`` would write it.

    Args:
      rule: the rule that the practice is about.
      problem: the problem whose pairs may be copied.
      rng: source of randomness.
      exclude: inputs that occur nowhere in the practice; at most five.
    """
    shown = {PAIRS[fact][0] for fact in problem.facts}
    order = [x for x in _shuffled(range(MODULUS), rng) if x not in exclude]
    copied, recalled = [x for x in order if x in shown], [x for x in order if x not in shown]
    given: list[int] = []
    for _ in range(_choice(GIVEN, rng)):
        source = copied if copied and (not recalled or rng.random() < COPY) else recalled
        given.append(source.pop())
    queries = [x for x in _shuffled(order, rng) if x not in given][:QUERIES]
    return Practice(*_text(rule, given, queries), rule.name, True)


def draw_document(
    problem: Problem,
    rule: Rule,
    rng: np.random.Generator,
    mix: Sequence[float],
    held_out: frozenset[str] = frozenset(),
) -> str:
    """One pretraining document about what ``problem`` shows, in a new order and with new queries.

    Args:
      problem: a problem of the pretraining split.
      rule: its rule.
      rng: source of randomness.
      mix: probabilities of a solve, a with-steps and a synthesis document.
      held_out: canonical prompts of the problems that no document may pose, neither as its own problem nor as practice.
    """
    kind = rng.random()
    synthesis = kind >= mix[0] + mix[1]
    given = _shuffled([PAIRS[fact][0] for fact in problem.facts], rng)
    queries = [x for x in _shuffled(range(MODULUS), rng) if x not in given]
    queries = queries[: QUERIES if synthesis else _choice(DOCUMENT_QUERIES, rng)]
    if contains(rule, given, queries, held_out):
        queries = [PAIRS[pair][0] for pair in problem.solution.split()]  # these are known not to be held out
    prompt, solution = _text(rule, given, queries)
    if not synthesis:
        steps = f" {rule.name}" if kind >= mix[0] else ""
        return f"{prompt}{WORKING}{steps}{ANSWER} {solution}"
    practice = draw_practice(rule, problem, rng, exclude=frozenset())
    while canonical(practice.prompt) in held_out:
        practice = draw_practice(rule, problem, rng, exclude=frozenset())
    return f"{prompt}{SYNTHESISE} {write_practice(practice)}"


def document_writer(
    rules: Sequence[Rule], mix: Sequence[float], held_out: Iterable[Problem]
) -> Callable[[Problem, np.random.Generator], str]:
    """`draw_document` for a pipeline: ``write(problem, rng)``.

    Args:
      rules: the rule of every family.
      mix: probabilities of a solve, a with-steps and a synthesis document.
      held_out: the problems that no document may pose.

    Raises:
      ValueError: if ``mix`` is not three probabilities.
    """
    if len(mix) != 3 or min(mix) < 0 or abs(sum(mix) - 1) > 1e-6:
        raise ValueError(
            f"task.mix = {tuple(mix)}: give three probabilities that sum to 1, of solve, with-steps and synthesis "
            "documents."
        )
    prompts = frozenset(canonical(problem.prompt) for problem in held_out)
    return lambda problem, rng: draw_document(problem, rules[problem.family], rng, mix, prompts)


def write_practice(practice: Practice) -> str:
    """What a generator writes for one practice example."""
    return f"{practice.steps}{WORKING} {practice.prompt}{ANSWER} {practice.solution}"
