"""Means over seeds and families: their bootstrap, and the interquartile mean beside them.

All seeds answer the same problems, so that families cross them: a family that is hard is hard for every seed. A sample
therefore draws seeds and, once for all of them, families (Owen, 2007, "The pigeonhole bootstrap", arXiv 0712.1111); to
draw families anew within every seed would take as many for independent as there are seeds times families. It errs to
the wide side, by at most what seeds and families have in common only together. With one seed it is the bootstrap of
`stats`, and so are its tails: cut where Student's t has the degrees of freedom that both parts of the variance have
together (Satterthwaite, 1946).

The interquartile mean over seeds leaves out the lowest and the highest quarter of them, so that one seed that failed
does not decide (Agarwal et al., 2021, arXiv 2108.13264).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mass_jax.reporting import stats

Floats = NDArray[np.float64]


class Spread(NamedTuple):
    """A statistic over seeds.

    Attributes:
      mean: over seeds.
      ci95: of the mean; None of fewer than two families, and where a sample has no value.
      iqm: the interquartile mean over seeds.
      iqm_ci95: of it.
      by_seed_S: the statistic of every seed.
    """

    mean: float
    ci95: tuple[float, float] | None
    iqm: float
    iqm_ci95: tuple[float, float] | None
    by_seed_S: Floats


def spread(
    columns: Sequence[ArrayLike],
    families: ArrayLike,
    statistic: Callable[..., Floats] = lambda mean: mean,
    kept: ArrayLike | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> Spread:
    """A statistic of means over problems, over seeds, with 95 % intervals.

    Args:
      columns: numbers [S, P], such as verdicts: of S seeds on the same P problems.
      families: of the problems, [P]; a negative one is not known, and counts as one of its own.
      statistic: of a mean a column, element by element; without it that of the only column.
      kept: bool [S, P], which problems of each seed count; all where None.
      resamples: bootstrap samples.
      seed: of the bootstrap.

    Raises:
      ValueError: no problem of a seed counts.
    """
    values = [np.asarray(column, float) for column in columns]
    counts_SxP = np.ones(values[0].shape) if kept is None else np.asarray(kept, float)
    if not counts_SxP.any(axis=1).all():
        raise ValueError(f"seed {int(np.argmin(counts_SxP.any(axis=1)))} has no problem that counts: keep some of it.")
    groups_P = stats.family_numbers(families, counts_SxP.shape[1])
    # Families of which no problem counts are no units.
    groups_P = np.unique(groups_P[counts_SxP.any(axis=0)], return_inverse=True)[1]
    values = [column[:, counts_SxP.any(axis=0)] for column in values]
    counts_SxP = counts_SxP[:, counts_SxP.any(axis=0)]
    sizes_SxF = _summed(counts_SxP, groups_P)
    sums = [_summed(column * counts_SxP, groups_P) for column in values]
    by_seed_S = statistic(*(each.sum(axis=1) / sizes_SxF.sum(axis=1) for each in sums))

    rng, (seeds, count) = np.random.default_rng(seed), sizes_SxF.shape
    drawn_RxF = rng.integers(count, size=(resamples, count), dtype=np.int32)
    times = np.bincount((drawn_RxF + count * np.arange(resamples)[:, None]).ravel(), minlength=resamples * count)
    times_RxF = times.reshape(resamples, count)
    with np.errstate(divide="ignore", invalid="ignore"):
        found_RxS = statistic(*(times_RxF @ each.T / (times_RxF @ sizes_SxF.T) for each in sums))
    chosen_RxS = np.take_along_axis(found_RxS, rng.integers(seeds, size=(resamples, seeds)), axis=1)
    units = _units(by_seed_S, found_RxS.mean(axis=1), count) if count > 1 else 1.0
    means = (float(by_seed_S.mean()), interquartile_mean(by_seed_S))
    samples = (chosen_RxS.mean(axis=1), interquartile_mean(chosen_RxS))
    intervals = [None if count < 2 else stats.percentiles(each, units) for each in samples]
    mean, iqm = (None if each is None else (each[0], each[1]) for each in intervals)
    return Spread(means[0], mean, float(means[1]), iqm, by_seed_S)


def interquartile_mean(values: Floats) -> Floats:
    """The mean of the middle half, over the last axis; of fewer than four the mean."""
    import scipy.stats  # as in stats

    return np.asarray(scipy.stats.trim_mean(values, 0.25, axis=-1))


def _summed(values_SxP: Floats, groups_P: NDArray[np.intp]) -> Floats:
    """Sums over each family, [S, F]."""
    return np.stack([np.bincount(groups_P, row) for row in values_SxP])


def _units(by_seed_S: Floats, of_families_R: Floats, families: int) -> float:
    """How many independent units an interval rests on: one more than the degrees of freedom of its variance."""
    seeds = len(by_seed_S)
    parts = [(float(of_families_R.var()), families - 1)]
    if seeds > 1:
        parts.append((float(by_seed_S.var(ddof=1)) / seeds, seeds - 1))
    total = sum(variance for variance, _ in parts)
    return 1 + (total**2 / sum(variance**2 / freedom for variance, freedom in parts) if total > 0 else families - 1)
