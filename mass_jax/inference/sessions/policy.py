"""What one problem of a session leaves to the next."""

import dataclasses
import math

from mass_jax.errors import InputError

MOST_KEPT = 4096
"""Examples of a buffer."""


@dataclasses.dataclass(frozen=True)
class Policy:
    """Three in one: nothing is left (the default); the adapter is carried; it is consolidated with replay.

    Attributes:
      decay: the part of the adapter's change that the next update begins with, 0 to 1: at 0 every update begins at the
        base. What n equal updates leave is at most 1 + decay + ... + decay^(n - 1) of one.
      buffer: practice examples, and solved problems, that are kept; every update is then on a mixture of its own
        practice and of as much of what was kept. 0: nothing is kept.
      drift: the guard's budget, at least 1: how far from the base the adapter may come, in norm and in KL, in units of
        what the guard allows one update.

    Raises:
      InputError: a number is out of its range.
    """

    decay: float = 0.0
    buffer: int = 0
    drift: float = 2.0

    def __post_init__(self) -> None:
        if not _is_number(self.decay) or not 0 <= self.decay <= 1:
            raise InputError(f"decay = {self.decay!r}: give a number from 0 to 1.")
        if isinstance(self.buffer, bool) or not isinstance(self.buffer, int) or not 0 <= self.buffer <= MOST_KEPT:
            raise InputError(f"buffer = {self.buffer!r}: give a whole number from 0 to {MOST_KEPT}.")
        if not _is_number(self.drift) or not 1 <= self.drift < math.inf:
            raise InputError(f"drift = {self.drift!r}: give a number of at least 1, which is what one update may.")

    @property
    def resets(self) -> bool:
        """Whether every problem begins at the base, as if it were alone."""
        return not self.decay and not self.buffer

    def __str__(self) -> str:
        """In words, for sentences."""
        if self.resets:
            return "reset each time"
        kept = f", replay of {self.buffer} examples" if self.buffer else ""
        return f"carry {self.decay:g}{kept}, drift {self.drift:g}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
