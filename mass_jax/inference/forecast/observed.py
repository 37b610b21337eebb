"""What updates gained on problems whose answers are known, with the signs before them; and a forecast of it."""

import dataclasses
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mass_jax.errors import InputError
from mass_jax.guard.calibration import fingerprint
from mass_jax.inference import phases
from mass_jax.inference.adapted import Adapted
from mass_jax.inference.adapter import MassAdapter
from mass_jax.inference.forecast import regression, signs
from mass_jax.inference.forecast.forecast import Forecast
from mass_jax.inference.options import Options
from mass_jax.inference.phases import Batch, Found, Told
from mass_jax.tasks.base import Problem


class Observed(NamedTuple):
    """N updates of each of P problems, each on a practice set of its own.

    Attributes:
      signs_PxNxF: `signs.OF_PRACTICE`.
      before_P: bool, whether the un-adapted model answers right.
      after_PxN: bool, whether the adapted one does; where nothing was updated, the un-adapted one.
      judged_PxN: bool, whether the grader could say both.
      families_P: int, from 0 on; a problem whose family is not known is of its own.
      adapted_NxP: everything that came of them but the adapters.
      seconds: that the signs took, of each batch.
    """

    signs_PxNxF: np.ndarray
    before_P: np.ndarray
    after_PxN: np.ndarray
    judged_PxN: np.ndarray
    families_P: np.ndarray
    adapted_NxP: list[list[Adapted]]
    seconds: list[float]

    @property
    def gains_PxN(self) -> np.ndarray:
        """Right answers, -1, 0 or 1."""
        return self.after_PxN.astype(float) - self.before_P[:, None]


def observe(adapter: MassAdapter, problems: Sequence[Problem], sets: int) -> Observed:
    """Answers problems as the tool does, by another seed for each set of each.

    Args:
      adapter: the model, with its guard; what it has of a forecast is left aside.
      problems: P problems, which are whole and which training never saw.
      sets: N.
    """
    seen, seconds = list[np.ndarray](), list[float]()

    def weigh(batch: Batch, found: Found) -> Told:
        told = phases.weigh(batch, found)
        began = time.perf_counter()
        seen.append(phases.signs_of(batch, told.found))
        seconds.append(time.perf_counter() - began)
        return told

    watched = dataclasses.replace(adapter, forecast=None, audit=None, update={**adapter.update, "weigh": weigh})
    adapted_NxP, signs_NxPxF = [], []
    for number in range(sets):
        seen.clear()
        options = [Options(seed=number * len(problems) + i) for i in range(len(problems))]
        found = watched.adapt(list(problems), options)
        adapted_NxP.append([dataclasses.replace(each, adapter=None) for each in found])  # they would fill the memory
        signs_NxPxF.append(np.concatenate(seen)[: len(problems)])  # the last batch is filled up
    grade = adapter.learner.actor.task.grade
    before = grade(problems, [each.answer_before for each in adapted_NxP[0]])
    after_NxP = [grade(problems, [each.answer for each in row]) for row in adapted_NxP]
    families_P = np.array([problem.family for problem in problems])
    own_P = families_P.max(initial=0) + 1 + np.arange(len(problems))
    judged_P = np.array([each.judged for each in before])
    return Observed(
        np.stack(signs_NxPxF, axis=1),
        np.array([each.correct for each in before]),
        np.array([[each.correct for each in row] for row in after_NxP]).T,
        np.array([[each.judged for each in row] for row in after_NxP]).T & judged_P[:, None],
        np.where(families_P < 0, own_P, families_P),
        adapted_NxP,
        seconds,
    )


def fit(adapter: MassAdapter, problems: Sequence[Problem], sets: int) -> Forecast:
    """A forecast of the model's updates.

    Args:
      adapter: as of `observe`.
      problems: likewise.
      sets: likewise.

    Raises:
      InputError: there are too few problems, or the model makes no updates.
    """
    if adapter.learner.recipe.practice is None:
        raise InputError(f"{adapter.name} makes no updates, of which there would be something to expect.")
    found = observe(adapter, problems, sets)
    each = of_answer(found), of_practice(found)
    fitted = [regression.fit(*one) for one in each]
    worth = [regression.explained(one.values_N, regression.cross_fitted(*one)) for one in each]
    learner = adapter.learner
    return Forecast(fitted[0], fitted[1], (worth[0], worth[1]), fingerprint((learner.actor.params, learner.eta)))


class Sample(NamedTuple):
    """What a `regression.fit` takes."""

    names: tuple[str, ...]
    signs_NxF: np.ndarray
    values_N: np.ndarray
    families_N: np.ndarray


def of_answer(found: Observed) -> Sample:
    """Gains by the signs of the answer before."""
    columns = [signs.OF_PRACTICE.index(name) for name in signs.OF_ANSWER]
    return _sample(signs.OF_ANSWER, found, columns)


def of_practice(found: Observed) -> Sample:
    """Gains by all signs."""
    return _sample(signs.OF_PRACTICE, found, list(range(len(signs.OF_PRACTICE))))


def _sample(names: tuple[str, ...], found: Observed, columns: list[int]) -> Sample:
    judged = found.judged_PxN
    families_PxN = np.broadcast_to(found.families_P[:, None], judged.shape)
    return Sample(names, found.signs_PxNxF[judged][:, columns], found.gains_PxN[judged], families_PxN[judged])
