"""Texts of the domain: problems, practice, and the documents on which the base is pretrained.

    problem      a3 b5 c2 d9 > c 27 a7 b2 c6 d1 > c 7 a4 b8 c8 d6 > c 24 ? a6 b1 c9 d8
    seen         a3 b5 c2 d9 > c 27 a7 b2 c6 d1 > c 7 a4 b8 c8 d6 > c 24
    solve        seen : a*d c = read a > 6 read d > 8 calc 6 * 8 > 48 write c 48 > ok done
    synthesise   seen ; a*d c = read a > 5 read d > 7 calc 5 * 7 > 35 write c 35 > ok done
    table        a*d c : a2 b2 c4 d3 > c 6 a9 b1 c5 d4 > c 36 ...

A problem shows runs of a recipe, and states what is in the files now. No model reads that: it has to ask the tools. A
solution names the recipe, its worked step, then carries it out in an episode. Practice is another episode after the
same runs; what is in its files is what the tools say there. A table shows runs of a named recipe.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from mass_jax.tasks.agent import transcript
from mass_jax.tasks.agent.rules import HELD, NAMES, Rule, Run, agreeing
from mass_jax.tasks.base import Practice, Problem
from mass_jax.tasks.worked import ANSWER, ASKS, SOLVE, SYNTHESISE

EXAMPLE = "a3 b5 c2 d9 > c 27 a7 b2 c6 d1 > c 7 a4 b8 c8 d6 > c 24 ? a6 b1 c9 d8"
"""Of a problem."""
RUNS = 3
"""That a problem shows."""
TABLE = 4
"""Runs of a table."""
HARDEST = 3
"""Of the levels of difficulty."""
_FILES = re.compile(rf"[{NAMES}][{HELD.start}-{HELD[-1]}]")
_RUN = re.compile(rf"((?:{_FILES.pattern} )+)> ([{NAMES}]) ([0-9]{{1,2}})")


def stated(files: Mapping[str, int]) -> str:
    """Such as ``a3 b5``."""
    return " ".join(f"{name}{number}" for name, number in files.items())


def read_files(text: str) -> dict[str, int] | None:
    """Files and what they hold, or None if a text is of another form."""
    files = {each[0]: int(each[1]) for each in _FILES.findall(text)}
    return files if files and stated(files) == text else None


def shown(runs: Iterable[Run]) -> str:
    """Such as ``a3 b5 c2 d9 > c 27``, one after the other."""
    return " ".join(f"{stated(files)} > {name} {number}" for files, name, number in runs)


def read_runs(text: str) -> list[Run] | None:
    """The runs that a text states, all of all files, or None if it is of another form."""
    found = [(read_files(files.strip()), name, int(number)) for files, name, number in _RUN.findall(text)]
    runs = [Run(files, name, number) for files, name, number in found if files and [*files] == [*NAMES]]
    return runs if runs and shown(runs) == text else None


def seen(prompt: str) -> str:
    """What a model reads of a prompt: its runs."""
    return prompt.partition(ASKS)[0]


def facts(prompt: str) -> tuple[str, ...]:
    """The runs that a prompt shows."""
    return tuple(shown([run]) for run in read_runs(seen(prompt)) or ())


def asked(prompt: str) -> dict[str, int] | None:
    """What is in the files, or None if a prompt is of another form."""
    return read_files(prompt.partition(ASKS)[2])


def canonical(prompt: str) -> str:
    """The prompt's runs, sorted: problems that show the same are the same to a model."""
    return " ".join(sorted(facts(prompt)))


def pose(rule: Rule, runs: str, files: Mapping[str, int]) -> Practice:
    """A problem of a recipe after such runs, and its solution."""
    episode = transcript.performed(rule.calls(files), files)
    return Practice(f"{runs}{ASKS}{stated(files)}", f"{rule.name}{ANSWER} {episode}", True)


def draw_run(rule: Rule, rng: np.random.Generator) -> Run:
    """A random run of a recipe."""
    files = rule.draw_files(rng)
    made = rule.made(files)
    assert made is not None
    return Run(files, rule.target, made)


def draw_runs(rule: Rule, rng: np.random.Generator) -> list[Run]:
    """Runs that no other recipe makes."""
    while True:
        runs = [draw_run(rule, rng) for _ in range(RUNS)]
        if agreeing(runs) == (rule,):
            return runs


def draw_problem(rules: Sequence[Rule], family: int, rng: np.random.Generator) -> Problem:
    """A random problem; its difficulty is how many other recipes make its most telling run, at most `HARDEST`."""
    rule = rules[family]
    runs = draw_runs(rule, rng)
    posed = pose(rule, shown(runs), rule.draw_files(rng))
    difficulty = min(min(len(agreeing([run])) for run in runs) - 1, HARDEST)
    return Problem(posed.prompt, posed.solution, facts(posed.prompt), difficulty, family)


def draw_practice(rule: Rule, prompt: str, rng: np.random.Generator, strict: bool) -> Practice:
    """Another episode after the runs of a prompt; where ``strict``, nothing in it is as in the prompt's."""
    mine = asked(prompt) or {}
    while True:
        drawn = rule.draw_files(rng)
        files = {name: drawn[name] for name in (rule.left, rule.right)}
        if not strict or not shares(rule, files, mine):
            return pose(rule, seen(prompt), files)


def shares(rule: Rule, files: Mapping[str, int], mine: Mapping[str, int]) -> bool:
    """Whether a file holds the same in both, or a recipe makes the same of both."""
    return bool(files.items() & mine.items()) or rule.made(files) == rule.made(mine)


def draw_document(
    rules: Sequence[Rule], problem: Problem, rng: np.random.Generator, kind: str, held_out: frozenset[str] = frozenset()
) -> str:
    """One pretraining document about the recipe of ``problem``; it shows no held-out runs together; see `Texts`."""
    rule = rules[problem.family]
    if kind == "table":
        return f"{rule.name}{SOLVE} {shown(draw_run(rule, rng) for _ in range(TABLE))}"
    while canonical(runs := shown(draw_runs(rule, rng))) in held_out:
        pass
    solution = pose(rule, runs, rule.draw_files(rng)).solution
    return f"{runs}{SOLVE if kind == 'solve' else SYNTHESISE} {solution}"
