"""Ridge regression on named signs, whose penalty is chosen, and whose worth is judged, on families that it never saw.

Hoerl & Kennard 1970, "Ridge Regression: Biased Estimation for Nonorthogonal Problems"; a prediction that is
cross-fitted comes from a fit without the family that it is about (Stone 1974).
"""

import dataclasses

import numpy as np

from mass_jax.errors import InputError

PENALTIES = (0.01, 0.1, 1.0, 10.0)
"""Of the squared coefficients of standardised signs, beside the mean squared error."""
FOLDS = 5
LEAST_SPREAD = 1e-6
"""A sign that varies less says nothing: its coefficient is 0."""


@dataclasses.dataclass(frozen=True)
class Regression:
    """A linear prediction.

    Attributes:
      names: of the F signs.
      coefficients: one a sign, as it is measured.
      intercept: the prediction where all signs are 0.
    """

    names: tuple[str, ...]
    coefficients: tuple[float, ...]
    intercept: float

    def __post_init__(self) -> None:
        numbers = [*self.coefficients, self.intercept]
        if len(self.coefficients) != len(self.names) or not np.all(np.isfinite(np.array(numbers, float))):
            raise InputError(
                f"a regression on {len(self.names)} signs has the numbers {numbers}: give a finite one for each, and "
                "an intercept."
            )

    def predict(self, signs: np.ndarray) -> np.ndarray:
        """Predictions [...] from signs [..., F]."""
        return np.asarray(signs, float) @ np.array(self.coefficients) + self.intercept


def fit(names: tuple[str, ...], signs_NxF: np.ndarray, values_N: np.ndarray, families_N: np.ndarray) -> Regression:
    """Least squares with the penalty whose cross-fitted predictions have the smallest squared error.

    Args:
      names: of the signs.
      signs_NxF: of N observations.
      values_N: what to predict.
      families_N: int; observations of one family are never on both sides of a fit and its test.

    Raises:
      InputError: there are fewer than two families.
    """
    folds_N = _folds(families_N)
    errors = []
    for penalty in PENALTIES:
        predicted_N = np.empty(len(values_N))
        for fold in range(folds_N.max() + 1):
            rest, tested = folds_N != fold, folds_N == fold
            predicted_N[tested] = _ridge(names, signs_NxF[rest], values_N[rest], penalty).predict(signs_NxF[tested])
        errors.append(float(np.mean((values_N - predicted_N) ** 2)))
    return _ridge(names, signs_NxF, values_N, PENALTIES[int(np.argmin(errors))])


def cross_fitted(
    names: tuple[str, ...], signs_NxF: np.ndarray, values_N: np.ndarray, families_N: np.ndarray
) -> np.ndarray:
    """Each observation's prediction by a `fit` without its family, its choice of a penalty included; float [N]."""
    folds_N, predicted_N = _folds(families_N), np.empty(len(values_N))
    for fold in range(folds_N.max() + 1):
        rest, tested = folds_N != fold, folds_N == fold
        found = fit(names, signs_NxF[rest], values_N[rest], families_N[rest])
        predicted_N[tested] = found.predict(signs_NxF[tested])
    return predicted_N


def explained(values_N: np.ndarray, predicted_N: np.ndarray) -> float:
    """The share of the values' variance that the predictions explain, R²: below 0 where the mean would do better."""
    spread = np.mean((values_N - np.mean(values_N)) ** 2)
    return float(1 - np.mean((values_N - predicted_N) ** 2) / spread) if spread else 0.0


def _ridge(names: tuple[str, ...], signs_NxF: np.ndarray, values_N: np.ndarray, penalty: float) -> Regression:
    mean, spread = signs_NxF.mean(axis=0), signs_NxF.std(axis=0)
    told = spread > LEAST_SPREAD
    scale = np.where(told, spread, 1.0)
    standard = (signs_NxF - mean) / scale * told
    covariance = standard.T @ standard / len(standard) + penalty * np.eye(len(names))
    slopes = np.linalg.solve(covariance, standard.T @ (values_N - values_N.mean()) / len(standard)) / scale
    return Regression(names, tuple(slopes.tolist()), float(values_N.mean() - mean @ slopes))


def _folds(families_N: np.ndarray) -> np.ndarray:
    """In which of at most `FOLDS` folds each observation is, int [N]: families are dealt out in a fixed order.

    Raises:
      InputError: there are fewer than two families.
    """
    families, places_N = np.unique(families_N, return_inverse=True)
    if len(families) < 2:
        raise InputError(
            f"{len(families_N)} observations are of {len(families)} family: two are needed to hold one out. Give more "
            "problems."
        )
    return np.random.default_rng(0).permutation(len(families))[places_N] % min(FOLDS, len(families))
