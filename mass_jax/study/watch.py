"""Which gradients of a training are followed, which steps are skipped, and when it gives up."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import logging

from mass_jax.mass.state import Limits
from mass_jax.quantities import Metric
from mass_jax.runtime.guard import NonFiniteError, check_finite
from mass_jax.types import PyTree

FOLLOWED = {
    "scorer": (Metric.NORM_SCORER, Metric.SKIPPED_SCORER),
    "generator": (Metric.NORM_GENERATOR, Metric.SKIPPED_GENERATOR),
}
"""Of every field of `Limits`: the gradient's norm, and whether the update was skipped."""


class Watch:
    """Which gradients are followed, what is skipped, and when to give up.

    A step counts as skipped if an update was skipped (see `mass.state.Limits`), or if a phase computed what is not
    finite. A gradient is a spike if its norm is more than ``factor`` times the median of the last ``window`` ones that
    were followed; before there are as many, none is. The state is JSON-able, so that a resumed run decides alike.
    """

    def __init__(self, factor: float, window: int, patience: int, state: Mapping[str, Any] | None = None) -> None:
        """Starts to watch, or goes on from a saved ``state``.

        Args:
          factor: above which multiple of the median a gradient's norm is a spike, more than 1.
          window: how many norms the median is of.
          patience: how many steps in a row may be skipped.
          state: as `state` returned it.

        Raises:
          ValueError: one of the numbers makes no sense.
        """
        for name, value, least in (("factor", factor, 1.0), ("window", window, 1), ("patience", patience, 0)):
            if not value >= least:
                raise ValueError(f"train.spike_{name} = {value} is too small: give {least} or more.")
        self._factor, self._window, self._patience = factor, window, patience
        self._norms: dict[str, list[float]] = {name: [] for name in Limits._fields}
        self._in_a_row = 0
        if state is not None:
            self._norms = {name: list(norms) for name, norms in state["norms"].items()}
            self._in_a_row = state["in_a_row"]
        self._found: NonFiniteError | None = None
        self._last: list[str] = []

    def limits(self) -> Limits:
        """The largest norms that the next step follows."""

        def limit(norms: list[float]) -> float:
            return self._factor * float(np.median(norms)) if len(norms) == self._window else math.inf

        return Limits(**{name: limit(norms) for name, norms in self._norms.items()})

    def check(self, step: int, phase: str, **trees: PyTree) -> None:
        """`check_finite`, remembered in place of raised."""
        try:
            check_finite(step, phase, **trees)
        except NonFiniteError as error:
            self._found = self._found or error

    def record(self, step: int, metrics: Mapping[Metric, float]) -> bool:
        """Take note of a step's norms; whether it was skipped, which a warning then tells."""
        reasons = [] if self._found is None else [str(self._found)]
        limits = self.limits()
        for name, norms in self._norms.items():
            measured, skipped = FOLLOWED[name]
            norm = metrics.get(measured)
            if metrics.get(skipped):
                limit = getattr(limits, name)
                why = f"where {limit:.4g} is the limit" if not norm <= limit else "but its update is not finite"
                reasons.append(f"{measured} = {norm:.4g}, {why}")
            elif norm:  # a norm of 0, of groups without a signal, says nothing of what is usual
                norms.append(norm)
                del norms[: -self._window]
        self._in_a_row = self._in_a_row + 1 if reasons else 0
        if reasons:
            logging.warning("Step %d was skipped (%d in a row): %s", step, self._in_a_row, "; ".join(reasons))
        self._last, self._found = reasons, None
        return bool(reasons)

    @property
    def hopeless(self) -> bool:
        """Whether more steps in a row than ``patience`` were skipped."""
        return self._in_a_row > self._patience

    def stop_if_hopeless(self) -> None:
        """Call it when the state is saved.

        Raises:
          NonFiniteError: more steps in a row than ``patience`` were skipped.
        """
        if self.hopeless:
            raise NonFiniteError(
                f"{self._in_a_row} steps in a row were skipped, more than train.spike_patience = {self._patience}; the "
                f"state before them is saved. The last one: {'; '.join(self._last)}"
            )

    def state(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {"norms": self._norms, "in_a_row": self._in_a_row}
