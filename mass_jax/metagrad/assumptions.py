"""Tell people, once, that an approximation does not hold where they use it."""

import warnings
from collections.abc import Mapping

import numpy as np

from mass_jax.metagrad.base import Estimator
from mass_jax.types import AnyArray

_WARNED: set[Estimator] = set()


class AssumptionWarning(UserWarning):
    """An estimator's assumption is visibly broken."""


def warn_if_broken(estimator: Estimator, diagnostics: Mapping[str, AnyArray | float]) -> None:
    """Warns if the diagnostics of a result say that the estimator's assumption does not hold; once an estimator.

    To be called on the host with what ``MetaGradient.diagnostics`` held, after it has been fetched with the other
    metrics: a callback inside the compiled step would stall it.

    Args:
      estimator: the estimator, which knows its thresholds (``Estimator.assumption``).
      diagnostics: scalars, or arrays of one value a problem, of which the mean is judged. A value that is not finite
        is a broken assumption whatever it means.
    """
    if estimator in _WARNED or not diagnostics:
        return
    means = {name: float(np.mean(np.asarray(value))) for name, value in diagnostics.items()}
    broken = [f"{name} = {value}" for name, value in means.items() if not np.isfinite(value)]
    sentence = (
        f"{type(estimator).__name__}: {', '.join(broken)}, so the estimate means nothing."
        if broken
        else estimator.assumption(means)
    )
    if sentence is not None:
        _WARNED.add(estimator)
        warnings.warn(sentence, AssumptionWarning, stacklevel=2)
