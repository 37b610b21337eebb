"""Scorers by name. A module of your own adds one by `register`, before the config that names it is checked."""

from mass_jax.fields import enter
from mass_jax.mass.scorers.base import Scorer
from mass_jax.mass.scorers.linear import LINEAR
from mass_jax.mass.scorers.uniform import UNIFORM
from mass_jax.mass.scorers.verification import VERIFICATION

SCORERS: dict[str, Scorer] = {scorer.name: scorer for scorer in (UNIFORM, LINEAR, VERIFICATION)}


def register(scorer: Scorer) -> Scorer:
    """Adds a scorer, so that ``config.scorer.kind`` can name it; returns it.

    Raises:
      InputError: the name is taken, or a field has another type than it says.
    """
    return enter(SCORERS, Scorer, scorer, "a scorer")
