"""Tiny checkpoints of every family, written by transformers, with every parameter random."""

import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from mass_jax.models import decoder
from mass_jax.models.config import ModelConfig
from mass_jax.types import Params

LENGTH = 230
"""Tokens in a test sequence: past every window, and past the original context of stretched ones."""
SMALL = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama, stretched": ("Llama", {"rope_parameters": LLAMA3 | {"rope_theta": 5000.0}, "tie_word_embeddings": False}),
    "llama, yarn": ("Llama", {"rope_parameters": YARN | {"rope_theta": 8000.0}}),
    "smollm2": ("Llama", {"tie_word_embeddings": True, "rms_norm_eps": 1e-5}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": False}),
    "qwen2, sliding": (
        "Qwen2",
        {
            "use_sliding_window": True,
            "sliding_window": 20,
            "max_window_layers": 1,
            "rope_parameters": {"rope_type": "linear", "factor": 3.0, "rope_theta": 10_000.0},
        },
    ),
    "qwen3": ("Qwen3", {"head_dim": 16, "tie_word_embeddings": True}),
    "gemma3": (
        "Gemma3",
        {"num_hidden_layers": 7, "head_dim": 16, "query_pre_attn_scalar": 24, "sliding_window": 20},
    ),
}


@functools.cache
def make(name: str) -> Any:
    """A random model of transformers."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    family, changes = MODELS[name]
    config_class = getattr(transformers, {"Gemma3": "Gemma3TextConfig"}.get(family, f"{family}Config"))
    torch.manual_seed(0)
    model = getattr(transformers, f"{family}ForCausalLM")(config_class(**SMALL | changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # norms and biases too: nothing may hide behind ones and zeros
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def tokens(vocabulary: int = 61, length: int = LENGTH) -> np.ndarray:
    return np.random.default_rng(0).integers(3, vocabulary, (2, length))


def their_logits(model: Any, ids: np.ndarray) -> np.ndarray:
    import torch

    with torch.no_grad():
        return model(torch.tensor(ids)).logits.numpy()


def our_logits(config: ModelConfig, params: Params, ids: np.ndarray, adapter: Any = None) -> np.ndarray:
    @jax.jit
    def run(params: Params, adapter: Any) -> jax.Array:
        return decoder.logits(config, params, decoder.forward(config, params, adapter, ids)[0])

    return np.asarray(run(params, adapter))


@pytest.fixture(params=MODELS)
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, Path]:
    """A model of transformers, and the folder that it was saved to."""
    model = make(request.param)
    model.save_pretrained(tmp_path / "model")
    return model, tmp_path / "model"
