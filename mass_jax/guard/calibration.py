"""What a guard knows of its model: limits from benign updates, anchors, canaries; kept in ``guard.json`` of the run."""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mass_jax.errors import InputError
from mass_jax.fields import check
from mass_jax.guard.thresholds import Thresholds
from mass_jax.guard.verdict import Verdict
from mass_jax.runtime import by_arm
from mass_jax.tasks.base import Problem
from mass_jax.types import PyTree

FILE = "guard.json"
QUANTILE, MARGIN = 0.95, 1.25
"""A limit is this quantile of benign updates, times the margin."""
LITTLE = 1e-3
"""Nats a token."""
SMALL = 2**16
"""Elements of the leaves that a model is told by."""
COMMAND = "python -m experiments.calibrate_guard --workdir={run} --arm={arm}"


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Of one model.

    Attributes:
      thresholds: of its updates.
      anchors: A problems with reference solutions.
      canaries: C problems with reference solutions, which the un-adapted model answers right.
      likelihoods: the mean log-probability of each canary's reference under the un-adapted model, nats a token.
      model: `fingerprint` of the model.

    Raises:
      InputError: there is no anchor or canary, or not one likelihood a canary; or something is of another kind.
    """

    thresholds: Thresholds
    anchors: tuple[Problem, ...]
    canaries: tuple[Problem, ...]
    likelihoods: tuple[float, ...]
    model: str

    def __post_init__(self) -> None:
        check(Calibration, self)
        if not self.anchors or not self.canaries:
            raise InputError(f"{len(self.anchors)} anchors and {len(self.canaries)} canaries: give some of each.")
        if len(self.likelihoods) != len(self.canaries) or not np.all(np.isfinite(self.likelihoods)):
            raise InputError(
                f"{len(self.canaries)} canaries have the likelihoods {self.likelihoods}: give a finite one for each."
            )


def fingerprint(tree: PyTree) -> str:
    """16 hexadecimal digits that tell a trained model from another: SHA-256 of its small leaves."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if leaf.size <= SMALL:
            digest.update(jax.tree_util.keystr(path).encode() + np.asarray(leaf).tobytes())
    return digest.hexdigest()[:16]


def limits(verdicts: Sequence[Verdict], surprises: Sequence[float]) -> Thresholds:
    """Thresholds from benign updates, which nothing limited.

    One canary more may be lost than at the quantile; and a little surprise, and a little fall, are always allowed.

    Args:
      verdicts: on the updates.
      surprises: of the examples that the scorer weighed above the average, see `agreement`.
    """

    def high(values: Sequence[float]) -> float:
        return float(np.quantile(values, QUANTILE)) * MARGIN

    canaries = max(verdict.canaries[0] for verdict in verdicts)
    lost = np.quantile([base - left for verdict in verdicts for base, left in [verdict.canaries]], QUANTILE) + 1
    return Thresholds(
        surprise=high([max(surprise, LITTLE) for surprise in surprises]),
        norm=high([verdict.norm for verdict in verdicts]),
        kl=high([verdict.kl or 0.0 for verdict in verdicts]),
        lost=min(1.0, float(lost) / canaries),
        fall=high([max(verdict.fall or 0.0, LITTLE) for verdict in verdicts]),
    )


def ready(run: Path) -> None:
    """Looks whether a calibration can be kept there, before it is made.

    Raises:
      InputError: the file is damaged, or cannot be written.
    """
    by_arm.ready(run / FILE, _way_out(run))


def write(run: Path, arm: str, calibration: Calibration) -> Path:
    """Keep the calibration of an arm beside those of others; returns the file."""
    return by_arm.write(run / FILE, arm, dataclasses.asdict(calibration), _way_out(run))


def read(run: Path, arm: str, model: str, sound: Callable[[Problem], object]) -> Calibration | None:
    """The calibration of an arm; None where there is none.

    Args:
      run: its directory, which is only read.
      arm: its name.
      model: `fingerprint` of what is loaded.
      sound: looks at each anchor and canary; an ``InputError`` where the model cannot read it.

    Raises:
      InputError: the file is damaged, or the calibration is another model's: a guard is not left out in silence.
    """
    path = run / FILE
    if (found := by_arm.read(path, _way_out(run)).get(arm)) is None:
        return None
    try:
        anchors, canaries = (tuple(_problem(each) for each in found[name]) for name in ("anchors", "canaries"))
        # A limit that is left out must not be none.
        thresholds = Thresholds(**dict.fromkeys(Thresholds.__dataclass_fields__) | found["thresholds"])
        calibration = Calibration(thresholds, anchors, canaries, tuple(found["likelihoods"]), found["model"])
        for problem in (*anchors, *canaries):
            sound(problem)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"'{path}' has no calibration of {arm!r} that can be read ({error}): {_again(run, arm)}"
        ) from None
    if calibration.model != model:
        raise InputError(f"'{path}' was calibrated on another model than the {arm!r} of now: {_again(run, arm)}")
    return calibration


def _way_out(run: Path) -> str:
    again = COMMAND.format(run=run, arm="ARM")
    return f"move it away and calibrate the guard again by {again}, or load without a guard."


def _problem(found: dict[str, Any]) -> Problem:
    problem = Problem(**{**found, "facts": tuple(found["facts"])})
    check(Problem, problem)
    return problem


def _again(run: Path, arm: str) -> str:
    return f"calibrate it again by {COMMAND.format(run=run, arm=arm)}, or load without a guard."
