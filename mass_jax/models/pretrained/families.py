"""Model families: what their configurations say in our terms, and what their tensors are called.

Supported are the decoders of Llama 3 and SmolLM2, Qwen2 and Qwen2.5, Qwen3, and Gemma 3, from a Hugging Face
``config.json``, with the rotary settings at the top, as older files have them, or under ``rope_parameters``; those of a
GGUF file are read in `gguf_config.py`.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mass_jax.models.pretrained.errors import PretrainedError
from mass_jax.models.transformer import ModelConfig, RopeScaling

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
      PretrainedError: an architecture or a setting that this decoder does not have, or a field that is missing.
    """
    architecture = (raw.get("architectures") or ["none"])[0]
    if architecture not in ARCHITECTURES:
        raise PretrainedError(f"{where} is a {architecture}; supported are {', '.join(ARCHITECTURES)}.")
    family = ARCHITECTURES[architecture]
    for name in ("attention_bias", "mlp_bias", "attn_logit_softcapping", "final_logit_softcapping"):
        if raw.get(name):
            raise PretrainedError(f"{where} sets {name} = {raw[name]!r}, which this decoder does not have.")
    with described_by(where, "field"):
        heads, layers = int(raw["num_attention_heads"]), few(int(raw["num_hidden_layers"]))
        rope = _rope(raw, where)
        slides = _sliding_layers(raw, family, layers)
        return ModelConfig(
            vocab_size=raw["vocab_size"],
            width=raw["hidden_size"],
            layers=layers,
            heads=heads,
            kv_heads=raw.get("num_key_value_heads") or heads,
            head_dim=raw.get("head_dim") or raw["hidden_size"] // heads,
            mlp_width=raw["intermediate_size"],
            context=raw["max_position_embeddings"],
            norm_eps=raw["rms_norm_eps"],
            tie_embeddings=raw.get("tie_word_embeddings", family == "gemma3"),
            sliding_window=raw.get("sliding_window") if any(slides) else None,
            sliding_layers=slides if any(slides) else (),
            **rope,
            **of_family(family, raw["hidden_size"], raw.get("query_pre_attn_scalar")),
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
        scaling = config.rope_scaling
        raw["rope_scaling"] = {"rope_type": scaling.kind, "factor": scaling.factor}
        if scaling.kind == "llama3":
            raw["rope_scaling"] |= {
                "low_freq_factor": scaling.low_freq_factor,
                "high_freq_factor": scaling.high_freq_factor,
                "original_max_position_embeddings": scaling.original_context,
            }
    if config.sliding_layers:
        kinds = ["sliding_attention" if slides else "full_attention" for slides in config.sliding_layers]
        raw |= {"use_sliding_window": True, "sliding_window": config.sliding_window, "layer_types": kinds}
    if family == "gemma3":
        raw |= {
            "hidden_activation": raw.pop("hidden_act"),
            "query_pre_attn_scalar": round((config.query_scale or config.head_dim**-0.5) ** -2),
            "rope_local_base_freq": config.local_rope_theta,
        }
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


def _rope(raw: Mapping[str, Any], where: str) -> dict[str, Any]:
    parameters = raw.get("rope_parameters") or {}
    local = parameters.get("sliding_attention") or {}
    everywhere = parameters.get("full_attention") or parameters
    scaling = everywhere if everywhere.get("rope_type") else raw.get("rope_scaling") or {}
    kind = scaling.get("rope_type") or scaling.get("type") or "default"
    gemma = str(raw.get("model_type", "")).startswith("gemma3")
    found: dict[str, Any] = {
        "rope_theta": float(everywhere.get("rope_theta") or raw.get("rope_theta") or (1e6 if gemma else 10_000.0))
    }
    if gemma:
        found["local_rope_theta"] = float(local.get("rope_theta") or raw.get("rope_local_base_freq") or 10_000.0)
    if kind == "linear":
        found["rope_scaling"] = RopeScaling("linear", float(scaling["factor"]))
    elif kind == "llama3":
        found["rope_scaling"] = RopeScaling(
            "llama3",
            float(scaling["factor"]),
            float(scaling["low_freq_factor"]),
            float(scaling["high_freq_factor"]),
            int(scaling["original_max_position_embeddings"]),
        )
    elif kind != "default":
        raise PretrainedError(f"{where} scales its rotary positions by {kind!r}; supported are linear and llama3.")
    return found


def _sliding_layers(raw: Mapping[str, Any], family: str, layers: int) -> tuple[bool, ...]:
    if raw.get("layer_types"):
        slides = tuple(kind == "sliding_attention" for kind in raw["layer_types"])
    elif family == "gemma3":
        pattern = raw.get("sliding_window_pattern") or 6
        slides = tuple((i + 1) % pattern != 0 for i in range(layers))
    elif raw.get("use_sliding_window"):
        slides = tuple(i >= raw["max_window_layers"] for i in range(layers))
    else:
        slides = (False,) * layers
    return slides if raw.get("sliding_window") else (False,) * layers
