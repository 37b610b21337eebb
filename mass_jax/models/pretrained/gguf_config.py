"""The metadata of a GGUF file as an architecture, with defaults and precedence as llama.cpp has them.

A field that changes what a model computes is implemented, or has the value that changes nothing, or is refused; so is a
field of the architecture that stands in no table here.
"""

import math
from collections.abc import Mapping
from typing import Any

import gguf

from mass_jax.models.config import ModelConfig, RopeScaling
from mass_jax.models.pretrained.errors import PretrainedError
from mass_jax.models.pretrained.families import SWITCHES, described_by, of_family

_MOST = 2**31 - 1
_READ: dict[str, tuple[type[int] | type[float], float, float]] = {
    "block_count": (int, 1, 10_000),
    "context_length": (int, 1, _MOST),
    "embedding_length": (int, 1, _MOST),
    "feed_forward_length": (int, 1, _MOST),
    "attention.head_count": (int, 1, _MOST),
    "attention.head_count_kv": (int, 1, _MOST),
    "attention.key_length": (int, 1, _MOST),
    "attention.layer_norm_rms_epsilon": (float, 1e-20, 1.0),
    "attention.sliding_window": (int, 0, _MOST),
    "rope.freq_base": (float, 1.0, 1e15),
    "rope.scaling.factor": (float, 0.0, 1e6),
    "rope.scale_linear": (float, 0.0, 1e6),
    # Of the scalings that these belong to, none is read; a linear one goes without them.
    "rope.scaling.original_context_length": (int, 1, _MOST),
    "rope.scaling.finetuned": (bool, 0, 1),
}
"""Fields with their type, and the least and the largest value."""
_GEMMA: dict[str, tuple[type[int] | type[float], float, float]] = {"rope.freq_base_swa": (float, 1.0, 1e15)}
_IDLE: dict[str, Any] = {
    "rope.scaling.attn_factor": 1.0,
    "attn_logit_softcapping": 0.0,
    "final_logit_softcapping": 0.0,
    "logit_scale": 0.0,
    "attention.clamp_kqv": 0.0,
    "attention.max_alibi_bias": 0.0,
    "attention.causal": True,
    "expert_count": 0,
    "expert_used_count": 0,
    "pooling_type": 0,
    "tensor_data_layout": "Meta AI original pth",
}
"""Fields of things that this decoder does not have, with the value that means that the model has them not either."""
KNOWN = (*_READ, *_GEMMA, *_IDLE)
_OF_OTHERS = frozenset(gguf.MODEL_ARCH_NAMES.values()) | {"adapter", "clip", "xlora"}
"""Beginnings of fields that say what a model of another kind computes; yet others are their makers' notes."""


def from_gguf(metadata: Mapping[str, Any], vocab_size: int, tied: bool, where: str) -> ModelConfig:
    """The metadata of a GGUF file in our terms.

    Args:
      metadata: all fields by their names.
      vocab_size: V, as the embedding has it.
      tied: whether the file has no output matrix of its own.
      where: what to call it in an error.

    Raises:
      PretrainedError: an architecture or a setting that this decoder does not have; a field that is missing, unknown,
        of another type, or out of its range.
    """
    family = metadata.get("general.architecture")
    if not isinstance(family, str) or family not in SWITCHES:
        raise PretrainedError(f"{where} is of architecture {_shown(family)}; supported are {', '.join(SWITCHES)}.")
    gemma = family == "gemma3"
    read = _READ | (_GEMMA if gemma else {})
    own = {name.removeprefix(f"{family}."): name for name in metadata if name.startswith(f"{family}.")}
    values = {name: _checked(metadata[own[name]], own[name], *read[name], where) for name in read if name in own}
    with described_by(where, "metadata field"):

        def field(name: str) -> Any:
            return values[name] if name in values else metadata[f"{family}.{name}"]  # whose KeyError names it

        width, heads, layers = field("embedding_length"), field("attention.head_count"), field("block_count")
        if "attention.key_length" not in values and width % heads:
            raise ValueError(f"{heads} heads do not divide the width {width}")
        head_dim = values.get("attention.key_length", width // heads)
        # Only the 27B model scales its queries by another number, and only its depth says which it is.
        scalar = (width / heads if layers == 62 else head_dim) if gemma else None
        window, slides = _sliding(metadata, values, family, layers, where)
        config = ModelConfig(
            vocab_size=vocab_size,
            width=width,
            layers=layers,
            heads=heads,
            kv_heads=values.get("attention.head_count_kv", heads),
            head_dim=head_dim,
            mlp_width=field("feed_forward_length"),
            context=field("context_length"),
            norm_eps=field("attention.layer_norm_rms_epsilon"),
            tie_embeddings=tied,
            rope_theta=field("rope.freq_base") if gemma else values.get("rope.freq_base", 10_000.0),
            rope_scaling=_scaling(metadata, values, family, where),
            sliding_window=window,
            sliding_layers=slides,
            local_rope_theta=values.get("rope.freq_base_swa", 10_000.0) if gemma else None,
            **of_family(family, width, scalar),
        )
    _refuse_others(metadata, own, set(read), config, where)
    return config


def _scaling(metadata: Mapping[str, Any], values: Mapping[str, Any], family: str, where: str) -> RopeScaling | None:
    kind = metadata.get(f"{family}.rope.scaling.type", "linear")
    if kind not in ("none", "linear"):
        raise PretrainedError(f"{where} stretches its context by {_shown(kind)}; supported is linear.")
    # The second is an older name of the first; 0 stands for a factor that is not set.
    factors = {values[name] for name in ("rope.scaling.factor", "rope.scale_linear") if name in values}
    if len(factors) > 1:
        raise PretrainedError(f"{where} stretches its context by two factors, {sorted(factors)}: get it again.")
    factor = factors.pop() if factors and kind == "linear" else 0.0
    return None if factor in (0.0, 1.0) else RopeScaling("linear", factor)


def _sliding(
    metadata: Mapping[str, Any], values: Mapping[str, Any], family: str, layers: int, where: str
) -> tuple[int | None, tuple[bool, ...]]:
    """The window, and which layers have it."""
    window = values.get("attention.sliding_window", 0)
    if family != "gemma3":
        if 0 < window < values["context_length"]:
            raise PretrainedError(
                f"{where} sets {family}.attention.sliding_window = {window}, which this decoder does not have in a "
                f"{family}: choose another model."
            )
        return None, ()
    name = "gemma3.attention.sliding_window_pattern"
    pattern = metadata.get(name, 6)
    if isinstance(pattern, list) and len(pattern) == layers and all(isinstance(slides, bool) for slides in pattern):
        slides = tuple(pattern)
    else:
        period = _checked(pattern, name, int, 0, layers + 1_000, where)
        slides = tuple(period == 0 or (i + 1) % period != 0 for i in range(layers))
    return (window, slides) if window and any(slides) else (None, ())


def _refuse_others(
    metadata: Mapping[str, Any], own: Mapping[str, str], read: set[str], config: ModelConfig, where: str
) -> None:
    """Refuse what is not read, unless it says nothing, or only what is so anyway."""
    idle = _IDLE | {
        "vocab_size": config.vocab_size,
        "attention.value_length": config.head_dim,
        "rope.dimension_count": config.head_dim,
        "rope.dimension_count_swa": config.head_dim,
        "attention.scale": config.query_scale or config.head_dim**-0.5,
    }
    known = read | {"rope.scaling.type"} | ({"attention.sliding_window_pattern"} if config.norm_plus_one else set())
    named = {full: idle.get(name) for name, full in own.items() if name not in known}
    named |= {name: fixed for name, fixed in _GENERAL.items() if name in metadata}
    named |= {name: None for name in metadata if name.partition(".")[0] in _OF_OTHERS and name not in own.values()}
    for name, only in named.items():
        value = metadata[name]
        if only is None:
            raise PretrainedError(
                f"{where} has the metadata field {name[:80]} = {_shown(value)}, which is not known here and may change "
                "what the model computes: give the model's folder in Hugging Face's layout."
            )
        near = type(value) is float and type(only) is float and math.isclose(value, only, rel_tol=1e-6)
        if not near and (type(value) is not type(only) or value != only):
            raise PretrainedError(
                f"{where} sets {name} = {_shown(value)}, but this decoder has only {only!r}: choose another model."
            )


_GENERAL: dict[str, Any] = {"general.type": "model", "general.quantization_version": 2}


def _checked(value: Any, name: str, type_: type[int] | type[float], low: float, high: float, where: str) -> Any:
    if type(value) is not type_ or not low <= value <= high:
        noun = {"int": "a whole number", "float": "a number", "bool": "a truth value"}[type_.__name__]
        raise PretrainedError(
            f"{where} sets {name} = {_shown(value)}, but it is {noun} from {low:g} to {high:g}: get it again."
        )
    return value


def _shown(value: Any) -> str:
    text = repr(value[:20] if isinstance(value, list | str) else value)
    return text if len(text) <= 80 else f"{text[:80]}..."
