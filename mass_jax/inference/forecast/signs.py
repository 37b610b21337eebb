"""Signs of what an update will gain, known before any step of it: of the answer before, of practice and its weights."""

from collections.abc import Sequence

import numpy as np

from mass_jax.adapt import checked
from mass_jax.mass.actor import Actor
from mass_jax.mass.packing import pack, solution, taken
from mass_jax.mass.practice import PracticeSets
from mass_jax.mass.scorer import Scores
from mass_jax.tasks.base import Problem
from mass_jax.types import Sequences

CONFIDENCE = "confidence"
"""The mean log-probability of the tokens of the model's own answer: maximum softmax probability, Hendrycks & Gimpel
2017, arXiv 1610.02136."""
OF_ANSWER = (CONFIDENCE,)
OF_PRACTICE = (
    CONFIDENCE,
    "counting",  # the share of examples that may count
    "logits",  # the log of the mean of exp(logit): high where the scorer finds one that is worth practising
    "picked logit",  # the mean logit, by the weights
    "evenness",  # the entropy of the weights, as a share of that of equal ones
    "gate",  # the log of the scorer's factor on the update
    "loss",  # the un-adapted model's on what may count, nats a token
    "picked loss",  # the same by the weights
)
FLOOR = 1e-6
"""Added to a gate or a sum of which the log is taken."""


def confidence(actor: Actor, problems: Sequence[Problem], answers: Sequence[str]) -> np.ndarray:
    """The mean log-probability of the tokens of every answer, its end included, by the un-adapted model; float [P]."""
    prompts, lengths = [actor.task.solve_prompt(problem.prompt) for problem in problems], actor.method.lengths
    pairs = [(prompt, solution(actor.task, answer)) for prompt, answer in zip(prompts, answers, strict=True)]
    # A text may take more tokens than the model wrote it in.
    length = max(lengths.prompt + lengths.solution, *(taken(actor.tokenizer, *pair, end=True) for pair in pairs))
    asked = pack(actor.tokenizer, pairs, length, "lengths.prompt + lengths.solution")
    return checked.outcomes(actor, Sequences(asked.tokens[:, None], asked.target[:, None]))[:, 0]


def of_answer(confidence_P: np.ndarray) -> np.ndarray:
    """The signs `OF_ANSWER`, float [P, 1]."""
    return np.asarray(confidence_P, float)[:, None]


def of_practice(
    actor: Actor, confidence_P: np.ndarray, sets: PracticeSets, counts_PxM: np.ndarray, scores: Scores
) -> np.ndarray:
    """The signs `OF_PRACTICE`, float [P, F]; finite, whatever is malformed.

    Args:
      actor: the un-adapted model.
      confidence_P: see `confidence`.
      sets: practice.
      counts_PxM: bool, which examples may count.
      scores: weights and gates, on the host.
    """
    counts, logits, weights = (
        np.asarray(each, float) for each in (counts_PxM, scores.logits_PxM, np.nan_to_num(scores.weights_PxM))
    )
    loss = -checked.outcomes(actor, sets.arrays.examples)
    equal = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    picked = weights / np.maximum(weights.sum(axis=1, keepdims=True), FLOOR)
    entropy = -(picked * np.log(np.maximum(picked, FLOOR))).sum(axis=1)
    signs = (
        np.asarray(confidence_P, float),
        counts.mean(axis=1),
        np.log((np.exp(np.clip(logits, -30, 30)) * equal).sum(axis=1) + FLOOR),
        (logits * picked).sum(axis=1),
        entropy / np.log(max(counts.shape[1], 2)),
        np.log(np.asarray(scores.gate_P, float) + FLOOR),
        (loss * equal).sum(axis=1),
        (loss * picked).sum(axis=1),
    )
    return np.nan_to_num(np.stack(signs, axis=1))
