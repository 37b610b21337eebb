"""A folder in Hugging Face's layout: ``config.json`` and safetensors, whole or sharded. Pickles are never opened."""

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import ml_dtypes  # noqa: F401 (gives numpy the name "bfloat16")
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from mass_jax.models import decoder, lora
from mass_jax.models.config import ModelConfig
from mass_jax.models.pretrained import families
from mass_jax.models.pretrained.errors import PretrainedError
from mass_jax.parallel import hosts
from mass_jax.types import Params, PyTree

INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"
HEAD, EMBED = "lm_head.weight", "model.embed_tokens.weight"
_FLOATS = ("F64", "F32", "F16", "BF16")
Get = Callable[[families.Tensor, int | None], np.ndarray | None]
"""A tensor of a file, of one layer, as the file has it; None where there is none."""
New = Callable[[tuple[str, ...], tuple[int, ...], str], np.ndarray]
"""The array that a parameter is written to, by its path, shape and dtype."""


def read_config(folder: str | os.PathLike[str]) -> ModelConfig:
    """The architecture that a folder's ``config.json`` describes.

    Raises:
      PretrainedError: there is none, it cannot be read, or the architecture is not supported.
    """
    return families.from_hugging_face(read_json(Path(folder) / "config.json"), str(folder))


def read(
    folder: str | os.PathLike[str], config: ModelConfig, dtype: str = "float32", sharding: PyTree | None = None
) -> Params:
    """The parameters of a folder.

    Args:
      folder: with ``model.safetensors``, or with an index and its shards.
      config: the architecture; every tensor's shape is held against it.
      dtype: of the parameters.
      sharding: a tree of shardings in the parameters' structure, or None for the default device.

    Raises:
      PretrainedError: files are missing or damaged; tensors are missing, unknown, or of another shape.
    """
    folder = Path(folder)
    with contextlib.ExitStack() as stack:
        where = _open(folder, stack)
        used: set[str] = set()

        def get(tensor: families.Tensor, layer: int | None) -> np.ndarray | None:
            name = tensor.hugging_face.format(layer)
            if name not in where:
                return None
            used.add(name)
            return read_tensor(where[name], name, str(folder))

        params = assemble(config, get, lambda t, layer: t.hugging_face.format(layer), dtype, sharding, str(folder))
        if config.tie_embeddings and HEAD in where:
            embed, head = (where[name].get_tensor(name) for name in (EMBED, HEAD))
            if not np.array_equal(embed, head):
                raise PretrainedError(
                    f"{folder} ties its embeddings (tie_word_embeddings), but holds an {HEAD} that differs from them: "
                    "set tie_word_embeddings to false in its config.json if the model was trained so."
                )
    # Older checkpoints keep the rotary frequencies, and some an output matrix that equals the embedding.
    spare = {name for name in set(where) - used if name.endswith("rotary_emb.inv_freq")}
    spare |= {HEAD} if config.tie_embeddings else set()
    if unknown := sorted(set(where) - used - spare):
        raise PretrainedError(f"{folder} holds tensors that its architecture does not have: {_some(unknown)}.")
    return params


def read_tensor(file: Any, name: str, where: str) -> np.ndarray:
    """A tensor of an open safetensors file.

    Raises:
      PretrainedError: it is quantised, or holds a number that is not finite.
    """
    kind = file.get_slice(name).get_dtype()
    if kind not in _FLOATS:
        raise PretrainedError(
            f"{name} of {where} is stored as {kind}; supported are {', '.join(_FLOATS)}: quantised weights are not "
            "read, save the model dequantised."
        )
    array = file.get_tensor(name)
    if array.dtype == "bfloat16":  # by the bits of the exponent: numpy's way takes ten times as long
        finite = not np.any(array.view(np.uint16) & 0x7F80 == 0x7F80)
    else:
        finite = bool(np.isfinite(array).all())
    if not finite:
        raise PretrainedError(
            f"{name} of {where} holds a weight that is not finite: the file is damaged, get it again."
        )
    return array


def shapes_of(config: ModelConfig) -> Params:
    """The parameters of an architecture as ``jax.ShapeDtypeStruct``."""
    return jax.eval_shape(lambda: decoder.init(config, jax.random.key(0)))


def assemble(
    config: ModelConfig,
    get: Get,
    name: Callable[[families.Tensor, int | None], str],
    dtype: str,
    sharding: PyTree | None,
    where: str,
    new: New | None = None,
) -> Params:
    """Parameters from whatever ``get`` reads; a leaf is stacked in one buffer and put on the device before the next.

    Where ``new`` is given, the leaves are what it returns, and stay on the host.

    Raises:
      PretrainedError: names every tensor that is missing, or the first of another shape.
    """
    shapes = shapes_of(config)
    missing: list[str] = []

    def one(tensor: families.Tensor, layer: int | None, shape: tuple[int, ...]) -> np.ndarray | None:
        found = get(tensor, layer)
        if found is None:
            missing.append(name(tensor, layer))
            return None
        found = found.T if tensor.transposed else found
        if found.shape != shape:
            raise PretrainedError(
                f"{name(tensor, layer)} of {where} has the shape {found.shape}, but the config asks for {shape} "
                "(as [in, out])."
            )
        return found

    def leaf(tensor: families.Tensor, shape: tuple[int, ...], sharding: Any) -> jax.Array | np.ndarray | None:
        buffer, make = None, new or (lambda path, shape, dtype: np.empty(shape, dtype))
        if tensor in families.WHOLE:
            whole = one(tensor, None, shape)
            if whole is not None:
                buffer = make(tensor.ours, shape, dtype)
                buffer[...] = whole
        else:
            for i in range(shape[0]):
                part = one(tensor, i, shape[1:])
                if part is not None:
                    # Only now: a damaged config may ask for more than there is memory, but no tensor has such a shape.
                    buffer = make(("layers", *tensor.ours), shape, dtype) if buffer is None else buffer
                    buffer[i] = part
        if buffer is None or missing:
            return None
        return buffer if new is not None else hosts.place(buffer, sharding)

    params: dict[str, Any] = {"layers": {}}
    for tensor in families.WHOLE:
        if tensor.ours[0] in shapes:
            place = None if sharding is None else sharding[tensor.ours[0]]
            params[tensor.ours[0]] = leaf(tensor, shapes[tensor.ours[0]].shape, place)
    for tensor in families.layer_tensors(config):
        module, field = tensor.ours
        if field in shapes["layers"].get(module, {}):
            place = None if sharding is None else sharding["layers"][module][field]
            shape = shapes["layers"][module][field].shape
            params["layers"].setdefault(module, {})[field] = leaf(tensor, shape, place)
    if missing:
        raise PretrainedError(f"{where} lacks {len(missing)} tensors: {_some(missing)}.")
    return params


def write(folder: str | os.PathLike[str], config: ModelConfig, params: Params) -> None:
    """Write ``config.json`` and ``model.safetensors``, which transformers reads too; whole or not at all.

    Args:
      folder: made where it is not there; files of the same names are replaced.
      config: the architecture.
      params: unsharded, or sharded over this process's devices.

    Raises:
      PretrainedError: the folder holds a model in shards, which would stay beside this one; or an adapter is part of
        the parameters, for which the layout has no place.
    """
    if lora.detach(params)[1] is not None:
        raise PretrainedError(
            "an adapter is part of the parameters: merge it into them (peft_format.merge), or save it by itself."
        )
    if (Path(folder) / INDEX).exists():
        raise PretrainedError(f"{folder} holds a model in shards ({INDEX}): write to another folder.")
    tensors: dict[str, np.ndarray] = {}
    for tensor in families.WHOLE:
        if tensor.ours[0] in params:
            tensors[tensor.hugging_face] = _as_stored(params[tensor.ours[0]], tensor)
    for tensor in families.layer_tensors(config):
        module, field = tensor.ours
        if field in params["layers"].get(module, {}):
            stack = np.asarray(params["layers"][module][field])
            for i in range(config.layers):
                tensors[tensor.hugging_face.format(i)] = _as_stored(stack[i], tensor)
    raw = families.to_hugging_face(config) | {"dtype": str(np.asarray(params["embed"]).dtype)}
    write_files(folder, (WEIGHTS, tensors), ("config.json", raw))


def write_files(
    folder: str | os.PathLike[str], weights: tuple[str, dict[str, np.ndarray]], config: tuple[str, dict[str, Any]]
) -> None:
    """Write safetensors and their JSON, each under its name; whole or not at all.

    Args:
      folder: made where it is not there; files of the same names are replaced.
      weights: name of the file, and its tensors.
      config: name of the file, and its object. It comes last: a folder without it is not taken for complete.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        save_file(weights[1], Path(scratch) / weights[0], metadata={"format": "pt"})
        (Path(scratch) / config[0]).write_text(json.dumps(config[1], indent=2), encoding="utf-8")
        for name in (weights[0], config[0]):
            os.replace(Path(scratch) / name, folder / name)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
      PretrainedError: there is no such file, or it holds no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PretrainedError(f"{path} is missing: give a folder that holds a whole model.") from None
    except RecursionError:
        raise PretrainedError(f"{path} cannot be read (it is nested too deeply): get it again.") from None
    except (OSError, ValueError) as error:
        raise PretrainedError(f"{path} cannot be read ({error}): the download is incomplete.") from None
    if not isinstance(content, dict):
        raise PretrainedError(f"{path} holds a {type(content).__name__}, not an object.")
    return content


def _open(folder: Path, stack: contextlib.ExitStack) -> dict[str, Any]:
    """The open file of every tensor by its name. A whole file comes before shards; of these, the index decides."""
    names, listed = [WEIGHTS], None
    if not (folder / WEIGHTS).is_file():
        listed = _listed(folder)
        names = sorted(set(listed.values()))
        if absent := [name for name in names if not (folder / name).is_file()]:
            raise PretrainedError(f"{folder} lacks {_some(absent)} of its {len(names)} shards: download them.")
    where: dict[str, Any] = {}
    for name in names:
        try:
            opened = stack.enter_context(safe_open(folder / name, framework="numpy"))
            tensors = set(opened.keys())
        except (SafetensorError, OSError) as error:
            raise PretrainedError(f"{folder / name} cannot be read ({error}): the download is incomplete.") from None
        if listed is not None:
            if strange := sorted(tensors - set(listed)):
                raise PretrainedError(
                    f"{folder / name} holds {_some(strange)}, which {INDEX} does not name: get both again."
                )
            tensors = {tensor for tensor in tensors if listed[tensor] == name}
        where |= dict.fromkeys(tensors, opened)
    if listed is not None and (absent := sorted(set(listed) - set(where))):
        raise PretrainedError(f"{folder} lacks {_some(absent)}, which {INDEX} names: get the shards again.")
    return where


def _listed(folder: Path) -> dict[str, str]:
    """The shard of every tensor, as the index says."""
    if not (folder / INDEX).is_file():
        pickles = sorted(p.name for p in folder.glob("*") if p.suffix in (".bin", ".pt", ".pth"))
        if pickles:
            raise PretrainedError(
                f"{folder} has its weights as pickles only ({_some(pickles)}), which can run code and are not opened: "
                "convert them with transformers' save_pretrained(..., safe_serialization=True)."
            )
        raise PretrainedError(f"{folder} has neither {WEIGHTS} nor {INDEX}: give a folder that holds a whole model.")
    listed = read_json(folder / INDEX).get("weight_map")
    if not isinstance(listed, dict) or not listed:
        raise PretrainedError(f"{folder / INDEX} has no weight_map: get it again.")
    for tensor, name in listed.items():
        # Nothing outside the folder.
        if not isinstance(name, str) or "\0" in name or Path(name).name != name or not name.endswith(".safetensors"):
            raise PretrainedError(
                f"{folder / INDEX} has {tensor[:80]!r} in {str(name)[:80]!r}, which is not a shard: get it again."
            )
    return listed


def _as_stored(leaf: Any, tensor: families.Tensor) -> np.ndarray:
    array = np.asarray(leaf)
    return np.ascontiguousarray(array.T if tensor.transposed else array)


def _some(names: Iterable[str], most: int = 8) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
