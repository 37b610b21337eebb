"""Statistics over seeds and families, against brute force, closed forms and simulated coverage."""

import itertools

import numpy as np
import pytest

from mass_jax.reporting import stats
from mass_jax.reporting.crossed import interquartile_mean, spread


def test_the_bootstrap_is_that_of_all_samples():
    """Two seeds and three families of one problem: 4 times 27 samples, of which each is as likely."""
    values = np.array([[1.0, 0.0, 0.5], [0.75, 0.125, 0.25]])
    every = [
        values[np.ix_(seeds, families)].mean()
        for seeds in itertools.product(range(2), repeat=2)
        for families in itertools.product(range(3), repeat=3)
    ]
    drawn: list[np.ndarray] = []

    def kept(found: np.ndarray, count: float) -> list[float]:
        drawn.append(found)
        return [0.0, 1.0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stats, "percentiles", kept)
        found = spread([values], [7, 8, 9], resamples=40_000)
    assert found.mean == pytest.approx(values.mean())
    sampled = drawn[0]
    assert set(np.round(sampled, 9)) == set(np.round(every, 9)), "no sample that cannot be, and none is left out"
    # Moments of all samples; the standard error of a mean of 40,000 is 0.0009, of their deviation 0.0006.
    assert sampled.mean() == pytest.approx(np.mean(every), abs=0.004)
    assert sampled.std() == pytest.approx(np.std(every), abs=0.003)
    # A draw of families in every seed anew would be narrower.
    anew = [
        np.mean([values[seed, list(families)].mean() for seed, families in zip(seeds, both, strict=True)])
        for seeds in itertools.product(range(2), repeat=2)
        for both in itertools.product(itertools.product(range(3), repeat=3), repeat=2)
    ]
    assert np.std(every) > 1.1 * np.std(anew)


def test_one_seed_has_the_intervals_of_one_run():
    rng = np.random.default_rng(0)
    families, one, other = np.repeat(np.arange(40), 3), rng.integers(2, size=120), rng.integers(2, size=120)
    assert spread([[one]], families).ci95 == pytest.approx(stats.accuracy(one, families)["ci95"])
    difference = stats.paired_difference(one, other, families)
    assert spread([[one], [other]], families, np.subtract).ci95 == pytest.approx(difference["ci95"])
    assert spread([[one]], np.full(120, -1)).ci95 == pytest.approx(stats.accuracy(one, np.full(120, -1))["ci95"])
    assert spread([[one]], np.zeros(120)).ci95 is None, "one family says nothing of others"


def test_seeds_alone_have_the_interval_of_students_t():
    """Families that are all alike: what is left is the spread over seeds, mean ± t(S - 1) · s / √S."""
    rng, ratios = np.random.default_rng(1), []
    for _ in range(20):
        by_seed = rng.normal(size=12)
        found = spread([np.repeat(by_seed[:, None], 50, axis=1)], np.arange(50), resamples=2000)
        mean, interval = stats.mean_interval(by_seed)
        assert found.mean == pytest.approx(mean)
        ratios.append(np.diff(found.ci95) / np.diff(interval))
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.05), "by 50 units in place of 12 it would be 0.88"
    same = spread([np.full((3, 20), 0.5)], np.arange(20))
    assert same.ci95 == same.iqm_ci95 == (0.5, 0.5)


def test_it_covers_what_it_says():
    """Five seeds and 30 families with effects of their own, whose mean is 0."""
    rng, covered = np.random.default_rng(2), 0
    for _ in range(200):
        values = rng.normal(size=(5, 1)) + 2 * rng.normal(size=(1, 30)) + rng.normal(size=(5, 30))
        low, high = spread([values], np.arange(30), resamples=500).ci95
        covered += low <= 0 <= high
    assert 0.91 <= covered / 200 <= 1.0, covered


def test_the_interquartile_mean_forgets_a_seed_that_failed():
    values = np.tile(np.array([[0.8], [0.1], [0.81], [0.79], [0.99]]), (1, 10))
    found = spread([values], np.arange(10))
    assert found.iqm == pytest.approx(0.8) and found.mean == pytest.approx(0.698)
    assert interquartile_mean(np.array([1.0, 2.0, 9.0])) == pytest.approx(4.0), "three have no quarter to leave out"
    assert interquartile_mean(np.arange(8.0)) == pytest.approx(3.5)


def test_what_is_not_kept_does_not_count():
    values, families = np.array([[1.0, 0.0, 9.0, 0.0], [0.0, 1.0, 9.0, 9.0]]), [0, 0, 1, 2]
    kept = [[True, True, False, True], [True, True, False, True]]
    found = spread([values], families, kept=kept)
    assert found.by_seed_S.tolist() == pytest.approx([1 / 3, 10 / 3])
    without = spread([np.delete(values, 2, axis=1)], [0, 0, 2], kept=np.delete(kept, 2, axis=1))
    assert without.ci95 == found.ci95 is not None, "a family of which nothing counts is no unit"
    with pytest.raises(ValueError, match="seed 1 has no problem that counts"):
        spread([values], families, kept=[[True] * 4, [False] * 4])
