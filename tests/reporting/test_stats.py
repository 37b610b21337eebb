"""The statistics of the tables, against closed cases, SciPy where it is at hand, and simulated coverage."""

from functools import partial

import numpy as np
import pytest

from mass_jax.reporting import stats


def test_wilson_interval_matches_a_published_value():
    # Newcombe (1998), table I: 81 of 263 and 0 of 20.
    np.testing.assert_allclose(stats.wilson_interval(81 / 263, 263), [0.2553, 0.3662], atol=5e-5)
    np.testing.assert_allclose(stats.wilson_interval(0.0, 20), [0.0, 0.1611], atol=5e-5)


def test_mean_interval_matches_a_published_value():
    # Student (1908), the table of additional hours of sleep: 0.75 hours of ten patients by the first drug.
    mean, interval = stats.mean_interval([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0])
    assert mean == pytest.approx(0.75)
    np.testing.assert_allclose(interval, [-0.5298, 2.0298], atol=5e-5)
    assert stats.mean_interval([4.0]) == (4.0, None)


def test_accuracy_counts():
    result = stats.accuracy([True, False, True, True])
    assert result["accuracy"] == 0.75 and result["n"] == 4
    assert result["ci95"][0] < 0.75 < result["ci95"][1]


def test_one_family_more_or_less_matters_more_than_one_problem():
    families = np.repeat(np.arange(10), 30)
    correct = families < 5
    by_problem, by_family = stats.accuracy(correct), stats.accuracy(correct, clusters=families)
    assert by_problem["accuracy"] == by_family["accuracy"] == 0.5
    width = np.diff(by_family["ci95"])[0]
    assert width > 4 * np.diff(by_problem["ci95"])[0]
    # The closed form for ten families that are all right or all wrong: mean ± t(9) · s / √10.
    np.testing.assert_allclose(width, 2 * 2.262 * np.std(np.arange(10) < 5, ddof=1) / np.sqrt(10), rtol=0.08)


def test_all_right_still_has_an_interval():
    families = np.repeat(np.arange(12), 5)
    assert stats.accuracy(np.ones(60), clusters=families)["ci95"] == stats.wilson_interval(1.0, 12)


def test_a_function_of_sums_has_the_interval_of_its_linearisation():
    rng = np.random.default_rng(0)
    sizes = rng.uniform(1, 3, 150)
    sums = 2 * sizes + rng.normal(size=150)
    low, high = stats.bootstrap_interval(np.divide, (sums, sizes))
    ratio = sums.sum() / sizes.sum()
    error = np.std(sums - ratio * sizes, ddof=1) / (np.sqrt(150) * sizes.mean())
    assert low < ratio < high
    np.testing.assert_allclose(high - low, 2 * 1.976 * error, rtol=0.05)
    assert stats.bootstrap_interval(np.divide, (sums[:1], sizes[:1])) is None
    with np.errstate(invalid="ignore"):
        assert stats.bootstrap_interval(np.divide, (0 * sums, 0 * sizes)) is None


def test_paired_difference_uses_the_pairing():
    rng = np.random.default_rng(0)
    b = rng.random(400) < 0.5
    a = b | (rng.random(400) < 0.1)
    result = stats.paired_difference(a, b)
    np.testing.assert_allclose(result["diff"], np.mean(a) - np.mean(b), rtol=1e-12)
    error = np.std(a.astype(float) - b, ddof=1) / 20
    np.testing.assert_allclose(np.diff(result["ci95"])[0], 2 * 1.96 * error, rtol=0.1)
    unpaired = 2 * 1.96 * np.sqrt(2 * 0.25 / 400)
    assert np.diff(result["ci95"])[0] < 0.6 * unpaired


def test_paired_difference_is_antisymmetric_and_seeded():
    rng = np.random.default_rng(1)
    a, b, family = rng.random(90), rng.random(90), np.arange(90) // 6
    forth, back = stats.paired_difference(a, b, clusters=family), stats.paired_difference(b, a, clusters=family)
    assert forth["diff"] == -back["diff"]
    np.testing.assert_allclose(forth["ci95"], [-x for x in reversed(back["ci95"])], atol=1e-12)
    assert forth == stats.paired_difference(a, b, clusters=family)
    assert forth != stats.paired_difference(a, b, clusters=family, seed=1)


def test_paired_difference_of_a_method_with_itself_is_zero():
    assert stats.paired_difference([1, 0, 1], [1, 0, 1]) == {"diff": 0.0, "ci95": [0.0, 0.0]}


def test_problems_of_unknown_families_count_one_by_one():
    correct, base = np.arange(12) % 3 == 0, np.arange(12) % 4 == 0
    unknown, alone = np.full(12, -1), np.arange(12)
    for interval in (partial(stats.accuracy, correct), partial(stats.paired_difference, correct, base)):
        assert interval(clusters=unknown) == interval(clusters=alone)
        assert interval(clusters=[-1] * 6 + [4] * 6) == interval(clusters=[0, 1, 2, 3, 4, 5] + [6] * 6)
    assert stats.family_count(unknown) == 12 and stats.family_count([-1, -1, 3, 3, -2]) == 4
    assert stats.accuracy(np.zeros(12), unknown)["ci95"] == stats.wilson_interval(0.0, 12)


@pytest.mark.parametrize("clusters", [[7, 7], ["a", "a"]])
def test_one_family_has_no_interval(clusters: list):
    assert stats.accuracy([1, 0], clusters) == {"accuracy": 0.5, "ci95": None, "n": 2}
    assert stats.paired_difference([1, 1], [1, 0], clusters) == {"diff": 0.5, "ci95": None}
    assert stats.paired_difference([1], [0]) == {"diff": 1.0, "ci95": None}


@pytest.mark.parametrize("families", [10, 40])
def test_intervals_cover_the_truth(families: int):
    """Intervals over families hold the mean 19 times in 20; intervals over problems are visibly too short."""
    rng = np.random.default_rng(2)
    trials, problems, truth_gain = 300, 12, _expected_gain()
    clusters = np.repeat(np.arange(families), problems)
    covered = {"accuracy": 0, "paired": 0, "naive": 0}
    for trial in range(trials):
        skill = np.repeat(rng.beta(1.5, 1.5, families), problems)
        gain = np.repeat(rng.uniform(-0.3, 0.5, families), problems)
        b = rng.random(len(skill)) < skill
        a = rng.random(len(skill)) < np.clip(skill + gain, 0, 1)
        options = {"resamples": 1000, "seed": trial}
        for name, interval, truth in (
            ("accuracy", stats.accuracy(b, clusters, **options)["ci95"], 0.5),
            ("naive", stats.accuracy(b)["ci95"], 0.5),
            ("paired", stats.paired_difference(a, b, clusters, **options)["ci95"], truth_gain),
        ):
            covered[name] += interval[0] <= truth <= interval[1]
    shares = {name: count / trials for name, count in covered.items()}
    # Three standard errors of 300 trials at 95 % are 3.8 points.
    assert 0.912 <= shares["accuracy"] <= 0.988
    assert 0.912 <= shares["paired"] <= 0.988
    assert shares["naive"] < 0.85


def _expected_gain() -> float:
    """E[clip(skill + gain, 0, 1)] - E[skill] for the families above, by a large sample."""
    rng = np.random.default_rng(3)
    skill, gain = rng.beta(1.5, 1.5, 1_000_000), rng.uniform(-0.3, 0.5, 1_000_000)
    return float(np.mean(np.clip(skill + gain, 0, 1) - skill))


def test_roc_auc_closed_cases():
    assert stats.roc_auc([3, 2, 1, 0], [True, True, False, False]) == 1.0
    assert stats.roc_auc([0, 1, 2, 3], [True, True, False, False]) == 0.0
    assert stats.roc_auc([1, 1, 1, 1], [True, False, True, False]) == 0.5
    assert stats.roc_auc([2, 1, 1], [True, True, False]) == 0.75
    assert np.isnan(stats.roc_auc([1, 2], [True, True]))


def test_roc_auc_is_the_mann_whitney_statistic():
    rng = np.random.default_rng(4)
    labels = rng.random(200) < 0.3
    scores = np.round(rng.normal(size=200) + labels, 1)
    higher = np.sign(scores[labels][:, None] - scores[~labels][None, :])
    np.testing.assert_allclose(stats.roc_auc(scores, labels), np.mean((higher + 1) / 2), rtol=1e-12)


def test_roc_curve_ends_and_rises():
    false_rate, true_rate = stats.roc_curve([0.1, 0.4, 0.4, 0.8], [False, True, False, True])
    np.testing.assert_allclose(false_rate, [0, 0, 0.5, 1])
    np.testing.assert_allclose(true_rate, [0, 0.5, 1, 1])


def test_within_task_auc_ignores_the_difficulty_of_tasks():
    # Task 0 is easy and scored high throughout; within each task the score says nothing.
    scores, labels, task = [9, 9, 9, 9, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0, 0, 1], [0] * 4 + [1] * 4
    assert stats.roc_auc(scores, labels) == 0.75
    assert stats.within_task_auc(scores, labels, task) == 0.5


def test_within_task_auc_leaves_out_tasks_of_one_class():
    assert stats.task_aucs([1, 0, 5, 6], [1, 0, 1, 1], ["a", "a", "b", "b"]).tolist() == [1.0]
    assert np.isnan(stats.within_task_auc([5, 6], [1, 1], [0, 0]))


def test_correlation():
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=50), rng.normal(size=50)
    np.testing.assert_allclose(stats.correlation(x, y), np.corrcoef(x, y)[0, 1], rtol=1e-12)
    assert np.isnan(stats.correlation(x, np.ones(50)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: stats.accuracy([]), "at least one entry"),
        (lambda: stats.accuracy([1.0, float("nan")]), "not a number"),
        (lambda: stats.accuracy([1, 0], clusters=[1]), "one group per value"),
        (lambda: stats.paired_difference([1, 0], [1]), "2 and 1"),
        (lambda: stats.roc_curve([1, 2], [True, True]), "both classes"),
        (lambda: stats.roc_auc([1, 2], [True]), "one label per score"),
        (lambda: stats.correlation([1, 2], [1]), "2 and 1"),
    ],
)
def test_bad_input_is_named(call, message: str):
    with pytest.raises(ValueError, match=message):
        call()
