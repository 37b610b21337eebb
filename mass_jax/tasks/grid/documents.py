"""Texts of the domain: problems, practice, and the documents on which the base is pretrained.

    problem      b2A> b3 c1AB> d2 e4C> d3 ? a1 b3
    solve        b2A> b3 c1AB> d2 e4C> d3 ? a1 b3 : n e sw = A> a2 A> a3 B> b3
    synthesise   b2A> b3 c1AB> d2 e4C> d3 ? a1 b3 ; d5 : n e sw = C> c4 B> d4
    table        n e sw : c3B> d3 b2AC> a2 ...

A problem shows where runs of keys ended, and asks for a plan from one cell to another. A solution names what each key
does, its worked step, then the plan, with the cell after each key. Practice asks for another plan after the same runs;
it is written without them and without its goal, which is where its plan ends. A table runs keys of a named rule.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from mass_jax.tasks.base import Practice, Problem
from mass_jax.tasks.grid.rules import KEYS, PLAN, PRESSED, Rule, Shown
from mass_jax.tasks.grid.simulator import COLUMNS, ROWS, run
from mass_jax.tasks.worked import ANSWER, ASKS, SOLVE, choice, posed_document, shuffled

ALONE = (2, 1)
"""Keys that a problem shows alone, easiest first."""
RUNS = len(KEYS)
"""Runs that it shows."""
TABLE = 5
"""Runs of a table."""
_RUN = re.compile(rf"([{COLUMNS}][{ROWS}])([{KEYS}]{{1,2}})> ([{COLUMNS}][{ROWS}])")


class Query(NamedTuple):
    """What a problem asks for a plan between."""

    start: str
    goal: str


def stated(runs: Iterable[Shown]) -> str:
    """Such as ``b2A> b3 c1AB> d2``."""
    return " ".join(f"{start}{''.join(keys)}> {end}" for start, keys, end in runs)


def read_runs(text: str) -> list[Shown] | None:
    """The runs of a key or of two that a text states, or None if it is of another form."""
    runs = [Shown(start, (*keys,), end) for start, keys, end in _RUN.findall(text)]
    return runs if runs and stated(runs) == text and {shown.keys for shown in runs} <= {*PRESSED} else None


def facts(prompt: str) -> tuple[str, ...]:
    """The runs that a prompt shows."""
    return tuple(stated([shown]) for shown in read_runs(prompt.partition(ASKS)[0]) or ())


def asked(prompt: str) -> Query:
    """What a problem asks for."""
    start, goal = prompt.partition(ASKS)[2].split(" ")
    return Query(start, goal)


def canonical(prompt: str) -> str:
    """The prompt with its runs sorted."""
    shown, marked, query = prompt.partition(ASKS)
    return " ".join(sorted(facts(shown))) + marked + query


def planned(rule: Rule, start: str, keys: Sequence[str]) -> str:
    """A plan, with the cell after each key, such as ``A> a2 B> b2``."""
    return " ".join(f"{key}> {cell}" for key, cell in zip(keys, run(rule.by_key, start, keys).cells, strict=True))


def pose(rule: Rule, runs: str, query: Query) -> Practice:
    """A problem of a rule after such runs, and its solution."""
    plan = planned(rule, query.start, rule.plans[query])
    return Practice(f"{runs}{ASKS}{query.start} {query.goal}", f"{rule.name}{ANSWER} {plan}", True)


def written(practice: Practice) -> str:
    """Practice as a generator writes it: without the runs, which are the problem's, and without its goal."""
    return f"{asked(practice.prompt).start}{SOLVE} {practice.solution}"


def draw_runs(rule: Rule, rng: np.random.Generator) -> list[Shown]:
    """Runs that say what each key does: those of some keys alone, and of each other key beside one of these."""
    keys, alone = shuffled(KEYS, rng), choice(ALONE, rng)
    pressed: list[tuple[str, ...]] = [(key,) for key in keys[:alone]]
    pressed += [(*shuffled((key, choice(keys[:alone], rng)), rng),) for key in keys[alone:]]
    return shuffled([choice(rule.runs[each], rng) for each in pressed], rng)


def draw_query(rule: Rule, rng: np.random.Generator, allowed: Callable[[Query], bool]) -> Query:
    """From one cell to another, over as many keys as `PLAN` says."""
    count = choice(PLAN, rng)
    while True:
        query = Query(*choice(rule.queries[count], rng))
        if allowed(query):
            return query


def draw_posed(rule: Rule, rng: np.random.Generator) -> Practice:
    """A problem whose plan is none of the runs that it shows."""
    runs = draw_runs(rule, rng)
    ends = [Query(shown.start, shown.end) for shown in runs]
    return pose(rule, stated(runs), draw_query(rule, rng, lambda query: query not in ends))


def draw_problem(rules: Sequence[Rule], family: int, rng: np.random.Generator) -> Problem:
    """A random problem; its difficulty is the number of keys that it does *not* show alone, less the least."""
    posed = draw_posed(rules[family], rng)
    alone = sum(len(shown.keys) == 1 for shown in read_runs(posed.prompt.partition(ASKS)[0]) or ())
    return Problem(posed.prompt, posed.solution, facts(posed.prompt), ALONE[0] - alone, family)


def draw_practice(rule: Rule, prompt: str, rng: np.random.Generator, strict: bool) -> Practice:
    """Another problem after the runs of a prompt; where ``strict``, one from another cell to another goal."""
    mine = asked(prompt)

    def allowed(query: Query) -> bool:
        return query != mine and not (strict and shares(query, mine))

    return pose(rule, prompt.partition(ASKS)[0], draw_query(rule, rng, allowed))


def shares(one: Query, other: Query) -> bool:
    """Whether both begin in the same cell, or both end in the same one."""
    return one.start == other.start or one.goal == other.goal


def draw_document(
    rules: Sequence[Rule], problem: Problem, rng: np.random.Generator, kind: str, held_out: frozenset[str] = frozenset()
) -> str:
    """One pretraining document about the rule of ``problem``; see `Texts`."""
    rule = rules[problem.family]
    if kind == "table":
        runs = [choice(rule.runs[choice([*rule.runs], rng)], rng) for _ in range(TABLE)]
        return f"{rule.name}{SOLVE} {stated(runs)}"

    def draw() -> tuple[Practice, Practice]:
        posed = draw_posed(rule, rng)
        return posed, draw_practice(rule, posed.prompt, rng, strict=True)

    return posed_document(kind, draw, written, canonical, held_out)
