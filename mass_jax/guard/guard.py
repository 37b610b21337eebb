"""The guard of a model: filters on practice, and what becomes of an update."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mass_jax.errors import InputError
from mass_jax.guard import agreement, canaries, filters, trust_region
from mass_jax.guard.calibration import COMMAND, Calibration
from mass_jax.guard.trust_region import Anchors
from mass_jax.guard.verdict import ALWAYS, CHECKS, Verdict
from mass_jax.mass import attribution
from mass_jax.mass.actor import Actor
from mass_jax.mass.practice import PracticeSets
from mass_jax.parallel import hosts
from mass_jax.tasks.base import Problem
from mass_jax.types import PyTree, Sequences

NOT_FINITE = "the adapter is not finite"


@dataclasses.dataclass(frozen=True)
class Guard:
    """What stands between practice and update, and between update and answer.

    Attributes:
      calibration: of the model; None: practice is filtered, and what is not finite is refused, and that is all.
    """

    calibration: Calibration | None = None

    def screen(self, actor: Actor, problems: Sequence[Problem], sets: PracticeSets) -> list[list[str]]:
        """Why each example may not count, [P][M]; empty where it may."""
        found = [filters.screen(actor.task, actor.tokenizer, row) for row in sets.texts]
        if self.calibration is None:
            return found
        agreeing_PxM = agreement.surprises(actor, sets) <= self.calibration.thresholds.surprise
        rows = zip(found, agreeing_PxM.tolist(), strict=True)
        return [
            [reason or ("" if agrees else agreement.DISAGREEING) for reason, agrees in zip(*row, strict=True)]
            for row in rows
        ]

    def hold(
        self, actor: Actor, problems: Sequence[Problem], fresh: PyTree, adapters: PyTree
    ) -> tuple[PyTree, list[Verdict]]:
        """The adapters as they may be used, and a verdict on each: one that is refused is the fresh one again.

        Args:
          actor: the un-adapted model.
          problems: P problems, which are asked. None of them is its own anchor or canary.
          fresh: the adapter that all runs started from.
          adapters: where they ended, every leaf [P, ...].
        """
        finite_P = hosts.local(trust_region.finite(adapters))
        adapters = trust_region.scaled(fresh, adapters, hosts.share(finite_P.astype(np.float32)))
        if self.calibration is None:
            plain = Verdict("accepted", "", 0.0, None, 1.0, (0, 0), None, ALWAYS)
            norms_P = hosts.local(trust_region.norms(fresh, adapters))
            verdicts = [plain._replace(norm=norm) for norm in norms_P.tolist()]
        else:
            adapters, verdicts = _within(self.calibration, actor, problems, fresh, adapters)
            verdicts = _watched(self.calibration, actor, problems, adapters, verdicts)
        verdicts = [
            verdict if fine else _refused(verdict, NOT_FINITE) for verdict, fine in zip(verdicts, finite_P, strict=True)
        ]
        used_P = np.array([verdict.outcome != "refused" for verdict in verdicts], np.float32)
        return trust_region.scaled(fresh, adapters, hosts.share(used_P)), verdicts


def calibrated(guard: object, run: Path, arm: str) -> Calibration:
    """What a guard knows of its model.

    Args:
      guard: of a loaded arm.
      run: its directory, as the sentence names it.
      arm: its name.

    Raises:
      InputError: it has no calibration.
    """
    if not isinstance(guard, Guard) or guard.calibration is None:
        raise InputError(
            f"the arm {arm!r} of '{run}' has no calibrated guard: {COMMAND.format(run=run, arm=arm)} makes one."
        )
    return guard.calibration


def _within(
    calibration: Calibration, actor: Actor, problems: Sequence[Problem], fresh: PyTree, adapters: PyTree
) -> tuple[PyTree, list[Verdict]]:
    """The adapters within the trust region; refused where no part of the change is."""
    limits = calibration.thresholds
    counts_PxA = np.array([[not same(problem, each) for each in calibration.anchors] for problem in problems])
    asked = attribution.references(actor, calibration.anchors).weighed.sequences
    sequences = Sequences(*(np.asarray(leaf)[:, 0] for leaf in asked))  # one reference each
    anchors = Anchors(hosts.put(sequences), hosts.share(counts_PxA.astype(np.float32)))
    norm_P, kl_P = hosts.local(trust_region.distance(actor, fresh, adapters, anchors))
    scale_P = np.ones(len(problems), np.float32)
    # All processes go on alike.
    if beyond := bool(hosts.largest(int(np.any((norm_P > limits.norm) | (kl_P > limits.kl))))):
        scale_P = hosts.local(trust_region.scales(actor, fresh, adapters, anchors, (limits.norm, limits.kl)))
        adapters = trust_region.scaled(fresh, adapters, hosts.share(scale_P))
    before = [f"its norm is {norm:.3g}, its KL {kl:.3g} nats" for norm, kl in zip(norm_P, kl_P, strict=True)]
    if beyond:
        norm_P, kl_P = hosts.local(trust_region.distance(actor, fresh, adapters, anchors))
    verdicts = list[Verdict]()
    for told, norm, kl, scale in zip(before, norm_P.tolist(), kl_P.tolist(), scale_P.tolist(), strict=True):
        verdict = Verdict("accepted", "", norm, kl, scale, (0, 0), None, CHECKS)
        far = f"{told}, where {limits.norm:.3g} and {limits.kl:.3g} are the most"
        if scale < 1:
            verdict = verdict._replace(outcome="scaled", reason=far)
        verdicts.append(verdict if scale > 0 else _refused(verdict, far))
    return adapters, verdicts


def _watched(
    calibration: Calibration, actor: Actor, problems: Sequence[Problem], adapters: PyTree, verdicts: Sequence[Verdict]
) -> list[Verdict]:
    """The verdicts after the canaries: refused where too many are lost."""
    limits = calibration.thresholds
    counts_PxC = np.array([[not same(problem, each) for each in calibration.canaries] for problem in problems])
    right_PxC, likelihood_PxC = canaries.asked(actor, adapters, calibration.canaries, len(problems))
    fall_PxC = np.asarray(calibration.likelihoods) - likelihood_PxC
    found = []
    for verdict, counts_C, right_C, fall_C in zip(verdicts, counts_PxC, right_PxC, fall_PxC, strict=True):
        many, left = int(counts_C.sum()), int((counts_C & right_C).sum())
        fall = float(fall_C[counts_C].mean()) if many else 0.0
        verdict = verdict._replace(canaries=(many, left), fall=fall)
        if many - left > limits.lost * many:
            verdict = _refused(verdict, f"of {many} held problems that the base solves it loses {many - left}")
        elif fall > limits.fall:
            verdict = _refused(verdict, f"references of held problems are {fall:.3g} nats a token less likely")
        found.append(verdict)
    return found


def _refused(verdict: Verdict, reason: str) -> Verdict:
    return verdict._replace(outcome="refused", reason=reason, scale=0.0)


def same(problem: Problem, other: Problem) -> bool:
    """Whether two problems have the same words, in whatever order."""
    return sorted(problem.prompt.split()) == sorted(other.prompt.split())
