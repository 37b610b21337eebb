"""A forecast of what updates of a model gain, kept in ``forecast.json`` of its run."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from mass_jax.errors import InputError
from mass_jax.inference.forecast.regression import Regression
from mass_jax.inference.forecast.signs import OF_ANSWER, OF_PRACTICE
from mass_jax.runtime import by_arm

FILE = "forecast.json"
COMMAND = "python -m experiments.fit_forecast --workdir={run} --arm={arm}"


@dataclasses.dataclass(frozen=True)
class Forecast:
    """Of one model: the expected gain, as a share of right answers, -1 to 1.

    Attributes:
      answer: from the signs `OF_ANSWER`, before anything is written.
      practice: from the signs `OF_PRACTICE`, before any step.
      explained: of the gains' variance, on families that a fit has not seen: by `answer`, by `practice`.
      model: `guard.calibration.fingerprint` of the model.
    """

    answer: Regression
    practice: Regression
    explained: tuple[float, float]
    model: str

    def __post_init__(self) -> None:
        for found, names in ((self.answer, OF_ANSWER), (self.practice, OF_PRACTICE)):
            if found.names != names:
                raise InputError(f"a forecast is by the signs {', '.join(found.names)}, where {', '.join(names)} are.")


def declined(expected_P: np.ndarray, least: float) -> list[str]:
    """Why each update is declined; empty where it is expected to gain at least so much."""
    return [
        "" if gain >= least else f"it is expected to gain {gain:.3f} right answers, less than the {least:g} asked for"
        for gain in np.asarray(expected_P).tolist()
    ]


def ready(run: Path) -> None:
    """Looks whether a forecast can be kept there, before it is made.

    Raises:
      InputError: the file is damaged, or cannot be written.
    """
    by_arm.ready(run / FILE, _way_out(run))


def write(run: Path, arm: str, forecast: Forecast) -> Path:
    """Keep the forecast of an arm beside those of others; returns the file."""
    return by_arm.write(run / FILE, arm, dataclasses.asdict(forecast), _way_out(run))


def read(run: Path, arm: str, model: str) -> Forecast | None:
    """The forecast of an arm; None where there is none, or it is of another model, which is said.

    Args:
      run: its directory, which is only read.
      arm: its name.
      model: `fingerprint` of what is loaded.

    Raises:
      InputError: the file is damaged, or the forecast another version's.
    """
    path = run / FILE
    if (found := by_arm.read(path, _way_out(run)).get(arm)) is None:
        return None
    again = COMMAND.format(run=run, arm=arm)
    try:
        answer, practice = (_regression(found[name]) for name in ("answer", "practice"))
        forecast = Forecast(answer, practice, tuple(found["explained"]), found["model"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"'{path}' has no forecast of {arm!r} that can be read ({error}): move it away, and fit again by {again}."
        ) from None
    if forecast.model != model:
        logging.warning(
            "'%s' is of another model than the %r of now, and left out: %s fits it again.", path, arm, again
        )
        return None
    return forecast


def _regression(found: dict[str, Any]) -> Regression:
    return Regression(tuple(found["names"]), tuple(found["coefficients"]), found["intercept"])


def _way_out(run: Path) -> str:
    return f"move it away, and fit it again by {COMMAND.format(run=run, arm='ARM')}."
