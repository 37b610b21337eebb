"""Adapters: which projections they touch, and what they add to them."""

from functools import partial

import jax
import numpy as np
import pytest

from mass_jax.models import decoder, lora
from mass_jax.models.lora import LoraConfig
from tests.models.tiny import CONFIG, log_probs, make_adapter, make_params, make_tokens, quick_jit

ALL = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def fresh(params, rank=3, targets=".*_proj"):
    """What `lora.init` gives, with the numbers for a drawn by NumPy and b as it is."""
    return {
        name: leaf | {"b": np.zeros_like(leaf["b"])} for name, leaf in make_adapter(params, 0, rank, targets).items()
    }


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (".*_proj", ALL),
        (".*", ALL),
        ("[qv]_proj", {"q_proj", "v_proj"}),
        ("q_proj|down_proj", {"q_proj", "down_proj"}),
        ("(gate|up|down)_proj", {"gate_proj", "up_proj", "down_proj"}),
        ("o_proj", {"o_proj"}),
    ],
)
def test_targets_are_whole_names(targets, expected):
    adapter = jax.eval_shape(partial(lora.init, LoraConfig(2, targets)), make_params(), jax.random.key(0))
    assert set(adapter) == expected


@pytest.mark.parametrize("targets", ["q", "proj", "attention_norm", "Q_proj", ""])
def test_targets_that_match_nothing_are_refused(targets):
    with pytest.raises(ValueError, match=rf"lora\.targets = '{targets}' matches none of \['down_proj', .*'v_proj'\]"):
        lora.init(LoraConfig(2, targets), make_params(), jax.random.key(0))


@pytest.mark.parametrize("rank", [0, -1])
def test_a_rank_below_one_is_refused(rank):
    with pytest.raises(ValueError, match=rf"lora\.rank = {rank}"):
        LoraConfig(rank)


def test_shapes_and_initial_scale():
    params = make_params()
    adapter = quick_jit(partial(lora.init, LoraConfig(64, "[qk]_proj|down_proj")))(params, jax.random.key(0))
    for name, leaf in adapter.items():
        layers, d_in, d_out = params["layers"][name]["kernel"].shape
        assert leaf["a"].shape == (layers, d_in, 64)
        assert leaf["b"].shape == (layers, 64, d_out)
        assert not np.any(leaf["b"])
        assert float(np.std(leaf["a"])) == pytest.approx(d_in**-0.5, rel=0.1)
    assert np.abs(adapter["q_proj"]["a"] - adapter["k_proj"]["a"]).max() > 0.01


def test_a_fresh_adapter_is_exactly_the_base():
    params, tokens = make_params(), make_tokens()
    np.testing.assert_array_equal(
        log_probs(CONFIG, params, fresh(params), tokens), log_probs(CONFIG, params, None, tokens)
    )


def test_a_fresh_adapter_can_learn():
    params, tokens = make_params(), make_tokens()

    def loss(adapter):
        return decoder.token_log_probs(CONFIG, params, adapter, tokens).sum()

    gradient = quick_jit(jax.grad(loss))(fresh(params))
    assert set(gradient) == ALL
    for leaf in gradient.values():
        assert not np.any(leaf["a"])
        assert np.all(np.abs(leaf["b"]).max(axis=(1, 2)) > 1e-4)


def test_an_adapter_adds_its_product_to_its_matrix():
    params, tokens = make_params(), make_tokens()
    base, whole = log_probs(CONFIG, params, None, tokens), make_adapter(params)
    for name in ALL:
        # All other products are 0, so that one program serves every name.
        adapter = fresh(params) | {name: whole[name]}
        merged = params | {"layers": dict(params["layers"])}
        merged["layers"][name] = {
            "kernel": params["layers"][name]["kernel"] + np.asarray(whole[name]["a"]) @ np.asarray(whole[name]["b"])
        }
        adapted = log_probs(CONFIG, params, adapter, tokens)
        np.testing.assert_allclose(adapted, log_probs(CONFIG, merged, None, tokens), atol=2e-5, err_msg=name)
        assert np.abs(adapted - base).max() > 1e-2, name
