"""A policy gradient with a perfect reward raises the reward where it was not trained; a broken one does not.

At the smallest size that has a sampler, a temperature, a nucleus and texts of several tokens: the tiny transformer
writes two words after four, and a text is right if its first word is in the upper half of a vocabulary of twelve. The
faults are put in by the tests.
"""

import dataclasses
import itertools
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mass_jax.mass import objective, policy, update
from mass_jax.mass.actor import Actor
from mass_jax.mass.generator import writing
from mass_jax.mass.method import GeneratorConfig
from mass_jax.mass.objective import Experience, Sampled, UpdateData
from mass_jax.mass.packing import join
from mass_jax.mass.rewards import Evidence, advantages, rewards
from mass_jax.mass.state import init_state
from mass_jax.models import decoder
from mass_jax.models.cross_entropy import Draw
from mass_jax.models.sampling import Prompts, sample
from mass_jax.types import Array, Params, Sequences
from tests.mass import tiny
from tests.models import tiny as models

WORDS, LENGTH, TEXTS, NEW = 12, 4, 8, 2
MODEL = dataclasses.replace(tiny.MODEL, vocab_size=WORDS)
METHOD = dataclasses.replace(
    tiny.make_method(),
    model=MODEL,
    generator=GeneratorConfig(TEXTS, 0.6, 0.9),
    lengths=dataclasses.replace(tiny.LENGTHS, synthesis=NEW),
)
SPEC = writing(Actor(None, METHOD))
CONFIG = dataclasses.replace(
    tiny.OUTER, steps=12, generator_rate=1.0, solve_weight=0.0, replay_weight=0.0, kl_weight=0.0
)
PROMPTS, OTHERS = (np.random.default_rng(seed).integers(0, WORDS, (16, LENGTH)).astype(np.int32) for seed in range(2))
NOTHING = Sequences(np.zeros((2, 4), np.int32), np.zeros((2, 4), bool))
Change = Callable[[Sequences, np.ndarray], tuple[Sequences, np.ndarray]]


PARAMS = models.make_params(MODEL)
PARAMS["final_norm"] = 0.4 * PARAMS["final_norm"]  # so that right and wrong texts are both written


def right(texts: np.ndarray) -> np.ndarray:
    """The perfect reward."""
    return texts[..., 0] >= WORDS // 2


def as_it_is(sequences: Sequences, worth: np.ndarray) -> tuple[Sequences, np.ndarray]:
    return sequences, worth


def of_the_prompt(sequences: Sequences, worth: np.ndarray) -> tuple[Sequences, np.ndarray]:
    """The wrong mask."""
    target = np.zeros(sequences.target.shape, bool)
    target[..., 1:LENGTH] = True
    return sequences._replace(target=target), worth


def uncentred(sequences: Sequences, worth: np.ndarray) -> tuple[Sequences, np.ndarray]:
    return sequences, worth - 10


def far_from_centred(sequences: Sequences, worth: np.ndarray) -> tuple[Sequences, np.ndarray]:
    return sequences, worth - 100


def wrong_sign(patch: pytest.MonkeyPatch) -> None:
    real = policy.surrogate
    patch.setattr(policy, "surrogate", lambda *args: -real(*args))


def wrong_draw(draw: Draw) -> Callable[[pytest.MonkeyPatch], None]:
    def put_in(patch: pytest.MonkeyPatch) -> None:
        real, spec = policy.text_log_probs, dataclasses.replace(SPEC, temperature=draw.temperature, top_p=draw.top_p)
        patch.setattr(policy, "text_log_probs", lambda actor, sequences, _: real(actor, sequences, spec))

    return put_in


def write(actor: Actor, prompts: np.ndarray, key: int, samples: int = TEXTS) -> tuple[np.ndarray, ...]:
    """Texts, whole sequences and log-probabilities."""
    lengths, spec = np.full(len(prompts), LENGTH, np.int32), dataclasses.replace(SPEC, samples=samples)
    given = Prompts(prompts, lengths)
    found = sample(MODEL, actor.params, None, given, jax.random.key(key), spec, adapter_per_problem=False)
    texts, mask = np.asarray(found.tokens_PxSxT), np.asarray(found.mask_PxSxT)
    return texts, join(prompts, lengths, texts, mask), np.asarray(found.log_probs_PxSxT).sum(axis=-1)


def share(actor: Actor) -> float:
    """Of right texts after prompts that training does not see."""
    return float(right(write(actor, OTHERS, 1000, 64)[0]).mean())


def gain(change: Change = as_it_is) -> float:
    """What training with the perfect reward adds to the share of right texts after other prompts."""
    base = Actor(PARAMS, METHOD)
    state = init_state(base, CONFIG, tiny.CHECKS, jax.random.key(0))
    params, opt_state, step = state.params, state.opt_state, jax.jit(lambda *args: _update(*args))
    old = jax.jit(lambda *args: policy.text_log_probs(*args, SPEC))
    for i in range(CONFIG.steps):
        texts, sequences, log_probs = write(base.replace(params=params), PROMPTS, i)
        valid, zero = np.ones(log_probs.shape, bool), np.zeros(len(log_probs))
        found = Evidence(log_probs, zero == 0, zero, zero == 0, valid, right(texts), log_probs, ())
        worth = advantages(rewards("privileged", 0.0, 1, found), valid, 1, -0.6)
        sequences, worth = change(sequences, worth)
        log_probs = log_probs if change is as_it_is else np.asarray(old(base.replace(params=params), sequences))
        data = UpdateData(Experience(sequences, log_probs, worth), None, None, NOTHING)
        params, opt_state, _ = step(base.replace(params=params), opt_state, base.params, data)
    after, before = share(base.replace(params=params)), share(base)
    print(f"from {before:.3f} to {after:.3f}")  # shown where a test fails
    return after - before


def _update(actor: Actor, opt_state: tuple, base: Params, data: UpdateData) -> tuple:
    return update.update_model.__wrapped__(actor, CONFIG, opt_state, base, data, jnp.inf)


class Enumerated(NamedTuple):
    """All texts after one prompt, in float64, and what the sampler makes of them.

    Attributes:
      params: of the sampler.
      sequences: prompt and text, [N, T].
      worth_N: the reward of each, against their mean.
      frequency_N: of each.
      directions: three, to move the parameters along.
      slopes: of the expected reward along each, by central differences.
    """

    params: Params
    sequences: Sequences
    worth_N: np.ndarray
    frequency_N: np.ndarray
    directions: list[Params]
    slopes: np.ndarray


@cache
def enumerated() -> Enumerated:
    texts = np.array(list(itertools.product(range(WORDS), repeat=NEW)), np.int32)
    sequences = join(PROMPTS[:1], np.array([LENGTH]), texts[None], np.ones((1, *texts.shape), bool))
    sequences = jax.tree.map(lambda leaf: leaf[0], sequences)

    @jax.jit
    def expected_reward(params: Params) -> tuple[Array, Array]:
        """From the logits alone: an oracle of its own."""
        hidden, _ = decoder.forward(MODEL, params, None, jnp.asarray(sequences.tokens)[:, :-1])
        found = jax.nn.softmax(decoder.logits(MODEL, params, hidden)[:, LENGTH - 1 :] / 0.6)
        order = jnp.argsort(-found)
        mass = jnp.cumsum(jnp.take_along_axis(found, order, -1), -1)
        before = jnp.concatenate([jnp.zeros_like(mass[..., :1]), mass[..., :-1]], axis=-1)
        drawn = jnp.where(jnp.take_along_axis(before < 0.9, jnp.argsort(order), -1), found, 0)
        chosen = jnp.take_along_axis(drawn / drawn.sum(-1, keepdims=True), texts[..., None], -1)
        frequency_N = jnp.prod(chosen[..., 0], axis=-1)
        return jnp.sum(frequency_N * right(texts)), frequency_N

    params, width = tiny.float64(PARAMS), 1e-6
    value, frequency = jax.device_get(expected_reward(params))
    assert 0.05 < value < 0.95 and np.isclose(frequency.sum(), 1) and (frequency == 0).any()
    directions = [optax.tree.random_like(jax.random.key(seed), params) for seed in range(3)]
    moved = [[optax.tree.add_scale(params, way * width, along) for way in (1, -1)] for along in directions]
    slopes = [float(expected_reward(up)[0] - expected_reward(down)[0]) / (2 * width) for up, down in moved]
    assert np.abs(slopes).max() > 1e-3
    return Enumerated(params, sequences, right(texts) - value, frequency, directions, np.array(slopes))


def error(change: Change = as_it_is) -> float:
    """Of the surrogate's slopes, if each text is as frequent as the sampler makes it, against the expected reward's."""
    with jax.enable_x64(True):
        found = enumerated()
        sequences, worth = change(found.sequences, found.worth_N)
        # A mean over all texts is to be the mean over the sampler's.
        worth = worth * found.frequency_N * found.frequency_N.size

        @jax.jit
        @jax.grad
        def gradient(params: Params) -> Array:
            now, _ = policy.sequence_log_probs(Actor(params, METHOD), sequences, SPEC.draw)
            batch = Experience(sequences, jax.lax.stop_gradient(now), worth)
            return -NEW * objective.policy_loss(Actor(params, METHOD), CONFIG, Sampled(batch, SPEC, 1))

        ascent = gradient(found.params)
        slopes = np.array([optax.tree.vdot(ascent, along) for along in found.directions])
        return float(np.abs(slopes - found.slopes).max() / np.abs(found.slopes).max())


DRAWS = {"temperature": Draw(1.0, 0.9), "nucleus": Draw(0.6, 1.0)}


def test_the_surrogate_has_the_gradient_of_the_expected_reward():
    assert error() < 1e-8
    assert error(uncentred) < 1e-8, "where the texts are drawn from, a constant adds nothing"


@pytest.mark.parametrize("draw", DRAWS)
def test_under_another_distribution_it_has_not_and_a_constant_drowns_the_reward(
    monkeypatch: pytest.MonkeyPatch, draw: str
):
    wrong_draw(DRAWS[draw])(monkeypatch)
    assert error() > 0.1
    assert error(uncentred) > 5


def test_nor_has_it_with_the_wrong_sign_or_mask(monkeypatch: pytest.MonkeyPatch):
    assert error(of_the_prompt) > 0.5
    wrong_sign(monkeypatch)
    assert error() > 1.5


def test_a_perfect_reward_is_learned_after_other_prompts():
    assert gain() > 0.25


@pytest.mark.parametrize("change", [of_the_prompt, far_from_centred])
def test_it_is_not_learned_with_the_wrong_mask_or_uncentred(change: Change):
    assert gain(change) < 0.1


def test_it_is_not_learned_with_the_wrong_sign(monkeypatch: pytest.MonkeyPatch):
    wrong_sign(monkeypatch)
    assert gain() < -0.1


def test_it_is_not_learned_at_the_wrong_temperature_with_a_mean_below_zero(monkeypatch: pytest.MonkeyPatch):
    """Centred, the wrong temperature only bends the gradient; at the right one, a constant only adds noise."""
    wrong_draw(DRAWS["temperature"])(monkeypatch)
    assert gain(uncentred) < 0.1
