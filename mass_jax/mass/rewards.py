"""What a practice example is worth to the generator (docs/method.md, step 5)."""

import numpy as np

from mass_jax.mass import policy
from mass_jax.mass.attribution import VERDICT_STD_FLOOR, Graded
from mass_jax.mass.state import OuterConfig

TAU_STD_FLOOR = 1e-9
"""Attributions are tiny, and their scale is the inner rate's: only a spread at rounding level counts as none."""


def example_rewards(
    config: OuterConfig,
    loss_P: np.ndarray,
    tau_PxM: np.ndarray,
    graded: Graded | None,
    valid_PxM: np.ndarray,
    alive_P: np.ndarray,
) -> np.ndarray:
    """Advantage of every example, float [P, M]: z-scored -tau, plus the set's outcome; dead groups get none.

    Args:
      config: weighs the two, and says what a malformed text gets.
      loss_P: the outer loss after each set; sets of one problem follow one another.
      tau_PxM: attributions.
      graded: the solutions that were sampled after each set; None where the outer loss is the reference's.
      valid_PxM: bool, which examples are well formed.
      alive_P: bool, which problems carry a signal.
    """
    rewards = policy.group_normalize(-tau_PxM, valid_PxM, TAU_STD_FLOOR)
    if config.set_weight:
        outcome_P = -loss_P if graded is None else graded.share_P()
        known_P = np.ones(len(loss_P), bool) if graded is None else np.any(graded.judged_PxS, axis=-1)
        outcome, known = (column.reshape(-1, config.sets) for column in (outcome_P, known_P))
        against_others = policy.group_normalize(outcome, known, VERDICT_STD_FLOOR)
        rewards = rewards + config.set_weight * against_others.reshape(-1, 1) * valid_PxM
    return np.where(valid_PxM, np.where(alive_P[:, None], rewards, 0.0), config.malformed_advantage)
