"""Adapters in PEFT's LoRA format, both ways, and merged into a full model.

PEFT (Mangrulkar et al., https://github.com/huggingface/peft) adds ``(alpha / r) B A``, or ``(alpha / sqrt(r)) B A`` with
rank-stabilised scaling (Kalajdzievski 2023, arXiv 2312.03732). Our factor is 1, so theirs is folded into ``b``.
"""

import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from mass_jax.models.pretrained.errors import PretrainedError
from mass_jax.models.pretrained.families import layer_tensors
from mass_jax.models.pretrained.folder import read_json
from mass_jax.models.transformer import ModelConfig
from mass_jax.types import Params, PyTree

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_UNSUPPORTED = ("use_dora", "modules_to_save", "rank_pattern", "alpha_pattern", "layer_replication", "lora_bias")


def save(folder: str | os.PathLike[str], config: ModelConfig, adapter: PyTree, base: str) -> None:
    """Write one adapter, for ``peft.PeftModel.from_pretrained`` or `load`.

    Args:
      folder: made where it is not there.
      config: the architecture that it adapts.
      adapter: as `lora.init` returns it, leaves [L, ...].
      base: name or folder of the model, for whoever loads it.

    Raises:
      PretrainedError: the leaves belong to several problems.
    """
    if any(leaf["a"].ndim != 3 for leaf in adapter.values()):
        raise PretrainedError("the adapter's leaves have an axis of problems: choose one problem's, and save that.")
    names = _modules(config)
    tensors, rank = {}, 0
    for module, leaf in adapter.items():
        rank = leaf["a"].shape[-1]
        for layer in range(config.layers):
            name = f"base_model.model.{names[module].format(layer)}"
            tensors[f"{name}.lora_A.weight"] = np.ascontiguousarray(np.asarray(leaf["a"][layer]).T)
            tensors[f"{name}.lora_B.weight"] = np.ascontiguousarray(np.asarray(leaf["b"][layer]).T)
    raw = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted(adapter),
        "inference_mode": True,
    }
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        save_file(tensors, Path(scratch) / WEIGHTS, metadata={"format": "pt"})
        (Path(scratch) / CONFIG).write_text(json.dumps(raw, indent=2), encoding="utf-8")
        for name in (WEIGHTS, CONFIG):
            os.replace(Path(scratch) / name, folder / name)


def load(folder: str | os.PathLike[str], config: ModelConfig) -> PyTree:
    """An adapter that `save` or PEFT wrote, float32 leaves [L, ...] with the scale folded into ``b``.

    Args:
      folder: with ``adapter_config.json`` and ``adapter_model.safetensors``.
      config: the architecture that it adapts.

    Raises:
      PretrainedError: files are missing or damaged; the adapter is of another kind or uses an option that ours does not
        have; a tensor is unknown, missing in some layer, or of another shape.
    """
    folder = Path(folder)
    raw = read_json(folder / CONFIG)
    if raw.get("peft_type") != "LORA":
        raise PretrainedError(f"{folder} is a {raw.get('peft_type')} adapter; supported is LORA.")
    used = [name for name in _UNSUPPORTED if raw.get(name)]
    used += ["bias"] if raw.get("bias", "none") != "none" else []
    if used:
        raise PretrainedError(f"{folder} uses {', '.join(f'{n} = {raw[n]!r}' for n in used)}, which is not supported.")
    try:
        tensors = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise PretrainedError(f"{folder / WEIGHTS} cannot be read ({error}): get it again.") from None
    rank = int(raw["r"])
    scale = float(raw["lora_alpha"]) / (rank**0.5 if raw.get("use_rslora") else rank)

    modules = {name: module for module, pattern in _modules(config).items() for name in _names(pattern, config.layers)}
    found: dict[str, dict[str, dict[int, np.ndarray]]] = {}
    for name, array in tensors.items():
        match = re.fullmatch(r"base_model\.model\.(.+)\.lora_([AB])\.weight", name)
        if match is None or match[1] not in modules:
            raise PretrainedError(f"{folder} adapts {name}, which this architecture does not have.")
        layer = int(re.search(r"\.(\d+)\.", match[1])[1])  # type: ignore[index] (every name of ours has one)
        found.setdefault(modules[match[1]], {"A": {}, "B": {}})[match[2]][layer] = array.T
    adapter = {}
    for module, parts in sorted(found.items()):
        for part, layers in parts.items():
            if missing := sorted(set(range(config.layers)) - set(layers)):
                raise PretrainedError(
                    f"{folder} has no lora_{part} of {module} in the layers {missing}: adapt all layers."
                )
        d_in, d_out = _shape(config, module)
        for part, shape in (("A", (d_in, rank)), ("B", (rank, d_out))):
            wrong = next((a.shape for a in parts[part].values() if a.shape != shape), None)
            if wrong is not None:
                raise PretrainedError(
                    f"{folder} has a lora_{part} of {module} of the shape {wrong[::-1]}, but the model asks for "
                    f"{shape[::-1]}: it belongs to another model."
                )
        a, b = (np.stack([parts[part][i] for i in range(config.layers)]).astype(np.float32) for part in "AB")
        adapter[module] = {"a": jnp.asarray(a), "b": jnp.asarray(scale * b)}
    return adapter


def merge(params: Params, adapter: PyTree) -> Params:
    """Full parameters W + A B, of the dtypes of ``params``; computed in float32 at least.

    Raises:
      PretrainedError: the leaves of ``adapter`` belong to several problems.
    """
    if any(leaf["a"].ndim != 3 for leaf in adapter.values()):
        raise PretrainedError("the adapter's leaves have an axis of problems: merge one problem's.")
    layers = dict(params["layers"])
    for module, leaf in adapter.items():
        kernel = layers[module]["kernel"]
        added = jnp.einsum("ldr,lrf->ldf", leaf["a"], leaf["b"], preferred_element_type=jnp.float32)
        layers[module] = layers[module] | {"kernel": (kernel + added).astype(kernel.dtype)}
    return params | {"layers": layers}


def _modules(config: ModelConfig) -> dict[str, str]:
    """Projections by our name, with ``{}`` for the layer in theirs."""
    return {t.ours[0]: t.hugging_face.removesuffix(".weight") for t in layer_tensors(config) if t.ours[-1] == "kernel"}


def _names(pattern: str, layers: int) -> list[str]:
    return [pattern.format(layer) for layer in range(layers)]


def _shape(config: ModelConfig, module: str) -> tuple[int, int]:
    attention, keys = config.heads * config.head_dim, config.kv_heads * config.head_dim
    shapes: dict[str, Any] = {
        "q_proj": (config.width, attention),
        "k_proj": (config.width, keys),
        "v_proj": (config.width, keys),
        "o_proj": (attention, config.width),
        "gate_proj": (config.width, config.mlp_width),
        "up_proj": (config.width, config.mlp_width),
        "down_proj": (config.mlp_width, config.width),
    }
    return shapes[module]
