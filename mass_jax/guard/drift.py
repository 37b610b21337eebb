"""The drift budget: how far a session may take its adapter from the base, over however many problems.

The trust region is of one update, from where it begins. Whatever was carried to there counts here, too: norm and KL to
the base, and the canaries, are those of the adapter that answers.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mass_jax.guard import trust_region
from mass_jax.guard.guard import Guard
from mass_jax.guard.verdict import Verdict
from mass_jax.mass.actor import Actor
from mass_jax.mass.practice import PracticeSets
from mass_jax.parallel import hosts
from mass_jax.tasks.base import Problem
from mass_jax.types import PyTree

CHECK = "drift"
"""In a verdict's checks: it looked at how far the session has come."""


@dataclasses.dataclass(frozen=True)
class Drift:
    """A guard whose updates begin where an earlier one has ended.

    Attributes:
      guard: of the model. Without a calibration it has no anchors and no limits: only what is finite is asked.
      start: the adapter that updates begin at.
      budget: the most that norm and KL to the base may come to, in units of what one update is allowed.
    """

    guard: Guard
    start: PyTree
    budget: float

    def screen(self, actor: Actor, problems: Sequence[Problem], sets: PracticeSets) -> list[list[str]]:
        """As `Guard.screen`."""
        return self.guard.screen(actor, problems, sets)

    def hold(
        self, actor: Actor, problems: Sequence[Problem], fresh: PyTree, adapters: PyTree
    ) -> tuple[PyTree, list[Verdict]]:
        """As `Guard.hold`: first the update's own norm, then where the adapter is, as seen from the base.

        What is beyond the budget is scaled back towards the base, along the whole way; an adapter that the canaries
        refuse is the fresh one. A verdict's norm, KL and canaries are of the whole way.
        """
        if self.guard.calibration is None:
            return self.guard.hold(actor, problems, fresh, adapters)
        limits = self.guard.calibration.thresholds
        norm_P = hosts.local(trust_region.norms(self.start, adapters))
        # What is not finite stays as it is: the guard refuses it.
        part_P = np.where(np.isfinite(norm_P), np.minimum(1, limits.norm / np.maximum(norm_P, 1e-30)), 1)
        adapters = trust_region.scaled(self.start, adapters, hosts.share(part_P.astype(np.float32)))
        wide = dataclasses.replace(limits, norm=self.budget * limits.norm, kl=self.budget * limits.kl)
        held = Guard(dataclasses.replace(self.guard.calibration, thresholds=wide))
        adapters, verdicts = held.hold(actor, problems, fresh, adapters)
        rows = zip(verdicts, norm_P.tolist(), part_P.tolist(), strict=True)
        return adapters, [_told(verdict, norm, part, limits.norm) for verdict, norm, part in rows]


def carried(fresh: PyTree, adapter: PyTree, part: float) -> PyTree:
    """An adapter with this part of its change: as it is, to the last bit, where it is 1; the fresh one where 0."""
    rows = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], adapter)
    return jax.tree.map(lambda leaf: leaf[0], trust_region.scaled(fresh, rows, np.full(1, part, np.float32)))


def _told(verdict: Verdict, norm: float, part: float, most: float) -> Verdict:
    """The verdict on the whole way, with what became of the update before that."""
    verdict = verdict._replace(checks=(*verdict.checks, CHECK))
    if part == 1 or verdict.outcome == "refused":
        return verdict
    reasons = [f"the update's norm is {norm:.3g}, where {most:.3g} is the most", verdict.reason]
    return verdict._replace(outcome="scaled", scale=verdict.scale * part, reason="; ".join(filter(None, reasons)))
