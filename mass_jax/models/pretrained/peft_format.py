"""Adapters in PEFT's LoRA format, both ways, and merged into a full model.

PEFT (Mangrulkar et al., https://github.com/huggingface/peft) adds ``(alpha / r) B A``, or ``(alpha / sqrt(r)) B A``
with rank-stabilised scaling (Kalajdzievski 2023, arXiv 2312.03732). Our factor is 1, so theirs is folded into ``b``.
"""

import contextlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import jax.numpy as jnp
import numpy as np
from pydantic import Field
from safetensors import SafetensorError, safe_open

from mass_jax.models.config import ModelConfig
from mass_jax.models.pretrained.config_schema import Positive, Size, Strict, check
from mass_jax.models.pretrained.errors import PretrainedError
from mass_jax.models.pretrained.families import layer_tensors
from mass_jax.models.pretrained.folder import read_json, read_tensor, shapes_of, write_files
from mass_jax.types import Params, PyTree

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_HARMLESS = set(
    "task_type peft_version auto_mapping base_model_name_or_path revision inference_mode lora_dropout megatron_core "
    "ensure_weight_tying qalora_group_size loftq_config eva_config runtime_config".split()
)
"""Fields that do not change the function that the tensors make."""


class _Config(Strict):
    """What an ``adapter_config.json`` may say."""

    peft_type: Literal["LORA"]
    r: Size
    lora_alpha: Positive
    use_rslora: bool = False
    use_dora: Literal[False, None] = False
    lora_bias: Literal[False, None] = False
    bias: Literal["none", None] = "none"
    fan_in_fan_out: bool = False  # of a linear layer PEFT itself puts it right
    # Ways to initialise that leave the base's weights as they are; PiSSA and its kind take from them what they add.
    init_lora_weights: Literal[True, False, "gaussian", "eva", "orthogonal"] = True
    target_modules: list[str] | str | None = Field(None, description="a pattern, or a list of names")
    layers_to_transform: list[int] | int | None = Field(None, description="the number of a layer, or a list of them")


def save(folder: str | os.PathLike[str], config: ModelConfig, adapter: PyTree, base: str) -> None:
    """Write one adapter, for ``peft.PeftModel.from_pretrained`` or `load`.

    Args:
      folder: made where it is not there.
      config: the architecture that it adapts.
      adapter: as `lora.init` returns it, leaves [L, ...].
      base: name or folder of the model, for whoever loads it.

    Raises:
      PretrainedError: the leaves belong to several problems, or have other shapes than the model and one rank ask for.
    """
    if any(leaf["a"].ndim != 3 for leaf in adapter.values()):
        raise PretrainedError("the adapter's leaves have an axis of problems: choose one problem's, and save that.")
    names = _modules(config)
    if not adapter or not adapter.keys() <= names.keys():
        raise PretrainedError(
            f"the adapter adapts {', '.join(sorted(adapter)) or 'nothing'}: give an adapter of one or more of "
            f"{', '.join(names)}."
        )
    layers = shapes_of(config)["layers"]
    rank, tensors = next(iter(adapter.values()))["a"].shape[-1], {}
    for module, leaf in adapter.items():
        _, d_in, d_out = layers[module]["kernel"].shape
        asked = (config.layers, d_in, rank), (config.layers, rank, d_out)
        if (leaf["a"].shape, leaf["b"].shape) != asked:
            raise PretrainedError(
                f"the adapter of {module} has the shapes {leaf['a'].shape} and {leaf['b'].shape}, but the model and "
                f"rank {rank} ask for {asked[0]} and {asked[1]}: save it with the model it was made for."
            )
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
    write_files(folder, (WEIGHTS, tensors), (CONFIG, raw))


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
        raise PretrainedError(f"{folder} is a {str(raw.get('peft_type'))[:80]} adapter; supported is LORA.")
    # An option that is off, whichever PEFT brought it, changes nothing.
    given = {name: raw[name] for name in raw if name in _Config.model_fields or raw[name] not in (False, [], {})}
    settings = check(_Config, given, str(folder / CONFIG), _HARMLESS, "merge it into its base with peft")
    rank = settings.r
    scale = settings.lora_alpha / (rank**0.5 if settings.use_rslora else rank)
    if not (folder / WEIGHTS).is_file():
        raise PretrainedError(f"{folder / WEIGHTS} is missing: save the adapter with peft's save_pretrained.")
    tensors = _tensors(folder / WEIGHTS)
    places = {
        pattern.format(layer): (module, layer)
        for module, pattern in _modules(config).items()
        for layer in range(config.layers)
    }
    found: dict[str, dict[str, dict[int, np.ndarray]]] = {}
    for name, array in tensors.items():
        match = re.fullmatch(r"base_model\.model\.(.+)\.lora_([AB])\.weight", name)
        if match is None or match[1] not in places:
            raise PretrainedError(f"{folder} adapts {name}, which this architecture does not have.")
        module, layer = places[match[1]]
        found.setdefault(module, {"A": {}, "B": {}})[match[2]][layer] = array.T
    if not found:
        raise PretrainedError(f"{folder / WEIGHTS} holds no tensors: get it again.")
    _check_targets(settings, config, found, folder)
    adapter, shapes = {}, shapes_of(config)["layers"]
    for module, parts in sorted(found.items()):
        for part, layers in parts.items():
            if missing := sorted(set(range(config.layers)) - set(layers)):
                raise PretrainedError(
                    f"{folder} has no lora_{part} of {module} in the layers {missing}: adapt all layers."
                )
        _, d_in, d_out = shapes[module]["kernel"].shape
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


def _tensors(path: Path) -> dict[str, np.ndarray]:
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(safe_open(path, framework="numpy"))
            names = sorted(file.keys())
        except (OSError, SafetensorError) as error:
            raise PretrainedError(f"{path} cannot be read ({error}): get it again.") from None
        return {name: read_tensor(file, name, str(path)) for name in names}


def _check_targets(settings: _Config, config: ModelConfig, found: Iterable[str], folder: Path) -> None:
    """PEFT reads the tensors of the modules and layers that the config names, and drops others."""
    layers, targets = settings.layers_to_transform, settings.target_modules
    layers = [layers] if isinstance(layers, int) else layers
    if layers and set(layers) != set(range(config.layers)):
        raise PretrainedError(
            f"{folder / CONFIG} has layers_to_transform = {str(layers)[:80]}, but the model has the layers 0 to "
            f"{config.layers - 1}: adapt all of them."
        )
    if targets is None or targets == "all-linear":
        return

    def named(key: str) -> bool:
        if isinstance(targets, str):
            return re.fullmatch(targets, key) is not None
        return any(key == target or key.endswith(f".{target}") for target in targets)

    patterns = _modules(config)
    try:
        spare = [module for module in found if not all(named(patterns[module].format(i)) for i in range(config.layers))]
    except re.error as error:
        raise PretrainedError(f"{folder / CONFIG} has target_modules = {str(targets)[:80]}: {error}.") from None
    if spare:
        raise PretrainedError(
            f"{folder} holds tensors of {', '.join(spare)}, which target_modules = {str(targets)[:80]} does not name "
            "in every layer: get both files again."
        )


def merge(params: Params, adapter: PyTree) -> Params:
    """Full parameters W + A B, of the dtypes of ``params``; computed in float32 at least.

    Raises:
      PretrainedError: the leaves of ``adapter`` belong to several problems, or to another model.
    """
    if any(leaf["a"].ndim != 3 for leaf in adapter.values()):
        raise PretrainedError("the adapter's leaves have an axis of problems: merge one problem's.")
    layers = dict(params["layers"])
    for module, leaf in adapter.items():
        kernel = layers.get(module, {}).get("kernel")
        asked = (*leaf["a"].shape[:2], leaf["b"].shape[-1])
        if kernel is None or kernel.shape != asked:
            has = "none" if kernel is None else kernel.shape
            raise PretrainedError(f"the adapter is for a {module} of the shape {asked}, but the model has {has}.")
        wide = jnp.promote_types(kernel.dtype, jnp.float32)
        # In full precision: an accelerator's usual product is coarser than the weights that it is added to.
        added = jnp.matmul(leaf["a"].astype(wide), leaf["b"].astype(wide), precision="highest")
        layers[module] = layers[module] | {"kernel": (kernel.astype(wide) + added).astype(kernel.dtype)}
    return params | {"layers": layers}


def _modules(config: ModelConfig) -> dict[str, str]:
    """Projections by our name, with ``{}`` for the layer in theirs."""
    return {t.ours[0]: t.hugging_face.removesuffix(".weight") for t in layer_tensors(config) if t.ours[-1] == "kernel"}
