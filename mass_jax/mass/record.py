"""What is recorded of an outer step: a column for every quantity, and the metrics that are made of them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from mass_jax.mass.attribution import Graded
from mass_jax.quantities import DIAGNOSTICS, Metric

Name = TypeVar("Name", bound=str)


class Record(NamedTuple):
    """What is written down of an outer step.

    Attributes:
      metrics: those that the step has.
      diagnostics: how far the estimator of the meta-gradient can be trusted, by its own names.
    """

    metrics: dict[Metric, float]
    diagnostics: dict[str, float]

    def named(self) -> dict[str, float]:
        """All of it, by the names that are written."""
        diagnostics = {f"{DIAGNOSTICS}{name}": value for name, value in self.diagnostics.items()}
        return {str(name): value for name, value in self.metrics.items()} | diagnostics


class Columns(NamedTuple):
    """A step's quantities on the host, a row a problem (or practice set); None where the step does not have them.

    Attributes:
      loss_pre: float [P], the reference's loss before the update.
      loss_post: float [P], after it.
      tau: float [P, M], attributions.
      weights: float [P, M].
      gate: float [P].
      diagnostics: the estimator's, float [P] each.
      alive: bool [P], whether the outer loss carries a signal.
      valid: bool [P, M], well formed.
      leak: bool [P, M], the practice mentions what the problem asks for.
      rewards: float [P, M], the generator's, of the well formed; before advantages are centred.
      advantages: float [P, M], of all texts.
      trust: float [P], how far a scorer that rewards them was believed.
      on_family: bool [P, M]; privileged.
      correct: bool [P, M]; privileged.
      adapted: of the adapted model's S solutions.
      unadapted: of the un-adapted model's.
      signal: bool [P], whether these carry any.
    """

    loss_pre: np.ndarray | None = None
    loss_post: np.ndarray | None = None
    tau: np.ndarray | None = None
    weights: np.ndarray | None = None
    gate: np.ndarray | None = None
    diagnostics: dict[str, np.ndarray] = {}  # noqa: RUF012 (never changed)
    alive: np.ndarray | None = None
    valid: np.ndarray | None = None
    leak: np.ndarray | None = None
    rewards: np.ndarray | None = None
    advantages: np.ndarray | None = None
    trust: np.ndarray | None = None
    on_family: np.ndarray | None = None
    correct: np.ndarray | None = None
    adapted: Graded | None = None
    unadapted: Graded | None = None
    signal: np.ndarray | None = None


METRICS: dict[Metric, tuple[tuple[str, ...], Callable[..., Any]]] = {
    Metric.LOSS_PRE: (("loss_pre",), np.mean),
    Metric.LOSS_POST: (("loss_post",), np.mean),
    Metric.DEAD_GROUPS: (("alive",), lambda alive: 1.0 - alive.mean()),
    Metric.WELL_FORMED: (("valid",), np.mean),
    Metric.LEAK: (("leak",), np.mean),
    Metric.GATE: (("gate",), np.mean),
    Metric.ATTRIBUTION_STD: (("tau",), lambda tau: tau.std(axis=-1).mean()),
    Metric.ON_FAMILY: (("on_family",), np.mean),
    Metric.CORRECT: (("correct",), np.mean),
    Metric.WEIGHT_ON_CORRECT: (
        ("weights", "correct"),
        lambda weights, correct: (weights * correct).sum() / max(weights.sum(), 1e-9),
    ),
    Metric.CORRECT_MINUS_WRONG: (("rewards", "correct"), lambda r, c: correct_minus_wrong(r, c)),
    Metric.TRUST: (("trust",), np.mean),
    Metric.D_PRIME: (("rewards", "correct", "valid"), lambda r, c, v: within_sets(r, c, v)),
    Metric.D_PRIME_SETS: (
        ("loss_pre", "loss_post", "correct", "valid"),
        lambda pre, post, c, v: effect_size(np.broadcast_to((pre - post)[:, None], c.shape), c & v, ~c & v),
    ),
    Metric.ACCURACY_POST: (("adapted",), Graded.accuracy),
    Metric.NOT_JUDGED: (("adapted",), Graded.not_judged),
    Metric.SOLVE_ACCURACY: (("unadapted",), Graded.accuracy),
    Metric.SOLVE_NOT_JUDGED: (("unadapted",), Graded.not_judged),
    Metric.SOLVE_DEAD_GROUPS: (("signal",), lambda signal: 1.0 - signal.mean()),
}
"""Name of every metric that is made of columns: which ones, and how. A step has those whose columns it has."""


def describe(columns: Columns) -> Record:
    """What the columns that are there tell."""
    found: dict[Metric, Any] = {}
    for name, (needed, metric) in METRICS.items():
        values = [getattr(columns, column) for column in needed]
        if all(value is not None for value in values):
            found[name] = metric(*values)
    return Record(floats(found), floats({name: value.mean() for name, value in columns.diagnostics.items()}))


def floats(scalars: Mapping[Name, Any]) -> dict[Name, float]:
    """Scalars of host or devices as Python's."""
    return {name: float(value) for name, value in jax.device_get(dict(scalars)).items()}


def correct_minus_wrong(rewards_PxM: np.ndarray, correct_PxM: np.ndarray) -> float:
    """Mean reward of correct examples minus that of wrong ones; 0 where one kind is absent."""
    if correct_PxM.all() or not correct_PxM.any():
        return 0.0
    return float(rewards_PxM[correct_PxM].mean() - rewards_PxM[~correct_PxM].mean())


def effect_size(values: np.ndarray, one: np.ndarray, other: np.ndarray) -> float:
    """The difference of two groups' means over their standard deviation, d'; the variance is the mean of theirs.

    0 where a group is empty, or nothing varies.
    """
    if not one.any() or not other.any():
        return 0.0
    spread = np.sqrt((values[one].var() + values[other].var()) / 2)
    return float((values[one].mean() - values[other].mean()) / spread) if spread > 0 else 0.0


def within_sets(rewards_PxM: np.ndarray, correct_PxM: np.ndarray, valid_PxM: np.ndarray) -> float:
    """`effect_size` of rewards, each against the mean of its set: of right practice against other well-formed one."""
    count = np.maximum(valid_PxM.sum(axis=-1, keepdims=True), 1)
    against = rewards_PxM - (rewards_PxM * valid_PxM).sum(axis=-1, keepdims=True) / count
    return effect_size(against, correct_PxM & valid_PxM, ~correct_PxM & valid_PxM)
