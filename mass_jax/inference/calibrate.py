"""A guard's calibration: anchors, canaries, and how far the model's benign updates go."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from mass_jax.errors import InputError
from mass_jax.guard import agreement, canaries
from mass_jax.guard.calibration import Calibration, fingerprint, limits
from mass_jax.guard.guard import Guard
from mass_jax.guard.thresholds import Thresholds
from mass_jax.inference.adapted import Adapted
from mass_jax.inference.adapter import MassAdapter
from mass_jax.mass.practice import pack_practice
from mass_jax.parallel.mesh import entered
from mass_jax.tasks.base import Problem

ANCHORS, CANARIES = 8, 16
LOOKED_AT = 4
"""Problems that are tried for every canary."""
LEAST = 4
"""Canaries, and benign updates."""


def calibrate(adapter: MassAdapter, problems: Sequence[Problem], updates: int = 64) -> Calibration:
    """Calibrates a guard on benign problems, which are whole and which training never saw.

    The first are anchors; canaries are the next that the un-adapted model answers right; on those behind, the model
    updates as it does, and nothing limits it.

    Args:
      adapter: the model; its own guard is left aside.
      problems: of the validation split, say.
      updates: at most so many.

    Raises:
      InputError: the model makes no updates; or there are too few problems, or too few are solved or lead to one.
    """
    learner = adapter.learner
    if learner.recipe.practice is None:
        raise InputError(f"{adapter.name} makes no updates, which a guard would be calibrated on: name another arm.")
    anchors, rest = tuple(problems[:ANCHORS]), problems[ANCHORS:]
    tried = rest[: min(len(rest) // 2, LOOKED_AT * CANARIES)]
    benign = rest[len(tried) : len(tried) + updates]
    if min(len(tried), len(benign)) < LEAST:
        raise InputError(f"{len(problems)} problems are too few to calibrate a guard on: give {ANCHORS + 2 * LEAST}.")
    with entered(learner.mesh):
        right_1xC, likelihood_1xC = canaries.asked(learner.actor, None, tried, 1)
    solved = [i for i, right in enumerate(right_1xC[0]) if right][:CANARIES]
    if len(solved) < LEAST:
        raise InputError(
            f"of {len(tried)} held problems the un-adapted model solves {len(solved)}: {LEAST} are needed as canaries. "
            "Train the base further, or give more problems."
        )
    held, likelihoods = tuple(tried[i] for i in solved), tuple(float(likelihood_1xC[0, i]) for i in solved)
    model = fingerprint((learner.actor.params, learner.eta))
    free = Calibration(Thresholds(), anchors, held, likelihoods, model)
    found = dataclasses.replace(adapter, guard=Guard(free), audit=None).adapt(benign)
    pairs = [pair for pair in zip(benign, found, strict=True) if pair[1].updated]
    verdicts = [each.verdict for _, each in pairs if each.verdict is not None]
    if len(verdicts) < LEAST:
        raise InputError(f"{len(verdicts)} of {len(benign)} problems led to an update: {LEAST} are needed. Give more.")
    graded = learner.actor.task.grade([problem for problem, _ in pairs], [each.answer for _, each in pairs])
    good = [pair for pair, verdict in zip(pairs, graded, strict=True) if verdict.correct]
    if not good:
        raise InputError(f"of {len(pairs)} updates none answers right: there is nothing to calibrate a guard by.")
    return dataclasses.replace(free, thresholds=limits(verdicts, _surprises(adapter, good)))


def _surprises(adapter: MassAdapter, pairs: Sequence[tuple[Problem, Adapted]]) -> list[float]:
    """Of the examples that count more than on average, in updates that answer right: mostly these are right, too."""
    learner = adapter.learner
    rows = [[used.practice for used in each.practice] for _, each in pairs]
    with entered(learner.mesh):
        sets = pack_practice(learner.actor, [problem for problem, _ in pairs], rows)
        surprise_PxM = agreement.surprises(learner.actor, sets)
    weight_PxM = np.array([[used.weight for used in each.practice] for _, each in pairs])
    return surprise_PxM[(weight_PxM > 0) & (weight_PxM >= weight_PxM.mean(axis=1, keepdims=True))].tolist()
