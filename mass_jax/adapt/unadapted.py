"""Answers without an update, at an update's cost: votes among sampled solutions, and practice that is read off."""

from collections import Counter
from collections.abc import Sequence

import jax
import numpy as np

from mass_jax.adapt import checked
from mass_jax.mass.actor import Actor
from mass_jax.mass.episodes import solved
from mass_jax.mass.generator import solving
from mass_jax.mass.packing import fits, pack
from mass_jax.mass.practice import PracticeSets
from mass_jax.mass.scorer import Scores
from mass_jax.tasks.base import Check, Practice, Problem, ReadsOff, StatesAnswer
from mass_jax.types import Array

VOTES = ("majority", "check")
"""By what one of several solutions is chosen."""
SAMPLED_AT = 1.0
"""The temperature of solutions that vote."""


def as_many(actor: Actor) -> int:
    """N, how many solutions take as many tokens as M practice examples and an answer."""
    lengths = actor.method.lengths
    return 1 + actor.method.generator.examples * lengths.synthesis // lengths.solution


def voted(actor: Actor, problems: Sequence[Problem], by: str, key: Array) -> list[str]:
    """One of N sampled solutions of every problem.

    Args:
      actor: the un-adapted model.
      problems: P problems.
      by: ``majority``: one of the most frequent answer (self-consistency, arXiv:2203.11171); ``check``: the one with
        the best outcome of the task's first check, mostly whether it predicts what the problem shows.
      key: PRNG key.
    """
    prompts = [actor.task.solve_prompt(problem.prompt) for problem in problems]
    texts = solved(actor, None, problems, prompts, key, solving(actor, as_many(actor), SAMPLED_AT)).texts
    if by == "check":
        return [row[i] for row, i in zip(texts, _best_checked(actor, problems, texts), strict=True)]
    task, rows = actor.task, zip(problems, texts, strict=True)
    assert isinstance(task, StatesAnswer)  # see `Recipe.possible`
    return [most_frequent(row, [task.answer_of(problem, text) for text in row]) for problem, row in rows]


def read_off(actor: Actor, problems: Sequence[Problem], practice: PracticeSets, scores: Scores) -> list[str]:
    """What the heaviest practice example says of every problem; a direct answer where all weights are 0."""
    task = actor.task
    assert isinstance(task, ReadsOff)  # see `Recipe.possible`
    weights_PxM = np.asarray(scores.weights_PxM)
    prompts = [
        task.read_off(problem, row[int(weights_M.argmax())]) if weights_M.any() else task.solve_prompt(problem.prompt)
        for problem, row, weights_M in zip(problems, practice.texts, weights_PxM, strict=True)
    ]
    spec, no_noise = solving(actor, samples=1, temperature=0.0), jax.random.key(0)
    limit = actor.method.model.context - spec.max_new_tokens
    return [row[0] for row in solved(actor, None, problems, prompts, no_noise, spec, prompt_limit=limit).texts]


def _best_checked(actor: Actor, problems: Sequence[Problem], texts: Sequence[Sequence[str]]) -> np.ndarray:
    """For every problem the solution with the best outcome of the task's first check, int [P]; one that fits."""
    task, tokenizer, length = actor.task, actor.tokenizer, actor.method.lengths.check
    checks = [
        task.checks(problem, Practice(problem.prompt, text, True))[0]
        for problem, row in zip(problems, texts, strict=True)
        for text in row
    ]
    fit = np.array([fits(tokenizer, *check, length, end=False) for check in checks])
    short = [check if fitting else Check("", "") for check, fitting in zip(checks, fit, strict=True)]
    packed = pack(tokenizer, short, length, "lengths.check", end=False)
    shape = (len(problems), len(texts[0]))
    outcomes_PxN = checked.outcomes(actor, jax.tree.map(lambda leaf: leaf.reshape(*shape, -1), packed))
    return np.where(fit.reshape(shape), outcomes_PxN, -np.inf).argmax(axis=-1)


def most_frequent(texts: Sequence[str], answers: Sequence[str]) -> str:
    """The first of the texts whose answer is the most frequent."""
    return texts[answers.index(Counter(answers).most_common(1)[0][0])]
