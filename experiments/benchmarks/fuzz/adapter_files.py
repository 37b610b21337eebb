"""Adapters as PEFT writes them: the config or the tensors are mutated."""

import math
import shutil
from pathlib import Path

import jax
import numpy as np

from experiments.benchmarks.fuzz import mutations
from experiments.benchmarks.fuzz.safetensors_files import TINY
from mass_jax.models import decoder, lora
from mass_jax.models.lora import LoraConfig
from mass_jax.models.pretrained import peft_format


def seeds(home: Path) -> list[Path]:
    """An adapter of all projections, and one of two."""
    params = decoder.init(TINY, jax.random.key(0))
    for name, targets in (("all", ".*_proj"), ("two", "(q|v)_proj")):
        adapter = lora.init(LoraConfig(2, targets), params, jax.random.key(1))
        peft_format.save(home / name, TINY, adapter, "base")
    return [home / "all", home / "two"]


def mutate(origin: Path, target: Path, rng: np.random.Generator) -> bool:
    """Change one of the two files."""
    shutil.copytree(origin, target)
    if rng.random() < 0.5:
        return mutations.safetensors_file(origin / peft_format.WEIGHTS, target / peft_format.WEIGHTS, rng)
    place = mutations.json_file(origin / peft_format.CONFIG, target / peft_format.CONFIG, rng)
    if len(place) != 2:
        return False
    name, value = place
    if name in ("r", "lora_alpha"):
        return type(value) not in (int, float) or not 0 < value < math.inf or (name == "r" and value != 2)
    return str(name).startswith("use_") and value is True and name != "use_rslora"


def load(path: Path) -> None:
    """Every weight must be a number."""
    adapter = peft_format.load(path, TINY)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(adapter)), "a weight is no number"
