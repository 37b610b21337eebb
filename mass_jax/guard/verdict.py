"""What a guard says of an update."""

from typing import Any, Literal, NamedTuple

Outcome = Literal["accepted", "scaled", "refused"]


class Verdict(NamedTuple):
    """Of one update.

    Attributes:
      outcome: ``accepted`` as it is, ``scaled`` back, or ``refused``: then the base answers.
      reason: in a sentence; empty where it is accepted.
      norm: L2, of the adapter's change, as it is used.
      kl: KL(base || adapted) on the guard's anchors, nats a token, as it is used.
      scale: what is left of the change, 0 to 1.
      canaries: held problems that the base solves, and how many of them the adapted model still does.
    """

    outcome: Outcome
    reason: str
    norm: float
    kl: float
    scale: float
    canaries: tuple[int, int]

    def as_json(self) -> dict[str, Any]:
        """What JSON can hold of it."""
        return {
            "outcome": self.outcome,
            "reason": self.reason,
            "norm": round(float(self.norm), 6),
            "kl": round(float(self.kl), 6),
            "scale": round(float(self.scale), 6),
            "canaries": {"base": self.canaries[0], "adapted": self.canaries[1]},
        }
