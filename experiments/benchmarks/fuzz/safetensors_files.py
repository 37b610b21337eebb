"""Folders with weights, whole or in shards: the safetensors, or their index, are mutated."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
from safetensors.numpy import load_file, save_file

from experiments.benchmarks.fuzz import mutations
from mass_jax.models import decoder
from mass_jax.models.config import ModelConfig
from mass_jax.models.pretrained import folder, source

TINY = ModelConfig(32, width=16, layers=2, heads=2, kv_heads=1, head_dim=8, mlp_width=24, context=64)


def seeds(home: Path) -> list[Path]:
    """A whole checkpoint, and the same in two shards."""
    folder.write(home / "whole", TINY, decoder.init(TINY, jax.random.key(0)))
    tensors = load_file(home / "whole" / folder.WEIGHTS)
    (home / "shards").mkdir()
    shutil.copy(home / "whole" / "config.json", home / "shards")
    parts = {f"model-0000{i + 1}-of-00002.safetensors": sorted(tensors)[i::2] for i in range(2)}
    for name, part in parts.items():
        save_file({key: tensors[key] for key in part}, home / "shards" / name, metadata={"format": "pt"})
    index = {"metadata": {"total_size": 1}, "weight_map": {key: name for name, part in parts.items() for key in part}}
    (home / "shards" / folder.INDEX).write_text(json.dumps(index), encoding="utf-8")
    return [home / "whole", home / "shards"]


def mutate(origin: Path, target: Path, rng: np.random.Generator) -> bool:
    """Change one file other than ``config.json``."""
    shutil.copytree(origin, target)
    files = sorted(p for p in origin.iterdir() if p.name != "config.json")
    file = files[rng.integers(len(files))]
    if file.name == folder.INDEX:
        mutations.json_file(file, target / file.name, rng)
        return False
    return mutations.safetensors_file(file, target / file.name, rng)


def load(path: Path) -> None:
    """Every weight must be a number."""
    params = source.load_params(str(path), source.load_config(str(path)))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params)), "a weight is no number"
