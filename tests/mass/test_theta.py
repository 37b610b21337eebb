"""Training an outer adapter in place of all parameters: the base stays and is kept once, and derivatives are right."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mass_jax.mass import attribution, inner, theta, update
from mass_jax.mass.actor import Actor
from mass_jax.mass.objective import Experience, UpdateData
from mass_jax.mass.state import init_state
from mass_jax.models import lora
from mass_jax.models.pretrained import peft_format
from mass_jax.types import Array, Params
from tests.mass import tiny
from tests.models import tiny as models

CONFIG = dataclasses.replace(tiny.OUTER, lora_rank=2, lora_targets="(q|o|up|down)_proj", text_kl_weight=0.3)
PROBLEMS = tiny.make_problems()
BASE = tiny.make_params()


def trained(seed: int = 5) -> Params:
    """An outer adapter in the middle of training."""
    return models.make_adapter(BASE, seed, CONFIG.lora_rank, CONFIG.lora_targets)


def test_training_begins_at_the_base_and_keeps_of_it_no_copy():
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), BASE)
    state = init_state(tiny.make_actor(params=half), CONFIG, tiny.CHECKS, jax.random.key(0))
    assert sorted(state.params) == ["down_proj", "o_proj", "q_proj", "up_proj"]
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}
    assert all(leaf["a"].any() and not leaf["b"].any() for leaf in state.params.values())
    kept = sum(leaf.size for leaf in jax.tree.leaves((state.params, state.opt_state)))
    assert kept < 0.7 * sum(leaf.size for leaf in jax.tree.leaves(BASE)), "rank 2 of a width of 16, and its average"
    whole, adapter = lora.detach(theta.compose(CONFIG.outer, half, state.params))
    assert adapter is not None and jax.tree.all(
        jax.tree.map(lambda a, b: a is b, (whole, adapter), (half, state.params))
    )
    assert lora.detach(BASE)[1] is None and theta.compose(None, half, BASE) is BASE


def test_an_adapter_on_an_adapter_is_an_adapter_on_their_merged_model():
    tokens, outer, on_top = (
        models.make_tokens()[:, :9],
        trained(),
        tiny.make_adapter(BASE) | models.make_adapter(BASE, 7, 2, "q_proj"),
    )
    merged = peft_format.merge(BASE, outer)
    expected = models.log_probs(tiny.MODEL, merged, on_top, tokens)
    found = models.log_probs(tiny.MODEL, theta.compose(CONFIG.outer, BASE, outer), on_top, tokens)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.abs(models.log_probs(tiny.MODEL, BASE, on_top, tokens) - expected).max() > 0.1


def directional(loss, at: Params, direction: Params, width: float = 1e-6) -> float:
    """The central difference along a direction."""
    ahead, behind = (jax.tree.map(lambda x, d, s=s: x + s * width * d, at, direction) for s in (1, -1))
    return float((loss(ahead) - loss(behind)) / (2 * width))


def test_the_outer_loss_has_its_derivatives_through_both_adapters():
    """By the outer adapter through two steps of the inner one; and by the practice's weights, on top of it."""
    method = tiny.make_method(steps=2, optimizer="normalized_sgd", rate=0.5)
    practice, asked = tiny.make_practice(PROBLEMS).arrays, tiny.make_references(PROBLEMS)
    with jax.enable_x64(True):
        base, outer, fresh = (tiny.float64(tree) for tree in (BASE, trained(), tiny.make_adapter(BASE, 3)))
        actor = Actor(theta.compose(CONFIG.outer, base, outer), method)
        adapted = attribution.score_and_adapt(actor, tiny.float64(tiny.make_eta(method)), fresh, practice)
        tau = attribution.attribute(actor, adapted, practice.examples, asked).tau_PxM
        meta = {"weights": adapted.scores.weights_PxM, "gate": adapted.scores.gate_P}

        @jax.jit
        def loss(outer: Params, meta: dict[str, Array]) -> Array:
            actor = Actor(theta.compose(CONFIG.outer, base, outer), method)
            run = inner.adapt(actor, fresh, meta, practice.examples)
            return jnp.sum(attribution.outer_losses(actor, run.params, asked))

        gradient = jax.jit(jax.grad(loss))(outer, meta)
        for name in outer:
            direction = {key: models.make_adapter(BASE, 9, 2, key)[key] for key in outer}
            direction = {key: jax.tree.map(lambda x, on=key == name: on * x, leaf) for key, leaf in direction.items()}
            expected = directional(lambda at: loss(at, meta), outer, direction)
            found = sum(jnp.vdot(x, d) for x, d in zip(*map(jax.tree.leaves, (gradient, direction)), strict=True))
            assert abs(expected) > 1e-3
            np.testing.assert_allclose(found, expected, rtol=1e-6)
        weights = np.random.default_rng(0).normal(size=tau.shape)
        expected = directional(lambda at: loss(outer, meta | {"weights": at}), meta["weights"], weights)
        np.testing.assert_allclose(jnp.vdot(tau, weights), expected, rtol=1e-6)


def test_its_gradient_is_that_of_the_merged_model_by_the_chain_rule():
    """dL/dA = (dL/dW) B^T and dL/dB = A^T (dL/dW), with the KLs to the base without the adapter."""
    written = tiny.make_practice(PROBLEMS).arrays.written
    advantages = np.random.default_rng(0).normal(size=written.tokens.shape[:2])
    experience = Experience(written, np.full(advantages.shape, -20.0), advantages)
    solve = attribution.references(tiny.make_actor(), PROBLEMS).weighed.sequences
    data = UpdateData(experience, None, solve, tiny.replay_documents(3))
    gradient = jax.jit(update.model_gradient, static_argnums=1)
    with jax.enable_x64(True):
        base, outer = tiny.float64(BASE), tiny.float64(trained())
        bare = dataclasses.replace(CONFIG, clip=1e9)
        found, told = gradient(tiny.make_actor(params=outer), bare, base, data)
        merged = peft_format.merge(base, outer)
        full, same = gradient(tiny.make_actor(params=merged), dataclasses.replace(bare, lora_rank=0), base, data)
        for name, leaf in outer.items():
            by_matrix = full["layers"][name]["kernel"]
            expected = {"a": by_matrix @ leaf["b"].mT, "b": leaf["a"].mT @ by_matrix}
            for key in "ab":
                assert np.abs(expected[key]).max() > 1e-4
                np.testing.assert_allclose(found[name][key], expected[key], rtol=1e-7, atol=1e-10)
        for metric in ("replay/kl", "kl/generator", "replay/loss", "solve/loss"):
            np.testing.assert_allclose(told[metric], same[metric], rtol=1e-9, err_msg=metric)
        assert told["replay/kl"] > 1e-2


@pytest.mark.parametrize("name", ["normalized", "muon", "adam"])
def test_every_optimiser_steps_on_it(name: str):
    config = dataclasses.replace(CONFIG, optimizer=name)
    actor = tiny.make_actor()
    state = init_state(actor, config, tiny.CHECKS, jax.random.key(0))
    data = UpdateData(None, None, None, tiny.replay_documents())
    shapes = jax.eval_shape(
        partial(update.update_model.__wrapped__, config=config),
        actor.replace(params=state.params),
        opt_state=state.opt_state,
        base=BASE,
        data=data,
        limit=1.0,
    )
    assert jax.tree.structure(shapes[0]) == jax.tree.structure(state.params)
