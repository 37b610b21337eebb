"""What a practice example is worth to the generator (docs/method.md, step 5): rewards by name, and their advantages.

Two are the method's own. ``attribution`` rewards a text by the outer loss of its own problem, which says little of one
text. ``scorer`` rewards it by what the scorer has learned from the attributions of all steps before: a critic, which
has a say as far as it agrees with those of this step. The others are controls or alternatives, with all else equal. A
generator that is to learn nothing is frozen by ``train.attribution_weight = 0``, together with the solver by
``generator_rate = 0``.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from mass_jax.mass.attribution import VERDICT_STD_FLOOR
from mass_jax.mass.credit import COMPLETE, LEAVE_ONE_OUT, MARGINAL, NORMALIZED
from mass_jax.mass.policy import group_normalize

TAU_STD_FLOOR = 1e-9
"""Attributions are tiny, and their scale is the inner rate's: only a spread at rounding level counts as none."""
LOGIT_SCALE = 1.0
"""A text whose logit is above its set's mean by this weighs e times as much in the update, and has most of a reward."""


class Evidence(NamedTuple):
    """What rewards are made of: rows are practice sets, and those of one problem follow one another.

    Attributes:
      credit_PxM: float, of each example; see `credit`.
      alive_P: bool, whether the outer loss carries a signal.
      outcome_P: float, how well the adapted model solves its problem.
      known_P: bool, whether that was judged.
      valid_PxM: bool, which examples are well formed.
      correct_PxM: bool, right and on the topic; privileged, None where the domain does not know.
      logits_PxM: float, what the scorer says of each example.
      noise_P: of each row its own, for rewards that are drawn.
      scale: of credits, in nats; 0 for the standard deviation of each group.
      trust: how far the scorer is believed; see `trust`.
    """

    credit_PxM: np.ndarray
    alive_P: np.ndarray
    outcome_P: np.ndarray
    known_P: np.ndarray
    valid_PxM: np.ndarray
    correct_PxM: np.ndarray | None
    logits_PxM: np.ndarray
    noise_P: Sequence[np.random.Generator]
    scale: float = 0.0
    trust: float = 0.0


class Reward(NamedTuple):
    """One reward.

    Attributes:
      of: ``of(evidence, sets)``: float [P, M], of the well formed; ``sets`` is how many a problem has.
      centred: whether advantages are to have a mean of 0; else texts are only ever imitated.
      credit: which one it reads, of `credit.KINDS`; None for none.
      compares_sets: whether it needs several sets of a problem.
      privileged: whether it needs a domain that knows which practice is right.
      scored: whether it is made of what the scorer says.
      shuffled: whether the scorer, too, learns from attributions that are permuted within each set.
    """

    of: Callable[[Evidence, int], np.ndarray]
    centred: bool = True
    credit: str | None = None
    compares_sets: bool = False
    privileged: bool = False
    scored: bool = False
    shuffled: bool = False


def _attribution(found: Evidence, sets: int) -> np.ndarray:
    """Against the other examples of each set."""
    return against(found.credit_PxM, found.valid_PxM, found.scale) * found.alive_P[:, None]


def _complete(found: Evidence, sets: int) -> np.ndarray:
    """Against all texts of a problem: that a whole set helped, or hurt, is part of a complete credit."""
    credit = np.where(found.alive_P[:, None], found.credit_PxM, 0.0)
    credit, valid = (column.reshape(-1, sets * column.shape[1]) for column in (credit, found.valid_PxM))
    return against(credit, valid, found.scale).reshape(found.valid_PxM.shape)


def _shuffled(found: Evidence, sets: int) -> np.ndarray:
    """The attributions of each set, permuted among its well-formed texts."""
    return permuted(_attribution(found, sets), found.valid_PxM, found.noise_P)


def _scorer(found: Evidence, sets: int) -> np.ndarray:
    """What the scorer makes of each text, against the other examples of its set, as far as it is believed."""
    return found.trust * against(found.logits_PxM, found.valid_PxM, LOGIT_SCALE)


def _random(found: Evidence, sets: int) -> np.ndarray:
    """Of no text at all."""
    drawn = np.stack([noise.normal(size=found.valid_PxM.shape[1]) for noise in found.noise_P]).astype(np.float32)
    return group_normalize(drawn, found.valid_PxM, VERDICT_STD_FLOOR)


def _privileged(found: Evidence, sets: int) -> np.ndarray:
    """1 for practice that is right and on the topic, else 0; z-scored among all texts of a problem."""
    assert found.correct_PxM is not None
    return _among_problem(found.correct_PxM.astype(np.float32), found.valid_PxM, sets, VERDICT_STD_FLOOR)


def _outcome(found: Evidence, sets: int) -> np.ndarray:
    """How well the set did against the other sets of its problem, for each of its texts."""
    outcome, known = (column.reshape(-1, sets) for column in (found.outcome_P, found.known_P))
    against_others = group_normalize(outcome, known, VERDICT_STD_FLOOR)
    return (against_others.reshape(-1, 1) * found.valid_PxM).astype(np.float32)


def _rejection(found: Evidence, sets: int) -> np.ndarray:
    """1 for the texts of the best set of a problem (ReST-EM), 0 for all others, and where all sets are equal."""
    outcome, known = (column.reshape(-1, sets) for column in (found.outcome_P, found.known_P))
    outcome = np.where(known, outcome, -np.inf)
    best = (outcome == outcome.max(axis=-1, keepdims=True)) & known
    # What is as good as all others that are judged is not chosen, nor is what is alone.
    best &= best.sum(axis=-1, keepdims=True) < known.sum(axis=-1, keepdims=True)
    return (best.reshape(-1, 1) & found.valid_PxM).astype(np.float32)


REWARDS: dict[str, Reward] = {
    "attribution": Reward(_attribution, credit=MARGINAL),
    "normalized": Reward(_attribution, credit=NORMALIZED),
    "leave_one_out": Reward(_attribution, credit=LEAVE_ONE_OUT),
    "complete": Reward(_complete, credit=COMPLETE),
    "scorer": Reward(_scorer, scored=True),
    "shuffled_scorer": Reward(_scorer, scored=True, shuffled=True),
    "outcome": Reward(_outcome, compares_sets=True),
    "rejection": Reward(_rejection, centred=False, compares_sets=True),
    "shuffled": Reward(_shuffled, credit=MARGINAL),
    "random": Reward(_random),
    "privileged": Reward(_privileged, privileged=True),
}


def rewards(name: str, set_weight: float, sets: int, found: Evidence) -> np.ndarray:
    """The reward ``name`` of every well-formed text, and the set's outcome with its weight; float [P, M]."""
    worth = REWARDS[name].of(found, sets)
    return worth + set_weight * _outcome(found, sets) if set_weight else worth


def trust(logits_PxM: np.ndarray, credit_PxM: np.ndarray, counts_PxM: np.ndarray) -> float:
    """How far a scorer is believed, from -1 to 1: as far as it agrees with credits that it has not learned from yet.

    Whatever a scorer has learned from, noise included, its logits rank practice by something, and a policy gradient
    would follow that. Of the covariance c of logits and credits within sets the positive part of James and Stein's
    estimator keeps 1 - v / c², where v is what c² is on average if each set's credits are permuted: next to all where
    there is a relation, and where there is none seldom anything, with another sign every time.

    Args:
      logits_PxM: float, what the scorer says.
      credit_PxM: float, what this step's outer losses say.
      counts_PxM: bool, the examples of which they say anything.
    """
    logits, credit = (_centred(np.where(counts_PxM, each, 0.0), counts_PxM) for each in (logits_PxM, credit_PxM))
    covariance = np.sum(logits * credit)
    if not covariance:
        return 0.0
    squares_P = np.sum(logits**2, axis=-1) * np.sum(credit**2, axis=-1)
    by_chance = np.sum(squares_P / np.maximum(counts_PxM.sum(axis=-1) - 1, 1))
    return float(np.sign(covariance) * max(0.0, 1 - by_chance / covariance**2))


def advantages(
    rewards_PxM: np.ndarray, valid_PxM: np.ndarray, sets: int, malformed_reward: float, centred: bool = True
) -> np.ndarray:
    """Advantages of all texts, float [P, M]; their mean over each problem's texts is 0.

    A policy gradient whose advantages have a mean below 0 pushes the policy away from whatever it writes.

    Args:
      rewards_PxM: of the well formed; rows are practice sets, those of one problem follow one another.
      valid_PxM: bool, which texts are well formed.
      sets: of each problem.
      malformed_reward: of the malformed, against a mean of 0 of the well formed.
      centred: False for rewards that are advantages as they are; the malformed then have none.
    """
    if not centred:
        return rewards_PxM * valid_PxM
    worth, valid = (column.reshape(-1, sets * column.shape[1]) for column in (rewards_PxM, valid_PxM))
    mean = np.sum(worth * valid, axis=-1, keepdims=True) / np.maximum(valid.sum(axis=-1, keepdims=True), 1)
    worth = np.where(valid, worth - mean, malformed_reward)
    return (worth - worth.mean(axis=-1, keepdims=True)).reshape(rewards_PxM.shape).astype(np.float32)


def permuted(values_PxM: np.ndarray, valid_PxM: np.ndarray, noise_P: Sequence[np.random.Generator]) -> np.ndarray:
    """The values of each set's well-formed texts in another order, which is drawn."""
    values_PxM = np.array(values_PxM)
    for row, valid, noise in zip(values_PxM, valid_PxM, noise_P, strict=True):
        row[valid] = noise.permutation(row[valid])
    return values_PxM


def against(credit: np.ndarray, valid: np.ndarray, scale: float) -> np.ndarray:
    """Credits against the mean of their group, along the last axis; the well-formed texts' mean is 0.

    Either z-scores, or tanh(credit / scale) for a scale above 0: where a model solves a problem whatever it practises,
    all credits are nearly 0, and z-scores would give their noise as much weight as what another problem's credits say.
    """
    if not scale:
        return group_normalize(credit, valid, TAU_STD_FLOOR)
    bounded = np.tanh(_centred(credit, valid) / scale)
    return _centred(bounded, valid).astype(credit.dtype)


def _centred(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Against the mean of the valid ones along the last axis; 0 for the others."""
    count = np.maximum(valid.sum(axis=-1, keepdims=True), 1)
    return (values - np.sum(values * valid, axis=-1, keepdims=True) / count) * valid


def _among_problem(values_PxM: np.ndarray, valid_PxM: np.ndarray, sets: int, floor: float) -> np.ndarray:
    """z-scores among all well-formed texts of each problem."""
    values, valid = (column.reshape(-1, sets * column.shape[1]) for column in (values_PxM, valid_PxM))
    return group_normalize(values, valid, floor).reshape(values_PxM.shape)
