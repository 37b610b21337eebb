"""Policy gradients: advantages by hand, the clip, and which way one update moves the model."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mass_jax.mass import policy, update
from mass_jax.mass.attribution import Graded, as_graded
from mass_jax.mass.policy import clipped_objective, group_normalize
from mass_jax.mass.rewards import example_rewards
from mass_jax.mass.state import OuterConfig, init_state
from mass_jax.mass.update import Experience, UpdateData
from mass_jax.runtime.compilation import temp_bytes
from mass_jax.tasks.base import Verdict
from tests.mass import tiny

ACTOR = tiny.make_actor()
PARAMS = ACTOR.params
SILENT = dataclasses.replace(tiny.OUTER, solve_weight=0.0, replay_weight=0.0, kl_weight=0.0)
DOCUMENTS = tiny.replay_documents()
TOKENS = DOCUMENTS.target[:, 1:].sum()


def test_group_normalize_by_hand():
    rewards = np.array([[1.0, 2.0, 3.0, 99.0], [4.0, 4.0, 4.0, 0.0], [0.0, 1.0, 5.0, 7.0], [1.0, 1.0, 1.0, 5.0]])
    valid = np.array([[1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]], bool)
    found = group_normalize(rewards, valid, 1e-6)
    z = np.sqrt(1.5)
    np.testing.assert_allclose(found, [[-z, 0, z, 0], [0] * 4, [0] * 4, [0] * 4], atol=1e-6)
    np.testing.assert_allclose(group_normalize(rewards[0] * 1e-5, valid[0], 1e-9), found[0], rtol=1e-4)
    np.testing.assert_array_equal(group_normalize(rewards[0] * 1e-5, valid[0], 1e-4), 0)


@pytest.mark.parametrize(
    ("ratio", "advantage", "value", "slope"),
    [(1.0, 2.0, 2.0, 2.0), (1.5, 2.0, 2.4, 0.0), (0.5, 2.0, 1.0, 1.0), (1.5, -2.0, -3.0, -3.0), (0.5, -2.0, -1.6, 0.0)],
)
def test_clipped_objective_by_hand(ratio: float, advantage: float, value: float, slope: float):
    found = jax.value_and_grad(lambda r: clipped_objective(r, jnp.asarray(advantage), 0.2))(jnp.log(ratio))
    np.testing.assert_allclose(found, (value, slope), rtol=1e-6)


def test_shapes_that_would_broadcast_are_refused():
    for refused in (
        lambda: clipped_objective(jnp.zeros(3), jnp.zeros((3, 1)), 0.2),
        lambda: group_normalize(np.zeros((2, 3)), np.ones((2, 1), bool), 1e-6),
        lambda: policy.sequence_log_probs(ACTOR, DOCUMENTS._replace(target=DOCUMENTS.target[:, :-1])),
    ):
        with pytest.raises(AssertionError, match="shape"):
            refused()


def written_experience(advantages: np.ndarray, shift: float = 0.0) -> Experience:
    """Practice of three problems, sampled when each log-probability was ``shift`` higher."""
    written = tiny.make_practice(tiny.make_problems()).arrays.written
    log_probs, _ = policy.sequence_log_probs(ACTOR, written)
    return Experience(written, log_probs + shift, jnp.asarray(advantages))


@partial(jax.jit, static_argnums=0)
def gradient_norm(config: OuterConfig, experience: tuple[Experience, ...] = ()) -> jax.Array:
    def loss(params):
        data = UpdateData(experience, None, DOCUMENTS)
        return update.model_loss(ACTOR.replace(params=params), config, PARAMS, data, TOKENS)[0]

    return optax.tree.norm(jax.grad(loss)(PARAMS))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_one_update_moves_a_sequence_the_way_of_its_advantage(sign: float):
    advantages = np.zeros((3, tiny.EXAMPLES), np.float32)
    advantages[1, 2], advantages[1, 0] = sign, -sign
    experience = written_experience(advantages)
    state = init_state(ACTOR, SILENT, tiny.CHECKS, jax.random.key(0))
    actor, data = ACTOR.replace(params=state.params), UpdateData((experience,), None, DOCUMENTS)
    params, _, metrics = update.update_model(actor, SILENT, state.opt_state, PARAMS, data, np.inf)
    moved = ACTOR.replace(params=params)
    change = policy.sequence_log_probs(moved, experience.sequences)[0] - experience.log_probs
    assert metrics["grad_norm/generator"] > 1e-3
    assert sign * change[1, 2] > 1e-3 and sign * change[1, 0] < -1e-3


def test_no_advantage_or_a_ratio_beyond_the_clip_moves_nothing():
    ones = np.ones((3, tiny.EXAMPLES), np.float32)
    assert gradient_norm(SILENT, (written_experience(0 * ones),)) == 0
    assert gradient_norm(SILENT, (written_experience(ones),)) > 1e-2
    # The model already writes these 1.35 times as often as when they were sampled: enough.
    assert gradient_norm(SILENT, (written_experience(ones, shift=-0.3),)) == 0
    assert gradient_norm(SILENT, (written_experience(-ones, shift=-0.3),)) > 1e-2


def rewards_of(
    config: OuterConfig, tau, loss=(0.0, 0.0), verdicts=None, judged=None, valid=None, alive=(True, True)
) -> np.ndarray:
    tau = np.asarray(tau, np.float32)
    valid = np.ones(tau.shape, bool) if valid is None else np.asarray(valid)
    graded = None if verdicts is None else Graded(verdicts, np.ones_like(verdicts) if judged is None else judged)
    return example_rewards(config, np.asarray(loss), tau, graded, valid, np.asarray(alive))


def test_an_example_that_lowers_the_outer_loss_is_rewarded():
    found = rewards_of(tiny.OUTER, [[-1e-6, 1e-6, 0.0], [3.0, 3.0, 3.0]])
    z = np.sqrt(1.5)
    np.testing.assert_allclose(found, [[z, -z, 0], [0, 0, 0]], rtol=1e-5)


def test_malformed_examples_and_dead_groups():
    tau = [[-1.0, 1.0, 7.0], [-1.0, 1.0, 7.0]]
    valid = [[True, True, False], [True, True, False]]
    config = dataclasses.replace(tiny.OUTER, malformed_advantage=-0.7)
    found = rewards_of(config, tau, valid=valid, alive=(True, False))
    np.testing.assert_allclose(found, [[1, -1, -0.7], [0, 0, -0.7]], rtol=1e-5)


@pytest.mark.parametrize("verifier", [False, True])
def test_the_whole_set_counts_against_its_sibling(verifier: bool):
    tau, config = [[-1.0, 1.0, 0.0], [-1.0, 1.0, 0.0]], dataclasses.replace(tiny.OUTER, sets=2)
    # The second set does better either way: a lower loss, more solutions right.
    outcome = {"verdicts": np.array([[0, 0, 1], [1, 1, 0]], bool)} if verifier else {"loss": (2.0, 1.0)}
    valid = [[True, True, True], [True, True, False]]
    without = rewards_of(config, tau, valid=valid, **outcome)
    found = rewards_of(dataclasses.replace(config, set_weight=0.5), tau, valid=valid, **outcome)
    np.testing.assert_allclose(found - without, [[-0.5] * 3, [0.5, 0.5, 0]], rtol=1e-5)


def test_a_set_of_which_nothing_is_judged_is_not_compared():
    config = dataclasses.replace(tiny.OUTER, sets=3, set_weight=0.5)
    verdicts = np.array([[0, 0, 1], [0, 1, 1], [0, 0, 0]], bool)
    judged = np.array([[1, 1, 1], [0, 1, 1], [0, 0, 0]], bool)
    found = rewards_of(config, np.zeros((3, 2)), np.zeros(3), verdicts, judged, alive=np.ones(3, bool))
    np.testing.assert_allclose(found, [[-0.5] * 2, [0.5] * 2, [0, 0]], rtol=1e-5)  # 1 of 3, 2 of 2, none


def test_what_is_not_judged_has_no_advantage_and_leaves_its_group():
    right, wrong, open_ = Verdict(True, ""), Verdict(False, ""), Verdict(False, "", judged=False)
    graded = as_graded([right, open_, wrong, wrong] + [right, right, right, open_] + [open_] * 4, samples=4)
    alone = as_graded([right, wrong, wrong], samples=3)
    advantages = graded.advantages_PxS()
    np.testing.assert_array_equal(advantages[0, [0, 2, 3]], alone.advantages_PxS()[0])
    assert advantages[0, 0] > 1 and not advantages[0, 1] and not advantages[1:].any()
    np.testing.assert_allclose(graded.share_P(), [1 / 3, 1, 0])


def test_kl_is_zero_at_the_base_and_positive_elsewhere():
    kl = jax.jit(policy.kl_to_base)  # a sum over tokens, which padding does not have
    other = ACTOR.replace(params=jax.tree.map(lambda leaf: leaf * 1.1, PARAMS))
    assert kl(ACTOR, PARAMS, DOCUMENTS) == 0
    distance = float(kl(other, PARAMS, DOCUMENTS))
    assert distance > 1e-3
    padded = jax.tree.map(lambda leaf: np.pad(leaf, ((0, 0), (0, 5))), DOCUMENTS)
    np.testing.assert_allclose(kl(other, PARAMS, padded), distance, rtol=1e-5)
    for chunk in (1, 5 * len(DOCUMENTS.tokens)):  # of every document a token, or five, at a time
        method = dataclasses.replace(ACTOR.method, model=dataclasses.replace(ACTOR.method.model, loss_chunk=chunk))
        parts = other.replace(method=method)
        np.testing.assert_allclose(policy.kl_to_base(parts, PARAMS, DOCUMENTS), distance, rtol=1e-5)
    config = dataclasses.replace(SILENT, kl_weight=1.0)
    assert gradient_norm(config) < 1e-5


def test_replay_and_solving_have_gradients_of_their_own():
    assert gradient_norm(SILENT) == 0
    once, twice = (gradient_norm(dataclasses.replace(SILENT, replay_weight=weight)) for weight in (1.0, 2.0))
    assert once > 1e-2
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-5)


def test_microbatches_change_memory_and_nothing_else():
    """Three parts of everything that is read: the same gradient, and less alive at once."""
    config = dataclasses.replace(SILENT, replay_weight=0.7, kl_weight=0.3, solve_weight=0.2)
    rng = np.random.default_rng(0)
    documents = tiny.replay_documents(3)
    documents.target[0, 5:] = False  # the parts' numbers of tokens differ
    references, _ = tiny.make_references(tiny.make_problems())
    experience = (written_experience(rng.normal(size=(3, tiny.EXAMPLES))),)
    params = jax.tree.map(lambda leaf: 1.1 * leaf, PARAMS)

    def compiled(count: int) -> jax.stages.Compiled:
        parts = dataclasses.replace(config, microbatches=count)
        gradient = jax.jit(update.model_gradient, static_argnums=1)
        return gradient.lower(data[0], parts, *data[1:]).compile()

    with jax.enable_x64(True):
        experience, solve, documents = jax.tree.map(jnp.asarray, (experience, references, documents))
        actor = ACTOR.replace(params=tiny.float64(params))
        data = (actor, tiny.float64(PARAMS), UpdateData(experience, solve, documents))
        whole, parted = compiled(1), compiled(3)
        (gradient, losses), (added, means) = whole(*data), parted(*data)
    assert float(optax.tree.norm(gradient)) > 1e-2 and set(losses) == {"solve/loss", "replay/loss", "replay/kl"}
    for found, expected in zip(jax.tree.leaves((added, means)), jax.tree.leaves((gradient, losses)), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert temp_bytes(parted) < 0.6 * temp_bytes(whole)
