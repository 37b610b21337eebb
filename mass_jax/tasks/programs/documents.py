"""Texts of the domain: problems, practice, and the documents on which the base is pretrained.

    problem      acb> abc bca> bac cdc> ccd ? bcd dcd
    solve        acb> abc bca> bac cdc> ccd ? bcd dcd : reverse right = bcd> bdc dcd> ddc
    synthesise   acb> abc bca> bac cdc> ccd ? bcd dcd ; cdc> ccd acb> abc bca> bac ? aab caa : reverse right = ...
    table        reverse right : dab> dba cca> cac abb> abb ...

A problem shows runs of a hidden program, each an input and its output, and asks for two more outputs. A solution names
a program, its worked step, then what that makes of the inputs that were asked. A synthesis document writes another
problem with its solution: some of the same runs, other inputs. A table runs a named program.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from mass_jax.tasks.base import Practice, Problem
from mass_jax.tasks.programs.rules import STRINGS, Rule
from mass_jax.tasks.worked import ANSWER, ASKS, SOLVE, choice, posed_document, shuffled, solved

GIVEN = (3, 4, 5)
"""Runs that a problem shows, hardest first."""
QUERIES = 2
TABLE = 8
"""Runs of a table."""

Run = tuple[str, str]
"""An input and its output."""


def stated(runs: Iterable[Run]) -> str:
    """Such as ``abc> bca dab> abd``."""
    return " ".join(f"{text}> {output}" for text, output in runs)


def read_runs(text: str) -> list[Run] | None:
    """The runs that a text states, or None if it is of another form."""
    words = text.split(" ")
    inputs, outputs = words[::2], words[1::2]
    if len(words) % 2 or not {word[:-1] for word in inputs} | {*outputs} <= _KNOWN:
        return None
    return (
        list(zip([word[:-1] for word in inputs], outputs, strict=True)) if all(w[-1] == ">" for w in inputs) else None
    )


_KNOWN = frozenset(STRINGS)


def pose(rule: Rule, given: Iterable[str], queries: Sequence[str]) -> Practice:
    """A problem about a program and its solution."""
    runs = rule.outputs
    prompt = f"{stated((x, runs[x]) for x in given)}{ASKS}{' '.join(queries)}"
    return Practice(prompt, f"{rule.name}{ANSWER} {stated((x, runs[x]) for x in queries)}", True)


def facts(prompt: str) -> tuple[str, ...]:
    """The runs that a prompt shows."""
    words = prompt.partition(ASKS)[0].split()
    return tuple(map(" ".join, zip(words[::2], words[1::2], strict=False)))


def asked(prompt: str) -> frozenset[str]:
    """The inputs that a prompt asks about."""
    return frozenset(prompt.partition(ASKS)[2].split())


def canonical(prompt: str) -> str:
    """The prompt with its runs and its queries sorted."""
    return f"{' '.join(sorted(facts(prompt)))}{ASKS}{' '.join(sorted(asked(prompt)))}"


def _single(rules: Sequence[Rule], rule: Rule, given: Sequence[str], queries: Sequence[str]) -> bool:
    """Whether all programs that agree on what is given agree on what is asked."""
    wanted = rule.outputs
    for other in rules:
        found = other.outputs
        if all(found[x] == wanted[x] for x in given) and any(found[x] != wanted[x] for x in queries):
            return False
    return True


def _posed(rules: Sequence[Rule], rule: Rule, given: Sequence[str] | None, rng: np.random.Generator) -> Practice:
    """A problem with one answer, which shows ``given`` or, where that is None, what is drawn."""
    count = choice(GIVEN, rng)
    while True:
        drawn = shuffled(STRINGS, rng)
        shown = drawn[:count] if given is None else shuffled(given, rng)
        queries = [x for x in drawn if x not in shown][:QUERIES]
        if _single(rules, rule, shown, queries):
            return pose(rule, shown, queries)


def draw_problem(rules: Sequence[Rule], family: int, rng: np.random.Generator) -> Problem:
    """A random problem with one answer; its difficulty is the number of runs that it does *not* show, of the most."""
    posed = _posed(rules, rules[family], None, rng)
    shown = facts(posed.prompt)
    return Problem(posed.prompt, posed.solution, shown, GIVEN[-1] - len(shown), family)


def draw_practice(rule: Rule, given: Sequence[str], rng: np.random.Generator, exclude: Iterable[str]) -> Practice:
    """Right practice that shows some of ``given``; the inputs of ``exclude`` occur nowhere in it."""
    shown = shuffled((x for x in given if x not in exclude), rng)
    shown = shown[: choice([count for count in GIVEN if count <= len(shown)], rng)]
    queries = [x for x in shuffled(STRINGS, rng) if x not in shown and x not in exclude][:QUERIES]
    return pose(rule, shown, queries)


def inputs(runs: Iterable[str]) -> list[str]:
    """Of runs as they are written."""
    return [run.partition(">")[0] for run in runs]


def draw_document(
    rules: Sequence[Rule], problem: Problem, rng: np.random.Generator, kind: str, held_out: frozenset[str] = frozenset()
) -> str:
    """One pretraining document about what ``problem`` shows, in a new order and with new queries; see `Texts`."""
    rule = rules[problem.family]
    if kind == "table":
        return f"{rule.name}{SOLVE} {stated((x, rule.outputs[x]) for x in shuffled(STRINGS, rng)[:TABLE])}"
    shown = inputs(problem.facts)

    def draw() -> tuple[Practice, Practice]:
        return _posed(rules, rule, shown, rng), draw_practice(rule, shown, rng, ())

    return posed_document(kind, draw, solved, canonical, held_out)
