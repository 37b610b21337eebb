"""Pretrained parameters come back bitwise, and only for the config that made them."""

import chex
import jax
import jax.numpy as jnp
import pytest

from mass_jax.runtime.checkpoint import Checkpointer, CheckpointError
from mass_jax.runtime.saved_params import load_params, save_params

MODEL = {"model": {"width": 3, "layers": 1}, "seed": 0}


def make_params():
    return {"w": jnp.linspace(-1, 1, 7), "layers": [{"b": jnp.full(3, 0.1, jnp.bfloat16)}]}


def test_pretrained_parameters(tmp_path):
    params = make_params()
    save_params(tmp_path / "base", params, MODEL)
    loaded = load_params(tmp_path / "base", jax.eval_shape(make_params), MODEL)
    chex.assert_trees_all_equal_comparator(
        lambda x, y: x.dtype == y.dtype and x.tobytes() == y.tobytes(), lambda x, y: f"{x} is not {y}", loaded, params
    )
    with pytest.raises(CheckpointError, match="holds parameters already"):
        save_params(tmp_path / "base", params, MODEL)
    other = {"model": {"width": 4, "layers": 1}, "vocab": 9, "seed": 0}
    with pytest.raises(CheckpointError) as e:
        load_params(tmp_path / "base", {"w": jnp.zeros(3)}, other)  # the config is compared before the arrays
    assert "model.width: 3 (there), 4 (now)" in str(e.value) and "vocab: '<absent>' (there), 9 (now)" in str(e.value)
    assert "layers" not in str(e.value) and "pretrain anew" in str(e.value)
    with pytest.raises(CheckpointError, match="no checkpoint in .*none"):
        load_params(tmp_path / "none", params, MODEL)


def test_a_run_is_not_mistaken_for_pretrained_parameters(tmp_path):
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(7, {"params": make_params(), "step": 7})
    with pytest.raises(CheckpointError, match="is of another model"):
        load_params(tmp_path, make_params(), MODEL)
