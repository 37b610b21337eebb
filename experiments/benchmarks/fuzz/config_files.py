"""Folders whose ``config.json`` is mutated: architectures of every family, with and without stretched rotary angles."""

import dataclasses
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmarks.fuzz import mutations
from mass_jax.models.config import ModelConfig, RopeScaling
from mass_jax.models.pretrained import families, source

TINY = ModelConfig(32, width=16, layers=2, heads=2, kv_heads=1, head_dim=8, mlp_width=24, context=64)
WINDOW: dict[str, Any] = {"sliding_window": 4, "sliding_layers": (True, False)}
GEMMA: dict[str, Any] = families.SWITCHES["gemma3"] | {"embed_scale": 4.0, "query_scale": 0.25}
MODELS = {
    "llama": TINY,
    "llama3": dataclasses.replace(TINY, rope_scaling=RopeScaling("llama3", 8.0, original_context=16)),
    "qwen2": dataclasses.replace(TINY, qkv_bias=True, rope_scaling=RopeScaling("linear", 2.0), **WINDOW),
    "qwen3": dataclasses.replace(TINY, qk_norm=True, rope_scaling=RopeScaling("yarn", 4.0, original_context=16)),
    "gemma3": dataclasses.replace(TINY, local_rope_theta=100.0, **WINDOW, **GEMMA),
}
WHOLE = {"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"}
REAL = {"rms_norm_eps", "rope_theta"}


def seeds(home: Path) -> list[Path]:
    """A folder for each of `MODELS`."""
    for name, config in MODELS.items():
        (home / name).mkdir()
        text = json.dumps(families.to_hugging_face(config))
        (home / name / "config.json").write_text(text, encoding="utf-8")
    return [home / name for name in MODELS]


def mutate(origin: Path, target: Path, rng: np.random.Generator) -> bool:
    """Change ``config.json``; a size that is none, and a number that is none, have to be refused."""
    shutil.copytree(origin, target)
    place = mutations.json_file(origin / "config.json", target / "config.json", rng)
    if len(place) != 2:
        return False
    name, value = place
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if name in WHOLE:
        return not isinstance(value, int) or isinstance(value, bool) or value < 1
    if name in REAL and not (name == "rope_theta" and value is None):
        return not number or not (0 < value < math.inf)
    return str(name).startswith("use_") and value is True and name != "use_sliding_window"


def load(path: Path) -> None:
    """What is accepted has numbers of the right kinds, and its parameters have shapes."""
    config = source.load_config(str(path))
    for name in ("vocab_size", "width", "layers", "heads", "kv_heads", "head_dim", "mlp_width", "context"):
        value = getattr(config, name)
        assert type(value) is int and value > 0, f"{name} = {value!r}"
    numbers = [config.rope_theta, config.norm_eps, config.local_rope_theta, config.query_scale]
    assert all(value is None or (type(value) is float and 0 < value < math.inf) for value in numbers), numbers
    assert type(config.tie_embeddings) is bool
    assert families.from_hugging_face(families.to_hugging_face(config), "what was written") == config
