"""Agreement: does practice go with what its problem shows? Asked of the un-adapted model, whatever the scorer says.

The question is the domain's first check (`Task.checks`): where problems show solved examples, say, how likely these are
after the practice. It has no part that is learned with the scorer, so that a scorer that is misled does not mislead it.
"""

import numpy as np

from mass_jax.adapt import checked
from mass_jax.mass.actor import Actor
from mass_jax.mass.practice import PracticeSets

DISAGREEING = "it does not go with what the problem shows"


def surprises(actor: Actor, sets: PracticeSets) -> np.ndarray:
    """How little the first check's target is expected after every example, nats a token, float [P, M].

    0 where the domain has no checks.
    """
    if not actor.task.check_names:
        return np.zeros(np.shape(sets.arrays.valid_PxM))
    return -checked.first(actor, sets)
