"""Policy gradients: advantages by hand, the clip, and which way one update moves the model."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mass_jax.mass import objective, policy, update
from mass_jax.mass.attribution import as_graded
from mass_jax.mass.generator import attempting, writing
from mass_jax.mass.objective import Experience, Sampled, UpdateData
from mass_jax.mass.optimizers import OPTIMIZERS
from mass_jax.mass.policy import clipped_objective, group_normalize
from mass_jax.mass.state import OuterConfig, init_state, model_optimizer
from mass_jax.runtime.compilation import temp_bytes
from mass_jax.tasks.base import Verdict
from mass_jax.types import Params, Sequences
from tests.mass import tiny

ACTOR = tiny.make_actor()
PARAMS = ACTOR.params
SILENT = dataclasses.replace(tiny.OUTER, solve_weight=0.0, replay_weight=0.0, kl_weight=0.0)
DOCUMENTS = tiny.replay_documents()
VOCABULARY = tiny.MODEL.vocab_size
log_probs_of = jax.jit(lambda actor, sequences: policy.sequence_log_probs(actor, sequences, writing(ACTOR).draw)[0])


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
    """Practice of as many problems, sampled when each log-probability was ``shift`` higher."""
    written = tiny.make_practice(tiny.make_problems(len(advantages))).arrays.written
    return Experience(written, log_probs_of(ACTOR, written) + shift, jnp.asarray(advantages))


@partial(jax.jit, static_argnums=0)
def gradient_norm(config: OuterConfig, experience: Experience | None = None) -> jax.Array:
    data = UpdateData(experience, None, None, DOCUMENTS)
    return optax.tree.norm(update.model_gradient(ACTOR, config, PARAMS, data)[0])


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_one_update_moves_a_sequence_the_way_of_its_advantage(sign: float):
    advantages = np.zeros((3, tiny.EXAMPLES), np.float32)
    advantages[1, 2], advantages[1, 0] = sign, -sign
    experience = written_experience(advantages)
    state = init_state(ACTOR, SILENT, tiny.CHECKS, jax.random.key(0))
    actor, data = ACTOR.replace(params=state.params), UpdateData(experience, None, None, DOCUMENTS)
    params, _, metrics = update.update_model(actor, SILENT, state.opt_state, PARAMS, data, np.inf)
    change = log_probs_of(ACTOR.replace(params=params), experience.sequences) - experience.log_probs
    assert metrics["grad_norm/generator"] > 1e-3
    assert sign * change[1, 2] > 1e-3 and sign * change[1, 0] < -1e-3


def test_no_advantage_or_a_ratio_beyond_the_clip_moves_nothing():
    ones = np.ones((3, tiny.EXAMPLES), np.float32)
    assert gradient_norm(SILENT, written_experience(0 * ones)) == 0
    assert gradient_norm(SILENT, written_experience(ones)) > 1e-2
    # The model already writes these 1.35 times as often as when they were sampled: enough.
    assert gradient_norm(SILENT, written_experience(ones, shift=-0.3)) == 0
    assert gradient_norm(SILENT, written_experience(-ones, shift=-0.3)) > 1e-2


def test_what_is_not_judged_has_no_advantage_and_leaves_its_group():
    right, wrong, open_ = Verdict(True, ""), Verdict(False, ""), Verdict(False, "", judged=False)
    graded = as_graded([right, open_, wrong, wrong] + [right, right, right, open_] + [open_] * 4, samples=4)
    alone = as_graded([right, wrong, wrong], samples=3)
    advantages = graded.advantages_PxS()
    np.testing.assert_array_equal(advantages[0, [0, 2, 3]], alone.advantages_PxS()[0])
    assert advantages[0, 0] > 1 and not advantages[0, 1] and not advantages[1:].any()
    np.testing.assert_allclose(graded.share_P(), [1 / 3, 1, 0])


@pytest.mark.parametrize(("sets", "half"), [(1, [0, 2]), (2, [0, 1])])
def test_the_policy_gradient_is_the_mean_of_two_halves_of_the_problems(sets: int, half: list[int]):
    """Halves share no problem, whose texts' advantages are centred together."""
    config = dataclasses.replace(SILENT, sets=sets, microbatches=2)
    experience = written_experience(np.random.default_rng(0).normal(size=(4, tiny.EXAMPLES)))
    gradient = jax.jit(update.model_gradient, static_argnums=1)

    def of(rows: list[int], config: OuterConfig) -> tuple[Params, dict[str, jax.Array]]:
        some = jax.tree.map(lambda leaf: leaf[np.array(rows)], experience)
        return gradient(ACTOR, config, PARAMS, UpdateData(some, None, None, DOCUMENTS))

    whole, told = of([0, 1, 2, 3], config)
    one, other = (of(rows, SILENT)[0] for rows in (half, [row for row in range(4) if row not in half]))
    mean = jax.tree.map(lambda x, y: (x + y) / 2, one, other)
    np.testing.assert_allclose(optax.tree.norm(optax.tree.sub(whole, mean)), 0, atol=1e-4 * optax.tree.norm(mean))
    cosine = optax.tree.vdot(one, other) / optax.tree.norm(one) / optax.tree.norm(other)
    np.testing.assert_allclose(told["cosine/generator"], cosine, rtol=1e-3)
    assert abs(cosine) > 1e-3 and "cosine/generator" not in of([0, 1, 2], SILENT)[1], "three have no halves"


def test_the_distance_of_the_texts_to_the_base_is_told():
    experience = written_experience(np.zeros((2, tiny.EXAMPLES)))
    data, other = UpdateData(experience, None, None, DOCUMENTS), jax.tree.map(lambda leaf: leaf * 1.1, PARAMS)
    gradient = jax.jit(update.model_gradient, static_argnums=1)
    told = [gradient(ACTOR, SILENT, base, data)[1]["kl/generator"] for base in (PARAMS, other)]
    expected = np.mean(experience.log_probs - log_probs_of(ACTOR.replace(params=other), experience.sequences))
    np.testing.assert_allclose(told, [0, expected], rtol=1e-4, atol=1e-5)
    assert abs(expected) > 1e-2


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_the_rate_of_every_optimiser_falls_to_nothing(name: str):
    config = dataclasses.replace(tiny.OUTER, optimizer=name, steps=4, momentum=0.0, max_norm=1e9)
    optimizer, params = model_optimizer(config), {"layers": jnp.ones((1, 3, 3)), "embed": jnp.ones((2, 3))}
    state, norms = optimizer.init(params), []
    for _ in range(5):
        updates, state = optimizer.update(params, state, params)
        norms.append(float(optax.tree.norm(updates)))
    assert norms == sorted(norms, reverse=True) and norms[0] > norms[3] > norms[4] == 0
    if name == "normalized":
        np.testing.assert_allclose(norms, config.generator_rate * np.array([1, 0.75, 0.5, 0.25, 0]), rtol=1e-4)


def test_normalised_steps_follow_the_average_of_the_gradients():
    config = dataclasses.replace(tiny.OUTER, steps=10**6, momentum=0.8, max_norm=1e9)
    optimizer, gradients = model_optimizer(config), np.random.default_rng(0).normal(size=(3, 5))
    state, average = optimizer.init(jnp.zeros(5)), np.zeros(5)
    for gradient in gradients:
        step, state = optimizer.update(jnp.asarray(gradient), state)
        average = 0.8 * average + 0.2 * gradient
    np.testing.assert_allclose(step, -config.generator_rate * average / np.linalg.norm(average), rtol=1e-4)
    nothing, _ = optimizer.update(jnp.zeros(5), optimizer.init(jnp.zeros(5)))
    assert not np.any(nothing)


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
        np.testing.assert_allclose(kl(parts, PARAMS, DOCUMENTS), distance, rtol=1e-5)
    assert gradient_norm(dataclasses.replace(SILENT, kl_weight=1.0)) < 1e-5


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
    experience = written_experience(rng.normal(size=(3, tiny.EXAMPLES)))
    params = jax.tree.map(lambda leaf: 1.1 * leaf, PARAMS)

    def compiled(count: int) -> jax.stages.Compiled:
        parts = dataclasses.replace(config, microbatches=count)
        gradient = jax.jit(update.model_gradient, static_argnums=1)
        return gradient.lower(data[0], parts, *data[1:]).compile()

    with jax.enable_x64(True):
        experience, solve, documents = jax.tree.map(jnp.asarray, (experience, references, documents))
        actor = ACTOR.replace(params=tiny.float64(params))
        data = (actor, tiny.float64(PARAMS), UpdateData(experience, None, solve, documents))
        whole, parted = compiled(1), compiled(3)
        (gradient, losses), (added, means) = whole(*data), parted(*data)
    assert float(optax.tree.norm(gradient)) > 1e-2
    assert set(losses) == {"solve/loss", "replay/loss", "replay/kl", "kl/generator", "grad_norm/anchors"}
    for found, expected in zip(jax.tree.leaves((added, means)), jax.tree.leaves((gradient, losses)), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert temp_bytes(parted) < 0.6 * temp_bytes(whole)


def test_texts_further_from_the_base_become_less_likely():
    experience = written_experience(np.zeros((4, tiny.EXAMPLES)))
    base = jax.tree.map(lambda leaf: leaf * 1.1, PARAMS)
    apart = experience.log_probs - log_probs_of(ACTOR.replace(params=base), experience.sequences)

    def change(weight: float) -> jax.Array:
        config = dataclasses.replace(SILENT, text_kl_weight=weight)
        state = init_state(ACTOR, config, tiny.CHECKS, jax.random.key(0))
        actor, data = ACTOR.replace(params=state.params), UpdateData(experience, None, None, DOCUMENTS)
        params, *_ = update.update_model(actor, config, state.opt_state, base, data, np.inf)
        return log_probs_of(ACTOR.replace(params=params), experience.sequences) - experience.log_probs

    assert np.corrcoef(np.ravel(change(1.0)), np.ravel(apart))[0, 1] < -0.3
    assert not np.any(change(0.0)), "texts of equal worth, and no anchor"


def test_the_anchor_of_texts_is_the_gradient_of_their_kl():
    """Its mean over what the model writes is d KL(model || base): here by all answers of one token."""
    tokens = np.zeros((VOCABULARY, 4), np.int32)
    tokens[:, :3], tokens[:, 3] = np.array([1, 5, 7]), np.arange(VOCABULARY)
    one = Sequences(tokens, np.arange(4) == np.full((VOCABULARY, 1), 3))
    base = jax.tree.map(lambda leaf: leaf * 1.2, PARAMS)

    def log_probs(params: Params) -> jax.Array:
        return policy.sequence_log_probs(ACTOR.replace(params=params), one)[0]

    def kl(params: Params) -> jax.Array:
        return jnp.sum(jnp.exp(log_probs(params)) * (log_probs(params) - log_probs(base)))

    config = dataclasses.replace(SILENT, text_kl_weight=0.7)
    shares = jnp.exp(log_probs(PARAMS))
    batch = Experience(one, log_probs(PARAMS), jnp.zeros(VOCABULARY))

    held, _ = objective.anchored(ACTOR, config, base, Sampled(batch, attempting(ACTOR, 1), 1))

    def loss(params: Params) -> jax.Array:
        # Each text as often as the model writes it; that the advantages are centred otherwise changes nothing then.
        worth = held.batch.advantages
        now = policy.sequence_log_probs(ACTOR.replace(params=params), one)[0]
        return -jnp.sum(shares * jnp.exp(now - batch.log_probs) * worth)

    found, exact = jax.grad(loss)(PARAMS), jax.grad(kl)(PARAMS)
    difference = optax.tree.norm(optax.tree.sub(found, optax.tree.scale(0.7, exact)))
    assert difference < 1e-4 * optax.tree.norm(exact)
