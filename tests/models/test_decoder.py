"""The decoder against a plain NumPy one, its invariances, and the options that must not change it."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mass_jax.metagrad import cost
from mass_jax.models import attention, decoder
from mass_jax.models.config import ModelConfig
from tests.models.tiny import (
    CONFIG,
    hidden_states,
    log_probs,
    make_adapter,
    make_params,
    make_tokens,
    quick_jit,
    token_log_probs,
    variant,
)


def numpy_hidden(config: ModelConfig, params, adapter, tokens: np.ndarray) -> np.ndarray:
    """The hidden states [T, D] of one sequence, in float64, token by token and head by head."""
    params, adapter = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (params, adapter))
    half, group = config.head_dim // 2, config.heads // config.kv_heads

    def norm(x, scale):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + config.norm_eps) * scale

    def turn(head, position):
        pairs = head[:half] + 1j * head[half:]
        pairs = pairs * np.exp(1j * position * config.rope_theta ** (-np.arange(half) / half))
        return np.concatenate([pairs.real, pairs.imag])

    x = params["embed"][tokens]
    for i in range(config.layers):
        layer = jax.tree.map(lambda leaf, i=i: leaf[i], params["layers"])

        def project(name, h, layer=layer, i=i):
            return h @ (layer[name]["kernel"] + adapter[name]["a"][i] @ adapter[name]["b"][i])

        h = norm(x, layer["attention_norm"]["scale"])
        q, k, v = (
            project(name, h).reshape(len(tokens), -1, config.head_dim) for name in ("q_proj", "k_proj", "v_proj")
        )
        mixed = np.zeros((len(tokens), config.heads, config.head_dim))
        for t in range(len(tokens)):
            for head in range(config.heads):
                shared = head // group
                keys = np.stack([turn(k[s, shared], s) for s in range(t + 1)])
                scores = np.exp(keys @ turn(q[t, head], t) / np.sqrt(config.head_dim))
                mixed[t, head] = scores / scores.sum() @ v[: t + 1, shared]
        x = x + project("o_proj", mixed.reshape(len(tokens), -1))
        h = norm(x, layer["mlp_norm"]["scale"])
        gate = project("gate_proj", h)
        x = x + project("down_proj", gate / (1 + np.exp(-gate)) * project("up_proj", h))
    return norm(x, params["final_norm"])


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_equals_a_plain_numpy_decoder(kv_heads):
    config = variant(CONFIG, kv_heads=kv_heads, rope_theta=50.0)
    params = make_params(config)
    adapter, tokens = make_adapter(params), make_tokens()
    for row, sequence in zip(hidden_states(config, params, adapter, tokens), tokens, strict=True):
        np.testing.assert_allclose(row, numpy_hidden(config, params, adapter, sequence), rtol=1e-5, atol=1e-5)


def test_grouped_queries_share_keys_and_values():
    params, wide, tokens = make_params(), variant(CONFIG, kv_heads=4), make_tokens()
    repeated = params | {"layers": dict(params["layers"])}
    for name in ("k_proj", "v_proj"):
        kernel = np.asarray(params["layers"][name]["kernel"])
        assert kernel.shape == (2, 16, 2 * 6)
        kernel = np.repeat(kernel.reshape(2, 16, 2, 6), 2, axis=2)
        repeated["layers"][name] = {"kernel": kernel.reshape(make_params(wide)["layers"][name]["kernel"].shape)}
    np.testing.assert_allclose(
        log_probs(CONFIG, params, None, tokens), log_probs(wide, repeated, None, tokens), atol=1e-5
    )


def test_the_past_does_not_see_the_future():
    params, tokens = make_params(), make_tokens()
    before = np.asarray(log_probs(CONFIG, params, None, tokens))
    for t in range(tokens.shape[1]):
        changed = tokens.copy()
        changed[:, t] = (tokens[:, t] + 1) % CONFIG.vocab_size
        after = np.asarray(log_probs(CONFIG, params, None, changed))
        np.testing.assert_array_equal(before[:, :t], after[:, :t])
        assert np.all(np.abs(before[:, t:] - after[:, t:]).max(axis=-1) > 1e-5)  # but all of the future sees it


def test_padding_on_the_right_changes_nothing():
    params, tokens = make_params(), make_tokens()
    padded = log_probs(CONFIG, params, None, np.pad(tokens, ((0, 0), (0, 9))))
    np.testing.assert_allclose(padded[:, : tokens.shape[1]], log_probs(CONFIG, params, None, tokens), atol=1e-5)


def test_order_matters():
    params, tokens = make_params(), make_tokens()
    assert np.any(tokens[:, 0] != tokens[:, 1])
    swapped = np.concatenate([tokens[:, 1::-1], tokens[:, 2:]], axis=1)
    change = np.asarray(log_probs(CONFIG, params, None, tokens)) - log_probs(CONFIG, params, None, swapped)
    assert np.abs(change)[:, 5:].max() > 1e-3


def test_rotation_depends_on_the_distance_only():
    rng = np.random.default_rng(0)
    q, k = rng.normal(size=(2, 8)).astype(np.float32)

    def rotated(x, position):
        turn = attention.rotation(position[None, None], x.size, 100.0, x.dtype)
        return attention.rotate(x[None, None, None], *turn)[0, 0, 0]

    rotate = quick_jit(rotated)

    def score(m, n):
        return float(rotate(q, jnp.array(m)) @ rotate(k, jnp.array(n)))

    assert score(0, 0) == pytest.approx(float(q @ k), abs=1e-5)
    assert score(9, 9) == pytest.approx(float(q @ k), abs=1e-4)
    for distance in (1, 3, 10):
        scores = [score(start + distance, start) for start in (0, 1, 7, 40)]
        assert scores == pytest.approx(scores[:1] * 4, abs=1e-4)
        assert abs(scores[0] - score(0, distance)) > 1e-2  # and on its sign
    assert abs(score(1, 0) - score(3, 0)) > 1e-2


def test_token_by_token_with_a_cache_equals_the_whole():
    params, tokens = make_params(), make_tokens()
    adapter = make_adapter(params)
    step = quick_jit(partial(decoder.forward, CONFIG))
    start = quick_jit(lambda *args: decoder.forward(CONFIG, *args, None, attention.init_cache(CONFIG, 3, 16)))
    hidden, cache = start(params, adapter, tokens[:, :4])
    parts = [hidden]
    for t in range(4, tokens.shape[1]):
        hidden, cache = step(params, adapter, tokens[:, t : t + 1], np.full((3, 1), t), cache, t)
        parts.append(hidden)
    whole = hidden_states(CONFIG, params, adapter, tokens)
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, atol=1e-5)


def test_token_log_probs_are_of_the_next_token():
    params, tokens = make_params(), make_tokens()
    full = np.asarray(log_probs(CONFIG, params, None, tokens))
    np.testing.assert_allclose(np.exp(full).sum(-1), 1, rtol=1e-5)
    expected = [[full[b, t - 1, tokens[b, t]] for t in range(1, 11)] for b in range(3)]
    np.testing.assert_allclose(token_log_probs(CONFIG, params, None, tokens), expected, atol=1e-5)


def loss(config, params, tokens):
    return -jnp.mean(decoder.token_log_probs(config, params, None, tokens))


def test_remat_saves_memory():
    # In scanned layers only: XLA's CPU compiler merges the recomputation of unrolled ones with the first computation.
    config = variant(CONFIG, layers=6, scan_layers=True)
    params, tokens = make_params(config), make_tokens(16, 32)

    def temporary_bytes(config):
        compiled = quick_jit(jax.grad(partial(loss, config))).lower(params, tokens).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    nothing_kept = temporary_bytes(variant(config, remat=True))
    some_kept = temporary_bytes(variant(config, remat=True, remat_keeps=("q_proj", "k_proj", "v_proj")))
    assert nothing_kept < 0.3 * temporary_bytes(config)
    assert 1.1 * nothing_kept < some_kept < 0.6 * temporary_bytes(config)


def test_what_remat_keeps_is_not_computed_again():
    config = variant(CONFIG, remat=True)
    params, tokens = make_params(config), make_tokens()

    def flops(config):
        return cost.count_flops(cost.trace(jax.grad(partial(loss, config)), params, tokens)[0]).matmul

    positions = tokens.shape[0] * (tokens.shape[1] - 1)
    one = 2 * positions * config.width * config.mlp_width
    assert flops(config) - flops(variant(config, remat_keeps=("gate_proj", "up_proj"))) == 2 * config.layers * one


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"remat": True, "remat_keeps": ("q_proj", "x")},
            r"remat_keeps = \('q_proj', 'x'\): give a list of .* q_proj, ",
        ),
        ({"remat": True, "remat_keeps": "q_proj"}, "remat_keeps = 'q_proj': give a list"),
        ({"remat_keeps": ("q_proj",)}, "without model.remat"),
    ],
)
def test_projections_to_keep_that_make_no_sense_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        variant(CONFIG, **options)


def test_scanned_layers_are_one_block():
    def size(config):
        return len(str(jax.make_jaxpr(partial(loss, config))(make_params(config), make_tokens())))

    deep = variant(CONFIG, layers=8)
    assert size(variant(deep, scan_layers=True)) < 1.05 * size(variant(CONFIG, scan_layers=True))
    assert size(deep) > 3 * size(CONFIG)


def test_initial_parameters():
    config = variant(CONFIG, width=64, tie_embeddings=False)
    params = quick_jit(partial(decoder.init, config))(jax.random.key(0))
    assert params["embed"].shape == (19, 64)
    assert params["unembed"].shape == (64, 19)
    assert "unembed" not in make_params()
    for name, leaf in params["layers"].items():
        if name.endswith("_proj"):
            layers, d_in, _ = leaf["kernel"].shape
            assert layers == 2
            assert float(np.std(leaf["kernel"])) == pytest.approx(d_in**-0.5, rel=0.1)
            assert np.abs(leaf["kernel"][0] - leaf["kernel"][1]).max() > 0.01  # layers start out different
        else:
            assert np.all(np.asarray(leaf["scale"]) == 1)
    assert np.all(np.asarray(params["final_norm"]) == 1)


def test_untied_embeddings_have_a_matrix_of_their_own():
    config = variant(CONFIG, tie_embeddings=False)
    params, hidden = make_params(config), make_params(seed=1)["embed"][None]
    np.testing.assert_allclose(decoder.logits(config, params, hidden), hidden @ params["unembed"], atol=1e-6)
    np.testing.assert_allclose(decoder.logits(CONFIG, params, hidden), hidden @ params["embed"].T, atol=1e-6)


def test_a_sequence_longer_than_the_context_is_refused():
    params = make_params()
    jax.eval_shape(partial(decoder.forward, CONFIG), params, None, make_tokens(1, 32))
    with pytest.raises(ValueError, match="a sequence of 33 tokens exceeds the model's context of 32: shorten"):
        decoder.forward(CONFIG, params, None, make_tokens(1, 33))
    with pytest.raises(ValueError, match="a sequence of 40 tokens exceeds the model's context of 32"):
        decoder.forward(CONFIG, params, None, make_tokens(1, 4), None, attention.init_cache(CONFIG, 1, 40))


@pytest.mark.parametrize(
    ("change", "words"),
    [({"kv_heads": 3}, "kv_heads = 3 does not divide model.heads = 4"), ({"head_dim": 5}, "head_dim = 5 is odd")],
)
def test_impossible_shapes_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(CONFIG, **change)
