"""Model families: what their configurations say in our terms, and what their tensors are called.

Supported are the decoders of Llama 3 and SmolLM2, Qwen2 and Qwen2.5, Qwen3, and Gemma 3, from a Hugging Face
``config.json``, with the rotary settings at the top, as older files have them, or under ``rope_parameters``; those of a
GGUF file are read in `gguf_config.py`.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mass_jax.models.config import ModelConfig, RopeScaling
from mass_jax.models.pretrained import config_schema
from mass_jax.models.pretrained.errors import PretrainedError

SWITCHES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {"qkv_bias": True},
    "qwen3": {"qk_norm": True},
    "gemma3": {"qk_norm": True, "activation": "gelu_tanh", "norm_plus_one": True, "post_norms": True},
}
"""What sets a family apart from Llama."""

ARCHITECTURES = {
    "LlamaForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "Gemma3ForCausalLM": "gemma3",
}
MOST_LAYERS = 10_000
MODEL_TYPES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma3": "gemma3_text"}


class Tensor(NamedTuple):
    """One parameter under its three names; ``{}`` in a name is the layer.

    Attributes:
      ours: path in our parameters.
      hugging_face: name in a safetensors checkpoint.
      gguf: name in a GGUF file.
      transposed: whether the others store [out, in] where we have [in, out].
    """

    ours: tuple[str, ...]
    hugging_face: str
    gguf: str
    transposed: bool = False


def _projection(ours: str, hugging_face: str, gguf: str) -> tuple[Tensor, Tensor]:
    return (
        Tensor((ours, "kernel"), f"model.layers.{{}}.{hugging_face}.weight", f"blk.{{}}.{gguf}.weight", True),
        Tensor((ours, "bias"), f"model.layers.{{}}.{hugging_face}.bias", f"blk.{{}}.{gguf}.bias"),
    )


def _norm(ours: str, hugging_face: str, gguf: str) -> Tensor:
    return Tensor((ours, "scale"), f"model.layers.{{}}.{hugging_face}.weight", f"blk.{{}}.{gguf}.weight")


_LAYER = (
    *_projection("q_proj", "self_attn.q_proj", "attn_q"),
    *_projection("k_proj", "self_attn.k_proj", "attn_k"),
    *_projection("v_proj", "self_attn.v_proj", "attn_v"),
    *_projection("o_proj", "self_attn.o_proj", "attn_output"),
    *_projection("gate_proj", "mlp.gate_proj", "ffn_gate"),
    *_projection("up_proj", "mlp.up_proj", "ffn_up"),
    *_projection("down_proj", "mlp.down_proj", "ffn_down"),
    _norm("q_norm", "self_attn.q_norm", "attn_q_norm"),
    _norm("k_norm", "self_attn.k_norm", "attn_k_norm"),
    _norm("attention_norm", "input_layernorm", "attn_norm"),
)
_MLP_NORM = _norm("mlp_norm", "post_attention_layernorm", "ffn_norm")
# The same name means another norm where there are four of them.
_POST_NORMS = (
    _norm("attention_post_norm", "post_attention_layernorm", "post_attention_norm"),
    _norm("mlp_norm", "pre_feedforward_layernorm", "ffn_norm"),
    _norm("mlp_post_norm", "post_feedforward_layernorm", "post_ffw_norm"),
)
WHOLE = (
    Tensor(("embed",), "model.embed_tokens.weight", "token_embd.weight"),
    Tensor(("final_norm",), "model.norm.weight", "output_norm.weight"),
    Tensor(("unembed",), "lm_head.weight", "output.weight", True),
)
"""Tensors that belong to no layer."""


def layer_tensors(config: ModelConfig) -> tuple[Tensor, ...]:
    """The tensors of one layer that a model of this architecture may have."""
    return _LAYER + (_POST_NORMS if config.post_norms else (_MLP_NORM,))


def from_hugging_face(raw: Mapping[str, Any], where: str) -> ModelConfig:
    """A ``config.json`` in our terms.

    Args:
      raw: its content.
      where: what to call it in an error.

    Raises:
      PretrainedError: an architecture or a setting that this decoder does not have; a field that is missing, of another
        type, or out of its range.
    """
    listed = raw.get("architectures")
    architecture = listed[0] if isinstance(listed, list) and listed else listed or "none"
    if not isinstance(architecture, str) or architecture not in ARCHITECTURES:
        raise PretrainedError(f"{where} is a {str(architecture)[:80]}; supported are {', '.join(ARCHITECTURES)}.")
    family = ARCHITECTURES[architecture]
    found: Any = config_schema.check(config_schema.FAMILIES[family], raw, where, config_schema.HARMLESS)
    heads, scalar = found.num_attention_heads, getattr(found, "query_pre_attn_scalar", None)
    if found.head_dim is None and found.hidden_size % heads:
        raise PretrainedError(
            f"{where} has hidden_size = {found.hidden_size}, which num_attention_heads = {heads} does not divide, and "
            "no head_dim: get the file again."
        )
    slides = _sliding_layers(found, where)
    with described_by(where, "field"):
        return ModelConfig(
            vocab_size=found.vocab_size,
            width=found.hidden_size,
            layers=found.num_hidden_layers,
            heads=heads,
            kv_heads=found.num_key_value_heads or heads,
            head_dim=found.head_dim or found.hidden_size // heads,
            mlp_width=found.intermediate_size,
            context=found.max_position_embeddings,
            norm_eps=found.rms_norm_eps,
            tie_embeddings=found.tie_word_embeddings,
            sliding_window=found.sliding_window if any(slides) else None,
            sliding_layers=slides if any(slides) else (),
            **_rope(found, where),
            **of_family(family, found.hidden_size, scalar),
        )


def to_hugging_face(config: ModelConfig) -> dict[str, Any]:
    """The ``config.json`` of an architecture, as `from_hugging_face` and transformers read it."""
    family = family_of(config)
    raw: dict[str, Any] = {
        "architectures": [next(name for name, value in ARCHITECTURES.items() if value == family)],
        "model_type": MODEL_TYPES[family],
        "vocab_size": config.vocab_size,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.mlp_width,
        "max_position_embeddings": config.context,
        "rms_norm_eps": config.norm_eps,
        "tie_word_embeddings": config.tie_embeddings,
        "hidden_act": {"silu": "silu", "gelu_tanh": "gelu_pytorch_tanh"}[config.activation],
        "rope_theta": config.rope_theta,
    }
    if config.rope_scaling is not None:
        raw["rope_scaling"] = _written(config.rope_scaling)
    if config.sliding_layers or family == "gemma3":
        kinds = ["sliding_attention" if i else "full_attention" for i in config.sliding_layers]
        raw |= {
            "sliding_window": config.sliding_window or config.context,
            "layer_types": kinds or ["full_attention"] * config.layers,
        }
    if family == "gemma3":
        scalar = (config.query_scale or config.head_dim**-0.5) ** -2
        raw |= {
            "hidden_activation": raw.pop("hidden_act"),
            "query_pre_attn_scalar": round(scalar) if abs(scalar - round(scalar)) < 1e-6 * scalar else scalar,
            "rope_local_base_freq": config.local_rope_theta or config.rope_theta,
        }
    elif config.sliding_layers and family == "llama":
        raise PretrainedError("Llama has no sliding windows, but model.sliding_layers has: leave them out.")
    elif config.sliding_layers:
        raw["use_sliding_window"] = True
    return raw


def family_of(config: ModelConfig) -> str:
    """The family whose switches ``config`` has.

    Raises:
      PretrainedError: if none has just these.
    """
    names = ("qkv_bias", "qk_norm", "activation", "norm_plus_one", "post_norms")
    plain = ModelConfig(1)
    for family, switches in SWITCHES.items():
        if all(getattr(config, name) == switches.get(name, getattr(plain, name)) for name in names):
            return family
    raise PretrainedError(f"no family of {', '.join(SWITCHES)} has the architecture {config}.")


@contextlib.contextmanager
def described_by(where: str, kind: str) -> Iterator[None]:
    """What goes wrong while a description is read, as a sentence about ``where``."""
    try:
        yield
    except PretrainedError:
        raise
    except KeyError as error:
        raise PretrainedError(f"{where} has no {kind} {error}: it is not the description of a whole model.") from None
    except (TypeError, ValueError, ArithmeticError) as error:
        raise PretrainedError(f"{where} describes a model that cannot be ({error}): get it again.") from None


def few(layers: int) -> int:
    """``layers``, or a ValueError where no model has so many."""
    if layers > MOST_LAYERS:
        raise ValueError(f"it has {layers} layers")
    return layers


def of_family(family: str, width: int, query_scalar: float | None) -> dict[str, Any]:
    """The fields of `ModelConfig` that a family sets."""
    extra = {} if query_scalar is None else {"query_scale": query_scalar**-0.5}
    return SWITCHES[family] | extra | ({"embed_scale": float(width**0.5)} if family == "gemma3" else {})


def _rope(found: Any, where: str) -> dict[str, Any]:
    """The rotary fields of `ModelConfig`, with precedence and defaults as transformers has them."""
    gemma, theta = isinstance(found, config_schema.Gemma3), found.rope_theta
    given = found.rope_parameters or {}
    if gemma:
        if strange := set(given) - {"full_attention", "sliding_attention"}:
            raise PretrainedError(
                f"{where} has rope_parameters of {', '.join(sorted(strange))[:80]}, but a Gemma has them for "
                "full_attention and sliding_attention: get the file again."
            )
        local = _rope_of(given.get("sliding_attention"), f"{where}, in rope_parameters.sliding_attention,")
        if local.rope_type != "default":
            raise PretrainedError(
                f"{where} stretches its sliding layers by {local.rope_type!r}, which this decoder does not: choose "
                "another model."
            )
        given = given.get("full_attention")
    everywhere, older = (
        _rope_of(settings, f"{where}, in its rotary settings,") for settings in (given, found.rope_scaling)
    )
    if found.rope_scaling and given:
        if everywhere.model_copy(update={"rope_theta": None}) != older.model_copy(update={"rope_theta": None}):
            raise PretrainedError(
                f"{where} has rope_scaling beside rope_parameters, and they contradict each other: leave one of them."
            )
    elif found.rope_scaling:
        everywhere = older
    if gemma and not getattr(everywhere, "truncate", True):
        raise PretrainedError(f"{where} sets truncate = False, which transformers ignores in a Gemma: leave it out.")
    fields: dict[str, Any] = {
        "rope_theta": everywhere.rope_theta or theta or (1e6 if gemma else 10_000.0),
        "rope_scaling": _scaling(everywhere, found.max_position_embeddings),
    }
    if gemma:
        fields["local_rope_theta"] = local.rope_theta or found.rope_local_base_freq or 10_000.0
    return fields


def _rope_of(settings: Any, where: str) -> config_schema.Rope:
    settings = {} if settings is None else settings
    if not isinstance(settings, Mapping):
        raise PretrainedError(f"{where} has {str(settings)[:80]!r} where an object belongs: get the file again.")
    kind = settings.get("rope_type", settings.get("type", "default"))
    if not isinstance(kind, str) or kind not in config_schema.ROPES:
        raise PretrainedError(
            f"{where} scales its rotary positions by {str(kind)[:80]!r}; supported are linear, llama3 and yarn."
        )
    return config_schema.check(config_schema.ROPES[kind], settings, where)


def _scaling(rope: Any, context: int) -> RopeScaling | None:
    if rope.rope_type == "default":
        return None
    if rope.rope_type == "linear":
        return RopeScaling("linear", rope.factor)
    original = rope.original_max_position_embeddings or context
    if rope.rope_type == "llama3":
        return RopeScaling("llama3", rope.factor, rope.low_freq_factor, rope.high_freq_factor, original)

    def magnitude(scale: float = 1.0) -> float:
        return 0.1 * scale * math.log(rope.factor) + 1.0

    attention = rope.attention_factor
    if attention is None and rope.mscale and rope.mscale_all_dim:
        attention = magnitude(rope.mscale) / magnitude(rope.mscale_all_dim)
    return RopeScaling(
        "yarn",
        rope.factor,
        original_context=original,
        beta_fast=rope.beta_fast or 32.0,
        beta_slow=rope.beta_slow or 1.0,
        truncate=rope.truncate,
        attention_factor=magnitude() if attention is None else attention,
    )


def _written(scaling: RopeScaling) -> dict[str, Any]:
    """The inverse of `_scaling`."""
    written: dict[str, Any] = {"rope_type": scaling.kind, "factor": scaling.factor}
    if scaling.kind == "linear":
        return written
    written["original_max_position_embeddings"] = scaling.original_context
    names: tuple[str, ...] = ("low_freq_factor", "high_freq_factor")
    if scaling.kind == "yarn":
        names = ("beta_fast", "beta_slow", "truncate", "attention_factor")
    return written | {name: getattr(scaling, name) for name in names}


def _sliding_layers(found: Any, where: str) -> tuple[bool, ...]:
    layers = found.num_hidden_layers
    if isinstance(found, config_schema.Llama):
        return (False,) * layers
    gemma = isinstance(found, config_schema.Gemma3)
    window = found.sliding_window if gemma or found.use_sliding_window else None
    if found.layer_types is not None:
        if len(found.layer_types) != layers:
            raise PretrainedError(
                f"{where} has {len(found.layer_types)} layer_types for {layers} layers: get the file again."
            )
        slides = tuple(kind == "sliding_attention" for kind in found.layer_types)
    elif gemma:
        slides = tuple((i + 1) % found.sliding_window_pattern != 0 for i in range(layers))
    else:
        slides = tuple(window is not None and i >= found.max_window_layers for i in range(layers))
    if any(slides) and window is None:
        raise PretrainedError(
            f"{where} has sliding layers in layer_types, but no window: set use_sliding_window and sliding_window."
        )
    return slides
