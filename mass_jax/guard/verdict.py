"""What a guard says of an update."""

import math
from typing import Any, Literal, NamedTuple

Outcome = Literal["accepted", "scaled", "refused"]
ALWAYS = ("filters", "finite")
CHECKS = (*ALWAYS, "agreement", "trust region", "canaries")
"""What looks at an update; those behind `ALWAYS` need a calibration."""


class Verdict(NamedTuple):
    """Of one update.

    Attributes:
      outcome: ``accepted`` as it is, ``scaled`` back, or ``refused``: then the base answers.
      reason: in a sentence; empty where it is accepted.
      norm: L2, of the adapter's change, as it is used, or would have been; 0 of one that is not finite.
      kl: KL(base || adapted) on the guard's anchors, nats a token, likewise; None without anchors.
      scale: what is left of the change, 0 to 1.
      canaries: held problems that the base solves, and how many of them the adapted model still does.
      fall: what their references lose of their mean log-likelihood, nats a token; None without canaries.
      checks: which safeguards looked at it, of `CHECKS`.
    """

    outcome: Outcome
    reason: str
    norm: float
    kl: float | None
    scale: float
    canaries: tuple[int, int]
    fall: float | None = None
    checks: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """What JSON can hold of it."""
        return {
            "outcome": self.outcome,
            "reason": self.reason,
            "norm": _rounded(self.norm),
            "kl": _rounded(self.kl),
            "scale": round(float(self.scale), 6),
            "canaries": {"base": self.canaries[0], "adapted": self.canaries[1]},
            "fall": _rounded(self.fall),
            "checks": list(self.checks),
        }


def _rounded(value: float | None) -> float | None:
    """None also of what is not finite, which JSON cannot hold."""
    return None if value is None or not math.isfinite(value) else round(float(value), 6)
