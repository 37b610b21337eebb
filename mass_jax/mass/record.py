"""What is recorded of an outer step: a column for every quantity, and the metrics that are made of them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from mass_jax.mass.attribution import Graded

DIAGNOSTICS = "metagrad/"
"""Prefix of the metrics that tell how far the estimator of the meta-gradient can be trusted."""


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
      rewards: float [P, M], the generator's advantages.
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
    on_family: np.ndarray | None = None
    correct: np.ndarray | None = None
    adapted: Graded | None = None
    unadapted: Graded | None = None
    signal: np.ndarray | None = None


Metric = Callable[..., Any]
METRICS: dict[str, tuple[tuple[str, ...], Metric]] = {
    "outer/loss_pre": (("loss_pre",), np.mean),
    "outer/loss_post": (("loss_post",), np.mean),
    "outer/dead_groups": (("alive",), lambda alive: 1.0 - alive.mean()),
    "synthesis/well_formed": (("valid",), np.mean),
    "synthesis/leak": (("leak",), np.mean),
    "scorer/gate": (("gate",), np.mean),
    "attribution/std": (("tau",), lambda tau: tau.std(axis=-1).mean()),
    "synthesis/on_family": (("on_family",), np.mean),
    "synthesis/correct": (("correct",), np.mean),
    "scorer/weight_on_correct": (
        ("weights", "correct"),
        lambda weights, correct: (weights * correct).sum() / max(weights.sum(), 1e-9),
    ),
    "attribution/correct_minus_wrong": (("rewards", "correct"), lambda r, c: correct_minus_wrong(r, c)),
    "outer/accuracy_post": (("adapted",), Graded.accuracy),
    "outer/not_judged": (("adapted",), Graded.not_judged),
    "solve/accuracy": (("unadapted",), Graded.accuracy),
    "solve/not_judged": (("unadapted",), Graded.not_judged),
    "solve/dead_groups": (("signal",), lambda signal: 1.0 - signal.mean()),
}
"""Name of every metric that is made of columns: which ones, and how. A step has those whose columns it has."""


def describe(columns: Columns) -> dict[str, float]:
    """The metrics of the columns that are there."""
    found: dict[str, Any] = {}
    for name, (needed, metric) in METRICS.items():
        values = [getattr(columns, column) for column in needed]
        if all(value is not None for value in values):
            found[name] = metric(*values)
    found |= {f"{DIAGNOSTICS}{name}": value.mean() for name, value in columns.diagnostics.items()}
    return floats(found)


def floats(scalars: dict[str, Any]) -> dict[str, float]:
    """Scalars of host or devices as Python's."""
    return {name: float(value) for name, value in jax.device_get(scalars).items()}


def correct_minus_wrong(rewards_PxM: np.ndarray, correct_PxM: np.ndarray) -> float:
    """Mean reward of correct examples minus that of wrong ones; 0 where one kind is absent."""
    if correct_PxM.all() or not correct_PxM.any():
        return 0.0
    return float(rewards_PxM[correct_PxM].mean() - rewards_PxM[~correct_PxM].mean())
