"""What an update may learn from, and how far it may go."""

import dataclasses
import math

from mass_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """Limits of one update. The defaults limit nothing: those of a model come from its calibration.

    Attributes:
      surprise: the most that an example of practice may leave the first check surprised, nats a token, see `agreement`.
      norm: the largest L2 norm of the adapter's change.
      kl: the largest KL(base || adapted) on the anchors, nats a token.
      lost: the largest share of the canaries that may be answered wrong; the base answers all of them right.
      fall: the most that the canaries' references may lose of their mean log-likelihood, nats a token.

    Raises:
      InputError: a limit is no number of at least 0.
    """

    surprise: float = math.inf
    norm: float = math.inf
    kl: float = math.inf
    lost: float = 1.0
    fall: float = math.inf

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
                raise InputError(f"thresholds.{name} = {value!r}: give a number of at least 0.")
