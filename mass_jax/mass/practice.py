"""The practice of a batch of problems, as text and as arrays, whoever wrote it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from mass_jax.mass.actor import Actor
from mass_jax.mass.packing import PracticeArrays, fits, pack, solution
from mass_jax.parallel import hosts
from mass_jax.tasks.base import MALFORMED, Check, Practice, Problem
from mass_jax.types import Sequences


class PracticeSets(NamedTuple):
    """The practice of P problems.

    Attributes:
      texts: P lists of M parsed examples.
      arrays: the same on the host.
    """

    texts: list[list[Practice]]
    arrays: PracticeArrays


def fitting(actor: Actor, problem: Problem, example: Practice) -> Practice:
    """The example, or `MALFORMED` where it or a check of it is longer than ``method.lengths`` allow."""
    task, lengths = actor.task, actor.method.lengths
    if not example.well_formed:
        return MALFORMED
    written = solution(task, example.solution)
    practice = fits(actor.tokenizer, task.solve_prompt(example.prompt), written, lengths.practice)
    checks = (fits(actor.tokenizer, *check, lengths.check, end=False) for check in task.checks(problem, example))
    return example if practice and all(checks) else MALFORMED


def pack_practice(
    actor: Actor,
    problems: Sequence[Problem],
    texts: list[list[Practice]],
    written: Sequences | None = None,
) -> PracticeSets:
    """Any P lists of M examples that fit (see `fitting`), with their arrays.

    Args:
      actor: its domain and lengths.
      problems: P problems.
      texts: the examples.
      written: what a generator read and wrote; None where nobody wrote them.
    """
    tokenizer, task, lengths = actor.tokenizer, actor.task, actor.method.lengths
    shape = (len(problems), len(texts[0]))
    valid = np.array([[example.well_formed for example in row] for row in texts], bool)
    pairs = [(problem, example) for problem, row in zip(problems, texts, strict=True) for example in row]

    practice = [
        (task.solve_prompt(e.prompt), solution(task, e.solution)) if e.well_formed else ("", "") for _, e in pairs
    ]
    packed = pack(tokenizer, practice, lengths.practice, "lengths.practice")
    packed.target[~valid.reshape(-1)] = False  # a malformed example has nothing to learn, not even its end

    nothing = (Check("", ""),) * len(task.check_names)
    checks = [check for p, e in pairs for check in (task.checks(p, e) if e.well_formed else nothing)]
    asked = pack(tokenizer, checks, lengths.check, "lengths.check", end=False)
    if written is None:
        length = lengths.prompt + lengths.synthesis
        written = Sequences(np.zeros((*shape, length), np.int32), np.zeros((*shape, length), bool))
    arrays = PracticeArrays(
        written,
        Sequences(*(leaf.reshape(*shape, len(nothing), -1) for leaf in asked)),
        Sequences(*(leaf.reshape(*shape, -1) for leaf in packed)),
        valid,
    )
    return PracticeSets(texts, arrays)


def each_example(
    predicate: Callable[[Problem, Practice], bool], problems: Sequence[Problem], texts: list[list[Practice]]
) -> np.ndarray:
    """``predicate(problem, example)`` of every example, bool [P, M]."""
    return np.array(
        [[predicate(problem, example) for example in row] for problem, row in zip(problems, texts, strict=True)]
    )


def on_devices(sets: PracticeSets) -> PracticeArrays:
    """The arrays of this process's problems, on the devices as those of all processes' problems."""
    return hosts.share(sets.arrays)
