"""What is asked beside a problem: whether to adapt, on how much practice, within which budget, by which seed."""

import dataclasses
import math
from typing import Any

from mass_jax.errors import InputError
from mass_jax.fields import MOST

MOST_VOTES, MOST_EXAMPLES, MOST_STEPS, MOST_SETS = 64, 64, 16, 8
"""The most that one request may ask for, so that none keeps others waiting. A model's own M and K are its own."""
MOST_BATCH = 1024
"""Problems that are adapted at once, each with an adapter of its own."""


@dataclasses.dataclass(frozen=True)
class Options:
    """How one problem is answered. All of it is deterministic by the seed, unless a budget of seconds runs out.

    Attributes:
      update: adapt before the answer; False: answer at once.
      seed: of what is sampled, practice and votes. Equal seeds give a problem equal answers, whatever it is asked with.
      votes: solutions that are sampled, of which one with the most frequent answer is given; 1: a greedy one. At most
        `MOST_VOTES`.
      examples: M, practice examples, at most `MOST_EXAMPLES`; None for as many as the model was trained with.
      steps: K, inner steps, at most `MOST_STEPS`; None likewise.
      seconds: after which nothing more is begun but the answer; None for no limit.
      tokens: the most that may be written or learned from, see `budget.tokens`; None for no limit.
      sets: practice sets that are written, at most `MOST_SETS`; the most promising one is practised on, by the scorer's
        gate, or by a forecast where it has none.
      least_gain: an update is made where it is expected to gain at least this, a share of right answers from -1 to 1;
        else it is declined, as soon as that is known. None: none is. Needs a forecast, see `forecast`.

    Raises:
      InputError: a number is out of its range.
    """

    update: bool = True
    seed: int = 0
    votes: int = 1
    examples: int | None = None
    steps: int | None = None
    seconds: float | None = None
    tokens: int | None = None
    sets: int = 1
    least_gain: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.update, bool):
            raise InputError(f"update = {self.update!r}: give true or false.")
        for name, least, most, optional in _WHOLE:
            value = getattr(self, name)
            if value is None and optional:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise InputError(f"{name} = {value!r}: give a whole number from {least} to {most}.")
        if self.votes == 2:
            raise InputError("votes = 2: two that differ decide nothing. Give 1, or 3 or more.")
        if self.seconds is not None and not _is_duration(self.seconds):
            raise InputError(f"seconds = {self.seconds!r}: give a finite number above 0.")
        if self.least_gain is not None and not (_is_number(self.least_gain) and -1 <= self.least_gain <= 1):
            raise InputError(f"least_gain = {self.least_gain!r}: give a number from -1 to 1.")


_WHOLE = (
    ("seed", 0, MOST, False),
    ("votes", 1, MOST_VOTES, False),
    ("examples", 1, MOST_EXAMPLES, True),
    ("steps", 1, MOST_STEPS, True),
    ("tokens", 0, MOST, True),
    ("sets", 1, MOST_SETS, False),
)


def _is_duration(value: Any) -> bool:
    return _is_number(value) and 0 < value < math.inf


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
