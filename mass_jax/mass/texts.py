"""The host's side of an outer step: what is text, and what is made of the devices' results on the host."""

from collections.abc import Sequence
from concurrent.futures import Future
from typing import NamedTuple

import jax
import numpy as np

from mass_jax.mass import attribution
from mass_jax.mass.actor import Actor
from mass_jax.mass.attribution import Adapted, Attribution, Solutions, Weighed
from mass_jax.mass.generator import write_practice
from mass_jax.mass.objective import Experience
from mass_jax.mass.packing import PracticeArrays
from mass_jax.mass.practice import PracticeSets, each_example, on_devices
from mass_jax.mass.record import Columns
from mass_jax.mass.rewards import REWARDS, Evidence, advantages, permuted, rewards, trust
from mass_jax.mass.scorer import Scores
from mass_jax.mass.state import OuterConfig
from mass_jax.parallel import hosts
from mass_jax.tasks.base import KnowsFamily, Problem
from mass_jax.types import Array, Params, PyTree, Sequences


class Practised(NamedTuple):
    """Practice that was written for a step's problems.

    Attributes:
      sets: as text and on the host.
      log_probs_PxM: float, of each text when it was sampled.
      arrays: on the devices.
    """

    sets: PracticeSets
    log_probs_PxM: np.ndarray
    arrays: PracticeArrays


class Worked(NamedTuple):
    """What came of some of a step's problems.

    Attributes:
      problems: each as often as it has practice sets.
      practised: their practice; None without.
      adapted: and the models that were adapted to it.
      losses: the references' before and after the update, [P] each.
      solutions: what the outer loss weighs.
      attribution: of the practice.
      credit: of the practice, [P, M], where it is not minus its attribution; see `credit`.
      scorer_gradient: these problems' share of it.
      attempts: the un-adapted model's, with their log-probabilities; None where they are not asked for.
      places_P: int, of each row among all processes' rows of the step.
    """

    problems: Sequence[Problem]
    practised: Practised | None = None
    adapted: Adapted | None = None
    losses: tuple[Array, Array] | None = None
    solutions: Solutions | None = None
    attribution: Attribution | None = None
    credit: Array | None = None
    scorer_gradient: Params | None = None
    attempts: tuple[Solutions, np.ndarray] | None = None
    places_P: np.ndarray | None = None


class Texts:
    """What a step asks the host for. `planning.lower` has another one, of shapes only."""

    def write(self, actor: Actor, problems: Sequence[Problem], key: Array, places_P: np.ndarray) -> Practised:
        """Practice of every problem."""
        sets, log_probs = write_practice(actor, problems, key, places_P)
        return Practised(sets, log_probs, on_devices(sets))

    def references(self, actor: Actor, problems: Sequence[Problem]) -> Solutions:
        """The problems' own solutions."""
        return attribution.references(actor, problems)

    def siblings(
        self, actor: Actor, problems: Sequence[Problem], count: int, key: Array, places_P: np.ndarray
    ) -> Weighed:
        """The problems' own solutions, and those of ``count`` others of the family of each; all weigh the same."""
        return attribution.siblings(actor, problems, count, _noise(key, places_P))

    def permuted(self, result: Attribution, practised: Practised, key: Array, places_P: np.ndarray) -> Attribution:
        """The attributions of each set in another order, among its well-formed texts; none of the gate.

        What the gate says of a set would tell the scorer which of its examples to weigh.
        """
        (tau, dgate), valid = hosts.local((result.tau_PxM, result.dgate_P)), practised.sets.arrays.valid_PxM
        tau = permuted(tau, np.asarray(valid), _noise(key, places_P))
        return result._replace(**hosts.share({"tau_PxM": tau, "dgate_P": np.zeros_like(dgate)}))

    def attempts(
        self, actor: Actor, adapters: PyTree, problems: Sequence[Problem], key: Array, samples: int, places: np.ndarray
    ) -> Future[tuple[Solutions, np.ndarray]]:
        """Sampled solutions, graded in the background."""
        return attribution.attempts(actor, adapters, problems, key, samples, places)

    def share(self, weighed: Weighed) -> Weighed:
        """Solutions on the devices."""
        return hosts.share(weighed)


def _noise(key: Array, places_P: np.ndarray) -> list[np.random.Generator]:
    """Of each row its own, whatever process has it."""
    seed = np.asarray(jax.random.key_data(key)).tolist()
    return [np.random.default_rng([*seed, place]) for place in places_P.tolist()]


def columns(actor: Actor, config: OuterConfig, worked: Worked, step: int) -> tuple[Columns, Evidence | None]:
    """What is recorded of the problems, and of their practice what rewards are made of; the devices are waited for."""
    found, evidence = Columns(), None
    if worked.practised is not None:
        assert worked.adapted and worked.losses and worked.attribution and worked.solutions
        solutions, valid = worked.solutions, np.asarray(worked.practised.sets.arrays.valid_PxM)
        told = hosts.local((worked.losses, worked.attribution, worked.adapted.scores, worked.credit))
        (before, after), result, scores, credit = told
        alive = np.any(solutions.weighed.coefficients != 0, axis=-1)
        texts = worked.practised.sets.texts
        found = Columns(
            loss_pre=before,
            loss_post=after,
            tau=result.tau_PxM,
            weights=scores.weights_PxM,
            gate=scores.gate_P,
            diagnostics=result.diagnostics,
            alive=alive,
            valid=valid,
            leak=each_example(actor.task.leaks, worked.problems, texts),
            adapted=solutions.graded,
        )
        if isinstance(actor.task, KnowsFamily):
            found = found._replace(
                on_family=each_example(actor.task.is_on_family, worked.problems, texts),
                correct=each_example(actor.task.is_correct, worked.problems, texts),
            )
        evidence = _evidence(worked, found, result, scores, credit, step, config.credit_scale)
    if worked.attempts is not None:
        solutions = worked.attempts[0]
        signal = np.any(solutions.weighed.coefficients != 0, axis=-1)
        found = found._replace(unadapted=solutions.graded, signal=signal)
    return found, evidence


def rewarded(config: OuterConfig, parts: Sequence[tuple[Columns, Evidence | None]]) -> list[Columns]:
    """The columns of all parts of a step, with rewards and advantages of their practice.

    How far a scorer is believed is said by all problems of the step, whichever part or process has them.
    """
    kind, found = REWARDS[config.reward], []
    trusted = _trust([evidence for _, evidence in parts if evidence is not None]) if kind.scored else None
    for column, evidence in parts:
        if evidence is not None:
            if trusted is not None:
                evidence = evidence._replace(trust=trusted)
                column = column._replace(trust=np.full(len(evidence.valid_PxM), trusted))
            worth = rewards(config.reward, config.set_weight, config.sets, evidence)
            valid, malformed = evidence.valid_PxM, config.malformed_reward
            against_mean = advantages(worth, valid, config.sets, malformed, kind.centred)
            column = column._replace(rewards=worth, advantages=against_mean)
        found.append(column)
    return found


def _evidence(
    worked: Worked,
    found: Columns,
    result: Attribution,
    scores: Scores,
    credit: np.ndarray | None,
    step: int,
    scale: float,
) -> Evidence:
    """What rewards are made of; ``result``, ``scores`` and ``credit`` are on the host."""
    graded, places = found.adapted, worked.places_P
    assert places is not None and found.alive is not None and found.valid is not None
    return Evidence(
        -np.asarray(result.tau_PxM) if credit is None else credit,
        found.alive,
        -np.asarray(result.loss_P) if graded is None else graded.share_P(),
        np.ones(len(places), bool) if graded is None else np.any(graded.judged_PxS, axis=-1),
        found.valid,
        found.correct,
        np.asarray(scores.logits_PxM),
        [np.random.default_rng([step, place]) for place in places.tolist()],
        scale,
    )


def _trust(found: Sequence[Evidence]) -> float | None:
    """How far the scorer is believed; None without practice."""
    parts = [(each.logits_PxM, each.credit_PxM, each.valid_PxM & each.alive_P[:, None]) for each in found]
    return trust(*hosts.whole(tuple(map(np.concatenate, zip(*parts, strict=True))))) if parts else None


def experience(config: OuterConfig, worked: Worked) -> tuple[tuple[Sequences, np.ndarray] | None, Experience | None]:
    """What the model's policy gradient is made of: practice, of which the advantages are still to come, and attempts.

    Practice is told by its texts, and their log-probabilities when they were sampled.
    """
    practice = attempts = None
    if worked.practised is not None and config.attribution_weight:
        practice = worked.practised.sets.arrays.written, worked.practised.log_probs_PxM
    if worked.attempts is not None:
        solutions, log_probs = worked.attempts
        # A coefficient is A / S; the objective averages over problems and samples, so S comes back.
        advantages = config.solve_weight * solutions.weighed.coefficients * config.solutions
        attempts = Experience(solutions.weighed.sequences, log_probs, advantages)
    return practice, attempts
