"""Rewards by name and their advantages, by hand; and how well rewards tell right practice from other practice."""

import dataclasses

import numpy as np
import pytest

from mass_jax.mass.record import effect_size, within_sets
from mass_jax.mass.rewards import REWARDS, Evidence, advantages, permuted, rewards, trust
from tests.mass import tiny

Z = np.sqrt(1.5)
ALL = np.ones((2, 3), bool)


def evidence(tau, **changes) -> Evidence:
    tau = np.asarray(tau, np.float32)
    rows = len(tau)
    found = Evidence(
        -tau,
        np.ones(rows, bool),
        np.zeros(rows),
        np.ones(rows, bool),
        np.ones(tau.shape, bool),
        None,
        np.zeros(tau.shape, np.float32),
        [np.random.default_rng([0, row]) for row in range(rows)],
    )
    return found._replace(**{name: np.asarray(value) for name, value in changes.items()})


def test_an_example_that_lowers_the_outer_loss_is_rewarded():
    found = rewards("attribution", 0.0, 1, evidence([[-1e-6, 1e-6, 0.0], [3.0, 3.0, 3.0]]))
    np.testing.assert_allclose(found, [[Z, -Z, 0], [0, 0, 0]], rtol=1e-5)


def test_advantages_have_a_mean_of_zero_over_all_texts_of_a_problem():
    valid = np.array([[True, True, False], [True, True, True]])
    worth = rewards("attribution", 0.0, 1, evidence([[-1, 1, 7], [-1, 1, 0]], valid_PxM=valid))
    found = advantages(worth, valid, 1, -0.6)
    np.testing.assert_allclose(found, [[1.2, -0.8, -0.4], [Z, -Z, 0]], atol=1e-6)
    together = advantages(worth, valid, 2, -0.6)  # two sets of one problem
    np.testing.assert_allclose(together, np.array([[1.1, -0.9, -0.5], [Z + 0.1, -Z + 0.1, 0.1]]), atol=1e-6)
    assert abs(together.sum()) < 1e-6 and together.dtype == np.float32
    # A reward of 0 leaves the malformed out, whatever the mean of the others.
    np.testing.assert_allclose(advantages(worth + 5, valid, 1, 0.0)[0], [1, -1, 0], atol=1e-6)


def test_a_baseline_of_the_problem_changes_no_advantage():
    rng = np.random.default_rng(0)
    valid = np.array([[True, True, False], [True, True, True], [True, False, True], [True, True, True]])
    worth, baseline = rng.normal(size=valid.shape), np.repeat(rng.normal(size=2), 2)[:, None]  # two problems, two sets
    found = advantages(worth - baseline, valid, 2, -0.6)
    np.testing.assert_allclose(found, advantages(worth, valid, 2, -0.6), atol=1e-6)
    outcome = evidence(worth, outcome_P=worth[:, 0])
    shifted = outcome._replace(outcome_P=outcome.outcome_P - baseline[:, 0])
    np.testing.assert_allclose(rewards("outcome", 0.0, 2, shifted), rewards("outcome", 0.0, 2, outcome), atol=1e-5)


def test_where_all_texts_are_alike_none_has_an_advantage():
    nothing = np.zeros((2, 3))
    assert not advantages(nothing, ~ALL, 1, -0.6).any() and not advantages(nothing, ALL, 1, -0.6).any()


def test_a_dead_problem_teaches_form_alone():
    valid = np.array([[True, True, False]] * 2)
    for name in ("attribution", "complete", "shuffled"):
        found = evidence([[-1, 1, 7], [-1, 1, 7]], valid_PxM=valid, alive_P=[True, False])
        worth = rewards(name, 0.0, 1, found)
        assert worth[0].any() and not worth[1].any()
        np.testing.assert_allclose(advantages(worth, valid, 1, -0.6)[1], [0.2, 0.2, -0.4], atol=1e-6)


def test_the_whole_set_counts_against_its_sibling():
    tau, valid = [[-1, 1, 0], [-1, 1, 0]], np.array([[True, True, True], [True, True, False]])
    found = evidence(tau, valid_PxM=valid, outcome_P=[-2.0, -1.0])
    without = rewards("attribution", 0.0, 2, found)
    np.testing.assert_allclose(rewards("attribution", 0.5, 2, found) - without, [[-0.5] * 3, [0.5, 0.5, 0]], rtol=1e-5)


def test_a_set_of_which_nothing_is_judged_is_not_compared():
    found = evidence(np.zeros((3, 2)), outcome_P=[1 / 3, 2 / 3, 0.0], known_P=[True, True, False])
    np.testing.assert_allclose(rewards("outcome", 0.0, 3, found), [[-1] * 2, [1] * 2, [0, 0]], rtol=1e-5)
    np.testing.assert_array_equal(rewards("rejection", 0.0, 3, found), [[0, 0], [1, 1], [0, 0]])


def test_rejection_imitates_the_best_sets_and_nothing_else():
    valid = np.array([[True, False]] * 6)
    found = evidence(np.ones((6, 2)), valid_PxM=valid, outcome_P=[0.5, 1.0, 1.0, 0.5, 0.5, 0.5])
    worth = rewards("rejection", 0.0, 3, found)
    np.testing.assert_array_equal(worth, [[0, 0], [1, 0], [1, 0], [0, 0], [0, 0], [0, 0]])
    np.testing.assert_array_equal(advantages(worth, valid, 3, -0.6, REWARDS["rejection"].centred), worth)


def test_shuffled_attributions_are_those_of_the_set_in_another_order():
    valid = np.array([[True] * 6 + [False] * 2] * 4)
    found = evidence(np.random.default_rng(0).normal(size=(4, 8)), valid_PxM=valid)
    own, shuffled = (rewards(name, 0.0, 1, found) for name in ("attribution", "shuffled"))
    np.testing.assert_array_equal(np.sort(shuffled[:, :6]), np.sort(own[:, :6]))
    assert not shuffled[:, 6:].any() and np.all(np.any(shuffled != own, axis=-1))
    again = rewards("shuffled", 0.0, 1, evidence(-found.credit_PxM, valid_PxM=valid))
    np.testing.assert_array_equal(again, shuffled)  # of step and place alone


def test_a_critic_rewards_what_the_scorer_says_as_far_as_it_is_believed():
    valid, logits = np.array([[True, True, False]]), [[0.5, -0.5, 9.0]]
    found = evidence([[1, -1, 0]], valid_PxM=valid, logits_PxM=logits, alive_P=[False], trust=0.8)
    for name in ("scorer", "shuffled_scorer"):
        worth = rewards(name, 0.0, 1, found)
        np.testing.assert_allclose(worth, [[0.8 * np.tanh(0.5), -0.8 * np.tanh(0.5), 0]], rtol=1e-6)
    assert not rewards("scorer", 0.0, 1, evidence([[1, -1, 0]], trust=1.0)).any(), "what has learned nothing has no say"


def test_a_scorer_is_believed_as_far_as_it_agrees_with_credits():
    rng = np.random.default_rng(0)
    logits, noise, offsets = (rng.normal(size=shape) for shape in ((40, 6), (40, 6), (40, 1)))
    counts = rng.random((40, 6)) < 0.8
    # Sets differ in how much they say, and what a set has as a whole, or what does not count, says nothing.
    credit = np.where(counts, (logits + noise) * np.exp(2 * offsets) + offsets, 99.0)
    assert 0.9 < trust(logits, credit, counts) < 1
    assert trust(logits, -credit, counts) == pytest.approx(-trust(logits, credit, counts))
    assert trust(1e3 * logits + offsets, 1e-6 * credit, counts) == pytest.approx(trust(logits, credit, counts))
    assert trust(0 * logits, credit, counts) == trust(logits, credit, counts & False) == 0


def test_permuted_credits_are_seldom_believed_and_in_either_direction():
    rng = np.random.default_rng(0)
    logits, credit = rng.normal(size=(2, 40, 6)) * np.exp(2 * rng.normal(size=(40, 1)))
    counts = rng.random((40, 6)) < 0.8
    noises = [[np.random.default_rng([draw, row]) for row in range(40)] for draw in range(2000)]
    found = np.array([trust(logits, permuted(credit, counts, noise), counts) for noise in noises])
    # Of a normal covariance: half of what a third of the draws exceeds is kept, about 0.15 on average.
    assert 0.6 < np.mean(found == 0) < 0.75 and 0.1 < np.abs(found).mean() < 0.2 and abs(found.mean()) < 0.02


def test_a_random_reward_is_of_no_text():
    worth = [rewards("random", 0.0, 1, evidence(tau)) for tau in (np.ones((2, 3)), [[-9, 9, 0], [1, 2, 3]])]
    np.testing.assert_array_equal(*worth)
    np.testing.assert_allclose(worth[0].mean(axis=-1), 0, atol=1e-6)
    assert worth[0].any(axis=-1).all() and np.any(worth[0][0] != worth[0][1])


def test_the_privileged_reward_is_of_what_is_right():
    found = evidence(np.zeros((2, 2)), correct_PxM=[[True, False], [False, False]])
    np.testing.assert_allclose(rewards("privileged", 0.0, 1, found), [[1, -1], [0, 0]], atol=1e-6)
    together = rewards("privileged", 0.0, 2, found)
    np.testing.assert_allclose(together, np.array([[3, -1], [-1, -1]]) / np.sqrt(3), atol=1e-6)


def test_a_complete_credit_says_which_set_helped():
    together = rewards("complete", 0.0, 2, evidence([[-1, -3], [1, 3]]))
    np.testing.assert_allclose(together, np.array([[1, 3], [-1, -3]]) / np.sqrt(5), rtol=1e-5)
    apart = rewards("attribution", 0.0, 2, evidence([[-1, -3], [1, 3]]))
    np.testing.assert_allclose(apart, [[-1, 1], [1, -1]], rtol=1e-5)


def test_credits_of_a_known_scale_are_bounded_and_small_ones_stay_small():
    tau = np.array([[-1.0, 0.0, 1.0, 5.0], [-1e-3, 0.0, 1e-3, 5.0], [-90.0, 0.0, 0.0, 5.0]])
    valid = np.array([[True, True, True, False]] * 3)
    found = evidence(tau, valid_PxM=valid, scale=0.5)
    worth = rewards("attribution", 0.0, 1, found)
    np.testing.assert_allclose(worth[:2, :3], np.array([[1], [1 / 482.01]]) * [np.tanh(2), 0, -np.tanh(2)], rtol=1e-4)
    np.testing.assert_allclose(worth[2, :3], [4 / 3, -2 / 3, -2 / 3], rtol=1e-6)  # -1 against 1, less their mean
    assert not worth[:, 3].any() and np.abs(worth.sum(axis=-1)).max() < 1e-6
    for name in ("normalized", "leave_one_out", "complete"):
        np.testing.assert_array_equal(rewards(name, 0.0, 1, found), worth)


@pytest.mark.parametrize("reward", ["outcome", "rejection"])
def test_rewards_that_compare_sets_need_some(reward: str):
    with pytest.raises(ValueError, match=f"train.reward = '{reward}' compares practice sets .* train.sets = 1: draw 2"):
        dataclasses.replace(tiny.OUTER, reward=reward)
    assert dataclasses.replace(tiny.OUTER, reward=reward, sets=2).reward in REWARDS


def test_d_prime_by_hand():
    values = np.array([3.0, 5.0, 0.0, 2.0])
    right = np.array([True, True, False, False])
    assert effect_size(values, right, ~right) == pytest.approx(3.0)
    assert effect_size(values, right, right & False) == 0 and effect_size(0 * values, right, ~right) == 0
    # What a set has as a whole does not count within it, nor does a malformed text.
    rewards_PxM = np.array([[3.0, 1.0, 99.0], [103.0, 101.0, -99.0], [7.0, 6.0, 0.0]])
    correct = np.array([[True, False, False], [True, False, False], [True, False, False]])
    valid = np.array([[True, True, False]] * 3)
    spread = np.std([1.0, 1.0, 0.5])
    assert within_sets(rewards_PxM, correct, valid) == pytest.approx((5 / 3) / spread)
