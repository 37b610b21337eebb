"""GPT-2 against its definition, and what the meta-gradient asks of it: second derivatives, options that save memory."""

import dataclasses
from collections.abc import Iterator
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from mass_jax.models import gpt2
from mass_jax.models.gpt2 import GPT2Config
from tests.models.tiny import quick_jit

CONFIG = GPT2Config(vocab_size=19, width=12, layers=2, heads=3, context=8)
LEAN = {"remat": True, "loss_chunk": 6}


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


@cache
def make_params(config=CONFIG):
    """Parameters far from the symmetry of a fresh initialisation: no bias is 0, no scale is 1."""
    shapes = jax.eval_shape(lambda: gpt2.init(config, jax.random.key(0)))
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        name = jax.tree_util.keystr(path)
        value = rng.normal(size=leaf.shape)
        return np.exp(0.3 * value) if "scale" in name else value * (leaf.shape[-2] ** -0.5 if "kernel" in name else 0.5)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def make_tokens(batch=3, length=6, config=CONFIG):
    return np.random.default_rng(1).integers(config.vocab_size, size=(batch, length))


losses = quick_jit(gpt2.token_losses, static_argnums=0)


def test_small_has_the_released_number_of_parameters():
    shapes = jax.eval_shape(lambda: gpt2.init(GPT2Config(), jax.random.key(0)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 124_439_808


def test_initial_scales():
    config = GPT2Config(vocab_size=500, width=64, layers=8, heads=2, context=100)
    params = jax.jit(partial(gpt2.init, config))(jax.random.key(0))
    arrays = {name: params["layers"][name]["kernel"] for name in ("qkv", "out", "up", "down")}
    arrays |= {name: params[name] for name in ("embed", "positions")}
    expected = {"qkv": 0.02, "out": 0.005, "up": 0.02, "down": 0.005, "embed": 0.02, "positions": 0.01}
    assert {name: float(array.std()) for name, array in arrays.items()} == pytest.approx(expected, rel=0.03)
    firsts = [round(float(array.ravel()[0]) / expected[name], 4) for name, array in arrays.items()]
    assert len(set(firsts)) == 6  # each array has its own draw,
    assert len(np.unique(arrays["qkv"][:, 0, 0])) == 8  # and so has each layer


def reference_losses(params, tokens):
    """Cross-entropy of one sequence, a head and a position at a time, in numpy."""
    norm = lambda p, x: (x - x.mean()) / np.sqrt(x.var() + 1e-5) * p["scale"] + p["bias"]  # noqa: E731
    linear = lambda p, x: x @ p["kernel"] + p["bias"]  # noqa: E731
    stream = [params["embed"][token] + params["positions"][t] for t, token in enumerate(tokens)]
    for i in range(CONFIG.layers):
        layer = jax.tree.map(lambda leaf, i=i: leaf[i], params["layers"])
        qkv = [np.split(linear(layer["qkv"], norm(layer["attention_norm"], x)), 3) for x in stream]
        for t in range(len(tokens)):
            mixed = []
            for head in np.split(np.arange(CONFIG.width), CONFIG.heads):
                shares = np.exp([qkv[t][0][head] @ qkv[s][1][head] / np.sqrt(len(head)) for s in range(t + 1)])
                mixed.append(sum(a * qkv[s][2][head] for s, a in enumerate(shares / shares.sum())))
            stream[t] = stream[t] + linear(layer["out"], np.concatenate(mixed))
            h = linear(layer["up"], norm(layer["mlp_norm"], stream[t]))
            h = h / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (h + 0.044715 * h**3)))
            stream[t] = stream[t] + linear(layer["down"], h)
    logits = np.stack([params["embed"] @ norm(params["final_norm"], x) for x in stream])
    return np.log(np.exp(logits).sum(axis=1))[:-1] - logits[np.arange(len(tokens) - 1), tokens[1:]]


@pytest.mark.parametrize("options", [{}, LEAN])
def test_losses_are_those_of_the_definition(options):
    tokens = make_tokens()
    found = losses(dataclasses.replace(CONFIG, dtype="float64", **options), make_params(), tokens)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, [reference_losses(make_params(), row) for row in tokens], rtol=1e-12)


@pytest.mark.parametrize("changed", [1, 4])
def test_no_loss_depends_on_a_later_token(changed):
    config = dataclasses.replace(CONFIG, dtype="float64")
    tokens = make_tokens()
    other = tokens.copy()
    other[:, changed] = (other[:, changed] + 1) % CONFIG.vocab_size
    before, after = (np.asarray(losses(config, make_params(), t)) for t in (tokens, other))
    np.testing.assert_array_equal(before[:, : changed - 1], after[:, : changed - 1])
    assert np.all(before[:, changed - 1 :] != after[:, changed - 1 :])


def second_order(config, tokens):
    """A point and a direction in all parameters, and the program ``(x, v) -> gradient, H v``."""
    flat, unravel = ravel_pytree(make_params(config))
    weights = np.array([0.5, 1.0, 1.5])[:, None]

    def loss(flat):
        return jnp.sum(weights * gpt2.token_losses(config, unravel(flat), tokens))

    program = quick_jit(lambda x, v: jax.jvp(jax.grad(loss), (x,), (v,)))
    return np.asarray(flat), np.random.default_rng(2).normal(size=flat.shape), program


@cache
def tiny_second_order(**options):
    return second_order(dataclasses.replace(CONFIG, dtype="float64", **options), make_tokens())


def test_second_derivatives_match_finite_differences():
    x, v, program = tiny_second_order(**LEAN)
    exact = np.asarray(program(x, v)[1])
    assert exact.dtype == np.float64
    assert np.abs(exact).max() > 0.1
    for step in (1e-5, 3e-6):
        numeric = (program(x + step * v, v)[0] - program(x - step * v, v)[0]) / (2 * step)
        np.testing.assert_allclose(exact, numeric, rtol=1e-6, atol=1e-6 * np.abs(exact).max())


@pytest.mark.parametrize("option", LEAN)
def test_an_option_moves_the_memory_and_not_the_numbers(option):
    value = {"remat": True, "loss_chunk": 8}[option]
    plain = GPT2Config(vocab_size=1000, width=8, layers=1, heads=1, context=32, dtype="float64")
    if option == "remat":
        plain = dataclasses.replace(plain, vocab_size=19, layers=8)
    tokens = make_tokens(3, 32, plain)
    results, sizes = [], []
    for config in (plain, dataclasses.replace(plain, **{option: value})):
        x, v, program = second_order(config, tokens)
        compiled = program.lower(x, v).compile()
        results.append(compiled(x, v))
        sizes.append(compiled.memory_analysis().temp_size_in_bytes)
    assert sizes[1] < 0.6 * sizes[0]
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_bfloat16_is_for_activations_and_losses_stay_float32():
    params = jax.tree.map(np.float32, make_params())
    found = losses(dataclasses.replace(CONFIG, dtype="bfloat16"), params, make_tokens())
    exact = losses(CONFIG, params, make_tokens())
    assert (found.dtype, exact.dtype) == (np.float32, np.float32)
    assert 1e-4 < np.abs(found - exact).max() < 0.1
    hidden = jax.eval_shape(partial(gpt2.forward, dataclasses.replace(CONFIG, dtype="bfloat16")), params, make_tokens())
    assert (hidden.dtype, hidden.shape) == (jnp.bfloat16, (3, 6, 12))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="heads = 5 does not divide width = 12"):
        dataclasses.replace(CONFIG, heads=5)
    with pytest.raises(ValueError, match="a sequence of 9 tokens exceeds GPT-2's context of 8"):
        gpt2.forward(CONFIG, make_params(), make_tokens(length=9))
