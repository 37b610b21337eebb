"""The length of a step: KL by hand, steps that are shortened to it, and what becomes of one that is far too long."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mass_jax.mass import trust_region, update
from mass_jax.mass.generator import attempting, writing
from mass_jax.mass.objective import Experience, UpdateData
from mass_jax.mass.policy import text_log_probs
from mass_jax.mass.state import OuterConfig, init_state
from mass_jax.mass.step import outer_step
from mass_jax.types import Params
from tests.mass import tiny

ACTOR = tiny.make_actor()
SILENT = dataclasses.replace(
    tiny.OUTER, solve_weight=0.0, replay_weight=0.0, kl_weight=0.0, generator_rate=100.0, step_kl=1.0
)
BASE = tiny.make_params(seed=1)
"""Another one than the actor, which is not held to it."""
HALF = slice(None, None, 2)
"""The problems of which a distance is read."""
WRITTEN = tiny.make_practice(tiny.make_problems(4)).arrays.written
log_probs_of = jax.jit(lambda params: text_log_probs(ACTOR.replace(params=params), WRITTEN, writing(ACTOR)))


def test_the_divergence_is_the_kl_of_what_is_drawn():
    before, after = np.random.default_rng(0).dirichlet(np.ones(5), size=2)
    drawn = np.repeat(np.arange(5), np.round(1e6 * before).astype(int))
    found = trust_region.divergence(jnp.log(before)[drawn], jnp.log(after)[drawn])
    np.testing.assert_allclose(found, np.sum(before * np.log(before / after)), rtol=1e-4)


@pytest.mark.parametrize(("limit", "scale"), [(0.0, 0.0), (0.02, 0.095), (0.5, 0.475), (2.1, 1.0), (3.0, 1.0)])
def test_a_step_is_as_long_as_its_distance_allows(limit: float, scale: float):
    """At a distance of twice the square, which is that of a short step."""
    updates = {"a": jnp.array([0.6, 0.0]), "b": jnp.array(0.8)}

    def distance(params: Params) -> jax.Array:
        return 2 * optax.tree.norm(optax.tree.add_scale(params, -1.0, start), squared=True)

    start = {"a": jnp.array([3.0, 4.0]), "b": jnp.array(5.0)}
    held, told = jax.jit(lambda: trust_region.held(distance, start, updates, limit))()
    np.testing.assert_allclose(optax.tree.norm(held), scale, rtol=1e-3)
    np.testing.assert_allclose(told["kl/step"], 2 * scale**2, rtol=2e-3)
    np.testing.assert_allclose(held["a"][0] * 0.8, held["b"] * 0.6, atol=1e-6)


@pytest.mark.parametrize("beyond", [math.inf, math.nan])
def test_a_step_beyond_all_numbers_is_shortened_until_it_is_none(beyond: float):
    def distance(params: jax.Array) -> jax.Array:
        return jnp.where(params > 1.001, beyond, 0.0)

    held, told = trust_region.held(distance, jnp.ones(()), jnp.full((), 50.0), 0.1)
    assert 0 < held < 1e-3 and told["kl/step"] == 0


@pytest.mark.parametrize("microbatches", [1, 2])
@pytest.mark.parametrize("optimizer", ["normalized", "adam"])
def test_an_update_moves_what_was_written_by_the_given_kl(optimizer: str, microbatches: int):
    config = dataclasses.replace(SILENT, optimizer=optimizer, microbatches=microbatches)
    before = log_probs_of(ACTOR.params)
    worth = np.random.default_rng(0).normal(size=before.shape).astype(np.float32)
    data = UpdateData(Experience(WRITTEN, before, worth), None, None, tiny.replay_documents())

    def moved(config: OuterConfig, kl: float) -> tuple[float, dict]:
        state = init_state(ACTOR, config, tiny.CHECKS, jax.random.key(0))
        actor = ACTOR.replace(params=state.params)
        params, _, told = update.update_model(actor, config, state.opt_state, BASE, data, np.inf, kl)
        return float(trust_region.divergence(before[HALF], log_probs_of(params)[HALF])), told

    for kl in (1e-3, 0.1):
        apart, told = moved(config, kl)
        assert 0.5 * kl < apart < 1.01 * kl and 0 < told["step/scale"] < 1
        np.testing.assert_allclose(told["kl/step"], apart, rtol=1e-2, atol=1e-6)
    free, told = moved(dataclasses.replace(config, step_kl=0.0), 0.1)
    assert free > 1 and "kl/step" not in told, "the same step is far too long"


@pytest.mark.parametrize("learned", [0, 1])
def test_of_practice_and_attempts_what_moves_most_is_held_and_a_skipped_step_has_no_length(learned: int):
    config = dataclasses.replace(SILENT, mode="verifier", solutions=3, microbatches=2)
    asked = tiny.make_solutions(tiny.make_problems(4)).sequences
    kinds, worth = ((WRITTEN, writing(ACTOR)), (asked, attempting(ACTOR, 3))), np.random.default_rng(0)

    @jax.jit
    def log_probs(params: Params) -> list[jax.Array]:
        return [text_log_probs(ACTOR.replace(params=params), *kind) for kind in kinds]

    before = log_probs(ACTOR.params)
    read = [
        Experience(texts, found, float(i == learned) * worth.normal(size=found.shape).astype(np.float32))
        for i, ((texts, _), found) in enumerate(zip(kinds, before, strict=True))
    ]

    def stepped(limit: float) -> tuple[Params, dict]:
        state = init_state(ACTOR, config, tiny.CHECKS, jax.random.key(0))
        data = UpdateData(*read, None, tiny.replay_documents())
        actor = ACTOR.replace(params=state.params)
        params, _, told = update.update_model(actor, config, state.opt_state, BASE, data, limit, 0.01)
        return params, told

    params, told = stepped(np.inf)
    pairs = zip(before, log_probs(params), strict=True)
    apart = [float(trust_region.divergence(one[HALF], other[HALF])) for one, other in pairs]
    assert np.argmax(apart) == learned and min(apart) < 0.9 * max(apart), "each is the most once"
    np.testing.assert_allclose(told["kl/step"], max(apart), rtol=1e-2)
    assert 0.005 < max(apart) < 0.0101
    params, told = stepped(0.0)
    assert told["skipped/generator"] == 1 and told["kl/step"] == told["step/scale"] == 0
    jax.tree.map(np.testing.assert_array_equal, params, ACTOR.params)


@pytest.mark.parametrize("epochs", [1, 2])
def test_the_kl_of_a_step_falls_as_the_square_of_the_rate_does(epochs: int):
    """Lengths of a step's epochs add up, and are roots of KLs."""
    config = dataclasses.replace(SILENT, step_kl=0.02, generator_rate=3.0, reward="attribution", epochs=epochs)
    apart = []
    base = tiny.make_actor(tiny.make_method(), tiny.LENIENT)
    for step in range(config.steps):
        state = init_state(base, config, tiny.CHECKS, jax.random.key(0))
        _, record = outer_step(base, config, state, step, tiny.make_problems(), tiny.replay_documents())
        apart.append(record.named()["kl/step"])
    expected = 0.02 * ((1 - np.arange(config.steps) / config.steps) / epochs) ** 2
    assert (apart <= 1.001 * expected).all() and (apart > 0.5 * expected).all()
