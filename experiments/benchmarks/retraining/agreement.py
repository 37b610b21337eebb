"""How well predicted changes agree with real ones, with intervals over problems."""

from collections.abc import Callable
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from mass_jax.reporting import stats

RANKED = 3
"""Examples that a set has at least, for its ranks to say something."""
Floats = NDArray[np.float64]


class Estimate(TypedDict):
    """A statistic and its 95 % interval over problems; None where there is nothing to compute it from."""

    value: float | None
    ci95: list[float] | None


def agreement(predicted_DxPxM: Floats, done_DxPxM: Floats, counts_PxM: NDArray[np.bool_]) -> dict[str, Estimate]:
    """How D changes of each example's weight agree with what was predicted.

    Args:
      predicted_DxPxM: changes of the outer loss by the attribution, in nats.
      done_DxPxM: what they were.
      counts_PxM: the examples that count.

    Returns:
      ``correlation``, Pearson's over all examples; ``ranks``, the mean of Spearman's within sets of three examples at
      least; ``signs``, the share of equal signs; ``slope``, how many times the predicted change the real one is, by
      least squares over all; ``nats``, the mean size of the real changes.
    """
    x, y = (np.where(counts_PxM, each, 0.0) for each in (predicted_DxPxM, done_DxPxM))
    counted = np.broadcast_to(counts_PxM, x.shape)
    n_P, x_P, y_P, xx_P, yy_P, xy_P, same_P, size_P = np.sum(
        [counted, x, y, x * x, y * y, x * y, counted & (x * y > 0), abs(y)], axis=(1, 3)
    )
    ranks_P = np.array([_ranks(x[:, p, counts], y[:, p, counts]) for p, counts in enumerate(counts_PxM)])
    known_P = np.isfinite(ranks_P)
    return {
        "correlation": _estimate(_correlation, n_P, x_P, y_P, xx_P, yy_P, xy_P),
        "ranks": _estimate(np.divide, np.where(known_P, ranks_P, 0), known_P.astype(float)),
        "signs": _estimate(np.divide, same_P, n_P),
        "slope": _estimate(_slope, n_P, x_P, y_P, xx_P, xy_P),
        "nats": _estimate(np.divide, size_P, n_P),
    }


def _ranks(x_DxM: Floats, y_DxM: Floats) -> float:
    """Spearman's correlation of a set, the mean over changes; NaN where it is too small or all is equal."""
    if x_DxM.shape[1] < RANKED:
        return float("nan")
    return float(np.mean([stats.correlation(rankdata(x), rankdata(y)) for x, y in zip(x_DxM, y_DxM, strict=True)]))


def _correlation(n: Floats, x: Floats, y: Floats, xx: Floats, yy: Floats, xy: Floats) -> Floats:
    return (xy - x * y / n) / np.sqrt((xx - x * x / n) * (yy - y * y / n))


def _slope(n: Floats, x: Floats, y: Floats, xx: Floats, xy: Floats) -> Floats:
    return (xy - x * y / n) / (xx - x * x / n)


def _estimate(statistic: Callable[..., Floats], *columns_P: Floats) -> Estimate:
    """A function of sums over problems."""
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(*(column.sum() for column in columns_P)))
        interval = stats.bootstrap_interval(statistic, columns_P)
    return {"value": value if np.isfinite(value) else None, "ci95": interval}
