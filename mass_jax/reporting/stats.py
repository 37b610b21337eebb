"""Statistics of the tables: accuracies and paired differences with intervals, ROC curves, correlation.

All functions but `mean_interval` take flat host arrays with one entry per problem (or per practice example).

Problems of one family are not independent: a model that knows a rule solves most of its problems. Intervals therefore
take ``clusters``, the family of each problem, and then describe the spread over *families*, which is what a claim about
unseen families needs. They are wider than the intervals over problems. A problem whose family is not known (a negative
one) counts as a family of its own: where no problem has one, intervals are over problems. Of fewer than two families
nothing can be said of their spread: there is no interval, and ``ci95`` is None.
"""

from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

_Z95 = NormalDist().inv_cdf(0.975)


class Accuracy(TypedDict):
    """A share of right answers: its value, its 95 % interval if there is one, and the number of problems."""

    accuracy: float
    ci95: list[float] | None
    n: int


class Difference(TypedDict):
    """The mean of a paired difference and its 95 % interval, if there is one."""

    diff: float
    ci95: list[float] | None


def wilson_interval(share: float, n: float) -> list[float]:
    """95 % score interval of a proportion (Wilson, 1927).

    Args:
      share: the observed proportion, in [0, 1].
      n: the number of independent observations behind it.

    Returns:
      ``[low, high]``.
    """
    centre = share + _Z95**2 / (2 * n)
    spread = _Z95 * np.sqrt(share * (1 - share) / n + _Z95**2 / (4 * n**2))
    low, high = (centre - spread) / (1 + _Z95**2 / n), (centre + spread) / (1 + _Z95**2 / n)
    return [float(max(low, 0.0)), float(min(high, 1.0))]


def accuracy(correct: ArrayLike, clusters: ArrayLike | None = None, resamples: int = 10_000, seed: int = 0) -> Accuracy:
    """Share of right answers with a 95 % interval.

    Args:
      correct: one verdict per problem, boolean or in [0, 1] (a mean over samples).
      clusters: the family of each problem. Without it the interval is Wilson's; with it, a bootstrap over families.
      resamples: bootstrap samples.
      seed: of the bootstrap.

    Returns:
      A dictionary as ``results.json`` holds it.

    Raises:
      ValueError: if there is no problem, a verdict is not a number, or ``clusters`` has another length.
    """
    values = _vector(correct, "correct")
    share, n = float(values.mean()), len(values)
    if clusters is None:
        interval: list[float] | None = wilson_interval(share, n)
    elif share in (0.0, 1.0):
        # Every bootstrap sample would agree; the number of families is the cautious count of observations.
        interval = wilson_interval(share, family_count(clusters))
    else:
        interval = _bootstrap_interval(values, clusters, resamples, seed)
    return {"accuracy": share, "ci95": interval, "n": n}


def family_count(clusters: ArrayLike) -> int:
    """How many families there are; a problem whose family is not known is one of its own."""
    return int(family_numbers(clusters, len(np.asarray(clusters))).max()) + 1


def family_numbers(clusters: ArrayLike, length: int) -> NDArray[np.intp]:
    """The families renumbered 0, 1, ... without gaps, each problem of an unknown one (below 0) with its own."""
    names = np.array(clusters)
    if np.issubdtype(names.dtype, np.number):
        unknown = names < 0
        names[unknown] = -1 - np.flatnonzero(unknown)
    return _groups(names, length)


def paired_difference(
    a: ArrayLike, b: ArrayLike, clusters: ArrayLike | None = None, resamples: int = 10_000, seed: int = 0
) -> Difference:
    """Mean of ``a - b`` over the same problems, with a 95 % bootstrap interval.

    Args:
      a: one verdict per problem of the first method.
      b: of the second method, on the same problems in the same order.
      clusters: the family of each problem; the bootstrap then draws families instead of problems.
      resamples: bootstrap samples.
      seed: of the bootstrap.

    Returns:
      A dictionary as ``results.json`` holds it. Where all differences are equal the interval has no width.

    Raises:
      ValueError: if the lengths differ, there is no problem, or a verdict is not a number.
    """
    first, second = _vector(a, "a"), _vector(b, "b")
    if len(first) != len(second):
        raise ValueError(
            f"A paired difference needs the same problems on both sides, but got {len(first)} and {len(second)}."
        )
    difference = first - second
    return {"diff": float(difference.mean()), "ci95": _bootstrap_interval(difference, clusters, resamples, seed)}


def mean_interval(values: ArrayLike) -> tuple[float, list[float] | None]:
    """The mean of a few values, such as one a seed, and its 95 % interval by Student's t; None of fewer than two."""
    found = np.asarray(values, np.float64)
    mean = float(found.mean())
    if found.size < 2:
        return mean, None
    import scipy.stats  # takes as long as JAX, and who answers problems needs none of it

    half = float(scipy.stats.t.ppf(0.975, found.size - 1) * scipy.stats.sem(found))
    return mean, [mean - half, mean + half]


def roc_curve(scores: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points of the ROC curve, one per distinct score, from (0, 0) to (1, 1).

    Args:
      scores: higher means more likely positive.
      labels: boolean, True for positive.

    Returns:
      False-positive rates and true-positive rates, both increasing.

    Raises:
      ValueError: if the lengths differ or one class is missing.
    """
    values, positive = _scores_and_labels(scores, labels)
    if not 0 < positive.sum() < len(positive):
        raise ValueError(f"A ROC curve needs both classes, but all {len(positive)} labels are {bool(positive[0])}.")
    order = np.argsort(-values, kind="stable")
    last_of_tie = np.append(np.diff(values[order]) != 0, True)
    true, false = np.cumsum(positive[order])[last_of_tie], np.cumsum(~positive[order])[last_of_tie]
    return np.append(0.0, false / false[-1]), np.append(0.0, true / true[-1])


def roc_auc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Area under the ROC curve: the chance that a positive outscores a negative, ties counting half.

    Args:
      scores: higher means more likely positive.
      labels: boolean, True for positive.

    Returns:
      The area, or NaN where one class is missing.

    Raises:
      ValueError: if the lengths differ or a score is not a number.
    """
    values, positive = _scores_and_labels(scores, labels)
    if not 0 < positive.sum() < len(positive):
        return float("nan")
    false_rate, true_rate = roc_curve(values, positive)
    return float(np.trapezoid(true_rate, false_rate))


def task_aucs(scores: ArrayLike, labels: ArrayLike, task: ArrayLike) -> NDArray[np.float64]:
    """The area under the ROC curve within each task that has both classes.

    Args:
      scores: one per practice example.
      labels: one per practice example.
      task: the task that each example was written for.

    Returns:
      One area per task with both classes; empty where there is none.

    Raises:
      ValueError: if the lengths differ or a score is not a number.
    """
    values, positive = _scores_and_labels(scores, labels)
    groups = _groups(task, len(values))
    areas = np.array([roc_auc(values[groups == g], positive[groups == g]) for g in range(groups.max() + 1)])
    return areas[~np.isnan(areas)]


def within_task_auc(scores: ArrayLike, labels: ArrayLike, task: ArrayLike) -> float:
    """Mean of :func:`task_aucs`; the overall area would also reward knowing which *tasks* are easy.

    Args:
      scores: one per practice example.
      labels: one per practice example.
      task: the task that each example was written for.

    Returns:
      The mean over tasks with both classes, or NaN where there is none.

    Raises:
      ValueError: if the lengths differ or a score is not a number.
    """
    areas = task_aucs(scores, labels, task)
    return float(areas.mean()) if len(areas) else float("nan")


def correlation(x: ArrayLike, y: ArrayLike) -> float:
    """Pearson's correlation.

    Args:
      x: numbers.
      y: as many numbers.

    Returns:
      The correlation, or NaN where either side is constant.

    Raises:
      ValueError: if the lengths differ, there is nothing, or a value is not a number.
    """
    first, second = _vector(x, "x"), _vector(y, "y")
    if len(first) != len(second):
        raise ValueError(f"A correlation needs pairs, but got {len(first)} and {len(second)} values.")
    first, second = first - first.mean(), second - second.mean()
    norm = np.sqrt((first**2).sum() * (second**2).sum())
    return float((first * second).sum() / norm) if norm > 0 else float("nan")


def bootstrap_interval(
    statistic: Callable[..., NDArray[np.float64]],
    columns: Sequence[NDArray[np.float64]],
    resamples: int = 10_000,
    seed: int = 0,
) -> list[float] | None:
    """Expanded percentile interval of a function of sums.

    The plain percentile interval is too short for few observations, and families are few: the tails are therefore cut
    where Student's t, with one degree of freedom less than there are units, says (Hesterberg, 2015, "What Teachers
    Should Know About the Bootstrap").

    Args:
      statistic: of a sum a column, element by element: `np.divide` for a mean of sums and sizes.
      columns: what is summed, an entry for each of the independent units that are drawn, such as families.
      resamples: bootstrap samples.
      seed: of the bootstrap.

    Returns:
      ``[low, high]``; None of fewer than 2 units, and where the statistic of a sample is not a number.
    """
    count = len(columns[0])
    if count < 2:
        return None
    drawn = np.random.default_rng(seed).integers(count, size=(resamples, count), dtype=np.int32)
    return percentiles(statistic(*(column[drawn].sum(axis=1) for column in columns)), count)


def percentiles(found: NDArray[np.float64], count: float) -> list[float] | None:
    """The interval of bootstrap samples, of ``count`` independent units, as `bootstrap_interval` has it."""
    if not np.all(np.isfinite(found)):
        return None
    import scipy.stats  # as above

    tail = NormalDist().cdf(-np.sqrt(count / (count - 1)) * scipy.stats.t.ppf(0.975, count - 1))
    low, high = np.quantile(found, [tail, 1 - tail])
    return [float(low), float(high)]


def _bootstrap_interval(
    values: NDArray[np.float64], clusters: ArrayLike | None, resamples: int, seed: int
) -> list[float] | None:
    """`bootstrap_interval` of the mean, over families."""
    groups = np.arange(len(values)) if clusters is None else family_numbers(clusters, len(values))
    columns = [column.astype(float) for column in (np.bincount(groups, values), np.bincount(groups))]
    return bootstrap_interval(np.divide, columns, resamples, seed)


def _vector(values: ArrayLike, name: str) -> NDArray[np.float64]:
    vector = np.asarray(values, dtype=float)
    if vector.ndim != 1 or not len(vector):
        raise ValueError(f"{name} must be a flat list with at least one entry, but has shape {vector.shape}.")
    if np.isnan(vector).any():
        raise ValueError(f"{name} holds {int(np.isnan(vector).sum())} entries that are not a number: drop them first.")
    return vector


def _groups(labels: ArrayLike, length: int) -> NDArray[np.intp]:
    """The labels renumbered 0, 1, ... without gaps."""
    names = np.asarray(labels)
    if names.shape != (length,):
        raise ValueError(f"There must be one group per value, but there are {length} values and shape {names.shape}.")
    return np.unique(names, return_inverse=True)[1]


def _scores_and_labels(scores: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    values, positive = _vector(scores, "scores"), np.asarray(labels, dtype=bool)
    if positive.shape != values.shape:
        raise ValueError(f"There must be one label per score, but there are {len(positive)} and {len(values)}.")
    return values, positive
