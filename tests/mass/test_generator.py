"""What is written reaches the arrays where it should, and what cannot be read is counted."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mass_jax.mass import attribution, generator, policy
from mass_jax.mass.method import GeneratorConfig
from mass_jax.mass.packing import completion_log_probs, join, mean_log_probs, pack, pack_prompts, target_log_probs
from mass_jax.mass.practice import pack_practice
from mass_jax.models.cross_entropy import Draw
from mass_jax.tasks.base import MALFORMED
from mass_jax.types import Params
from tests.mass import tiny
from tests.models import tiny as models

TOKENIZER = tiny.DOMAIN.tokenizer
sequence_log_probs = jax.jit(policy.sequence_log_probs, static_argnums=2)


def test_pack_marks_the_target_and_its_end():
    packed = pack(TOKENIZER, [("1 2 ;", "3 4"), ("5", "6")], 8, "x")
    assert TOKENIZER.decode(packed.tokens[0]) == "1 2 ; 3 4"
    assert packed.tokens[0, 0] == TOKENIZER.bos_id and packed.tokens[0, 6] == TOKENIZER.eos_id
    np.testing.assert_array_equal(packed.target[0], [0, 0, 0, 0, 1, 1, 1, 0])
    np.testing.assert_array_equal(packed.target[1], [0, 0, 1, 1, 0, 0, 0, 0])
    endless = pack(TOKENIZER, [("1 2 ;", "3 4")], 8, "x", end=False)
    assert TOKENIZER.eos_id not in endless.tokens and endless.target.sum() == 2


def test_too_long_texts_are_refused_with_a_way_out():
    with pytest.raises(ValueError, match=r"'1 2 3' followed by '4' takes 6 tokens, but lengths.x = 5: raise it, or"):
        pack(TOKENIZER, [("1 2 3", "4")], 5, "lengths.x")
    pack(TOKENIZER, [("1 2 3", "4")], 6, "lengths.x")
    with pytest.raises(ValueError, match=r"takes 5 tokens, but lengths.prompt = 4"):
        pack_prompts(TOKENIZER, ["1 2 3 4"], 4)


def test_join_places_completions_after_each_prompt():
    prompts, lengths = np.array([[1, 5, 6, 0], [1, 7, 0, 0]]), np.array([3, 2])
    completions = np.array([[[8, 2, 0], [9, 9, 2]], [[8, 8, 8], [2, 0, 0]]])
    joined = join(prompts, lengths, completions, completions != 0)
    np.testing.assert_array_equal(joined.tokens[0], [[1, 5, 6, 8, 2, 0, 0], [1, 5, 6, 9, 9, 2, 0]])
    np.testing.assert_array_equal(joined.tokens[1], [[1, 7, 8, 8, 8, 0, 0], [1, 7, 2, 0, 0, 0, 0]])
    np.testing.assert_array_equal(joined.target[1], [[0, 0, 1, 1, 1, 0, 0], [0, 0, 1, 0, 0, 0, 0]])


def test_mean_log_probs_by_hand():
    packed = pack(TOKENIZER, [("1 2 ;", "3 4"), ("1 2 ; 3", ""), ("1", "")], 8, "x", end=False)
    params = tiny.make_params()
    total, count = jax.jit(target_log_probs, static_argnums=0)(tiny.MODEL, params, None, packed)
    np.testing.assert_array_equal(count, [2, 0, 0])
    mean = jax.jit(mean_log_probs, static_argnums=0)(tiny.MODEL, params, None, packed)
    np.testing.assert_allclose(mean, [total[0] / 2, 0, 0], rtol=1e-6)
    assert total[0] < -1


@pytest.mark.parametrize("top_p", [1.0, 0.9])
def test_written_log_probabilities_are_those_that_an_update_recomputes(top_p: float):
    method = dataclasses.replace(tiny.make_method(), generator=GeneratorConfig(tiny.EXAMPLES, 0.6, top_p))
    actor, problems = tiny.make_actor(method, tiny.LENIENT), tiny.make_problems()
    sets, log_probs = generator.write_practice(actor, problems, jax.random.key(0))
    draw = generator.writing(actor).draw
    assert draw == (0.6, top_p)
    found, count = sequence_log_probs(actor, sets.arrays.written, draw)
    np.testing.assert_allclose(found, log_probs, atol=1e-4)
    assert count.min() >= 1 and sets.arrays.valid_PxM.any()
    wrong = [Draw(1.0, top_p), Draw(0.5, top_p)] + [Draw(0.6)] * (top_p < 1)
    for other in wrong:
        assert np.abs(sequence_log_probs(actor, sets.arrays.written, other)[0] - log_probs).max() > 0.1, other
    again, _ = generator.write_practice(actor, problems, jax.random.key(0))
    different, _ = generator.write_practice(actor, problems, jax.random.key(1))
    assert again.texts == sets.texts != different.texts


def test_attempted_log_probabilities_are_those_that_an_update_recomputes():
    problems = tiny.make_problems()
    with jax.enable_x64(True):  # the sampler's are as exact as the parameters
        actor = tiny.make_actor(domain=tiny.LENIENT, params=tiny.float64(tiny.make_params()))
        solutions, log_probs = attribution.attempts(actor, None, problems, jax.random.key(0), 3).result()
        draw = generator.attempting(actor, 3).draw
        found, _ = sequence_log_probs(actor, solutions.weighed.sequences, draw)
    np.testing.assert_allclose(found, log_probs, rtol=1e-12)


@pytest.mark.parametrize("options", [{}, {"scan_layers": True, "remat": True, "loss_chunk": 8}])
def test_a_prompt_is_read_once_for_all_texts_behind_it_and_nothing_else_changes(options: dict):
    model, rng = dataclasses.replace(tiny.MODEL, layers=2, **options), np.random.default_rng(0)
    lengths, mask = np.array([3, 5, 4]), rng.integers(2, size=(3, 4, 6)) > 0
    mask[..., 0] = True
    written = rng.integers(3, model.vocab_size, (3, 4, 6))
    sequences = join(rng.integers(3, model.vocab_size, (3, 5)), lengths, written, mask)
    flat = jax.tree.map(lambda leaf: leaf.reshape(12, -1), sequences)
    draw, worth = Draw(0.7, 0.9), rng.normal(size=(3, 4))
    with jax.enable_x64(True):
        params = tiny.float64(models.make_params(model))

        @jax.value_and_grad
        def once(params: Params) -> jax.Array:
            return jnp.sum(worth * completion_log_probs(model, params, sequences, 6, draw))

        @jax.value_and_grad
        def each(params: Params) -> jax.Array:
            return jnp.sum(worth.reshape(-1) * target_log_probs(model, params, None, flat, draw)[0])

        (found, gradient), (expected, reference) = (jax.jit(fn)(params) for fn in (once, each))
        chex.assert_trees_all_close(gradient, reference, rtol=1e-9, atol=1e-11)
        assert abs(expected) > 1 and optax.tree.norm(reference) > 1
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_practice_arrays_hold_the_parsed_texts():
    problems = tiny.make_problems()
    rows = tiny.make_rows(problems)
    arrays = pack_practice(tiny.make_actor(), problems, rows).arrays
    np.testing.assert_array_equal(arrays.valid_PxM, [[e is not MALFORMED for e in row] for row in rows])
    assert not arrays.examples.target[~arrays.valid_PxM].any()
    example, task = rows[1][2], tiny.DOMAIN.task
    tokens, target = arrays.examples.tokens[1, 2], arrays.examples.target[1, 2]
    assert TOKENIZER.decode(tokens) == f"{task.solve_prompt(example.prompt)} {example.solution}"
    assert TOKENIZER.decode(tokens[target]) == example.solution
    for i, check in enumerate(task.checks(problems[1], example)):
        asked = arrays.checks.tokens[1, 2, i], arrays.checks.target[1, 2, i]
        assert TOKENIZER.decode(asked[0]) == f"{check.context} {check.target}"
        assert TOKENIZER.decode(asked[0][asked[1]]) == check.target


def test_garbage_is_malformed_and_trains_nothing():
    problems = tiny.make_problems()
    sets, _ = generator.write_practice(tiny.make_actor(), problems, jax.random.key(0))
    arrays = sets.arrays
    assert not arrays.valid_PxM.any() and not arrays.examples.target.any() and not arrays.checks.target.any()
    assert sets.texts == [[MALFORMED] * tiny.EXAMPLES] * len(problems)
