"""What a ``config.json`` may say, family by family.

A field that is not declared here is refused unless `HARMLESS` lists it: a setting that changes the function and is not
implemented must not be overlooked. Defaults are those of transformers' configuration classes.
"""

import reprlib
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mass_jax.models.pretrained.errors import PretrainedError

HARMLESS = set(
    # Bookkeeping, and what only training from scratch, a cache or an output's form depends on.
    "transformers_version _name_or_path name_or_path torch_dtype dtype use_cache initializer_range return_dict "
    "output_attentions output_hidden_states id2label label2id num_labels problem_type finetuning_task "
    "task_specific_params tokenizer_class prefix pretraining_tp torchscript use_bfloat16 tf_legacy_loss "
    "cache_implementation attn_implementation _attn_implementation _attn_implementation_autoset "
    "_attn_implementation_internal _flash_attn_2_enabled "
    "is_llama_config transformers.js_config unsloth_version unsloth_fixed is_decoder tie_encoder_decoder "
    # Special tokens: the tokenizer's files and generation_config.json decide.
    "bos_token_id eos_token_id pad_token_id sep_token_id cls_token_id mask_token_id unk_token_id "
    "decoder_start_token_id "
    # How text is generated, which older versions kept here: our studies say it themselves.
    "max_length min_length max_new_tokens do_sample early_stopping num_beams num_beam_groups diversity_penalty "
    "temperature top_k top_p typical_p repetition_penalty length_penalty no_repeat_ngram_size "
    "encoder_no_repeat_ngram_size bad_words_ids num_return_sequences output_scores return_dict_in_generate "
    "forced_bos_token_id forced_eos_token_id remove_invalid_values exponential_decay_length_penalty suppress_tokens "
    "begin_suppress_tokens "
    # The tokenizer's, a kernel's, and what context it was trained in.
    "model_max_length max_sequence_length use_flash_attention_2".split()
)
"""Fields that do not change what the network computes."""

Size = Annotated[int, Field(ge=1, lt=2**31)]
Positive = Annotated[float, Field(gt=1e-6, le=1e6)]
Theta = Annotated[float, Field(gt=1, le=1e12)]
Factor = Annotated[float, Field(ge=1, le=1e6)]
"""Of rotary frequencies: float32 has to hold the angles that they make."""
Dropout = Annotated[float, Field(ge=0, lt=1)]
"""Of its own training: what is read here answers, or trains an adapter, without."""
One = Annotated[float, Field(ge=1, le=1)]
Layer = Literal["full_attention", "sliding_attention"]
Model = TypeVar("Model", bound=BaseModel)


class Strict(BaseModel):
    """No conversions, no unknown fields, no NaN."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)


class Rope(Strict):
    """Rotary settings of one kind of layer; ``type`` is the older name of ``rope_type``."""

    rope_type: Literal["default"] = "default"
    rope_theta: Theta | None = None
    partial_rotary_factor: One = 1.0

    @model_validator(mode="before")
    @classmethod
    def _older_name(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and "type" in raw:
            raw = dict(raw)
            old = raw.pop("type")
            if raw.setdefault("rope_type", old) != old:
                raise ValueError(f"type = {old!r} contradicts rope_type = {raw['rope_type']!r}")
        return raw


class LinearRope(Rope):
    """All frequencies are divided by the factor."""

    rope_type: Literal["linear"]  # type: ignore[assignment]
    factor: Factor


class Llama3Rope(Rope):
    """Llama 3.1's: long waves are stretched."""

    rope_type: Literal["llama3"]  # type: ignore[assignment]
    factor: Factor
    low_freq_factor: Positive
    high_freq_factor: Positive
    original_max_position_embeddings: Size | None = None

    @model_validator(mode="after")
    def _in_order(self) -> "Llama3Rope":
        if self.low_freq_factor >= self.high_freq_factor:
            raise ValueError(
                f"low_freq_factor = {self.low_freq_factor} has to be below high_freq_factor = {self.high_freq_factor}"
            )
        return self


class YarnRope(Rope):
    """YaRN (Peng et al. 2023, arXiv 2309.00071)."""

    rope_type: Literal["yarn"]  # type: ignore[assignment]
    factor: Factor
    original_max_position_embeddings: Size | None = None
    attention_factor: Positive | None = None
    beta_fast: Positive | None = None
    beta_slow: Positive | None = None
    mscale: Annotated[float, Field(ge=0, le=1e6)] | None = None
    mscale_all_dim: Annotated[float, Field(ge=0, le=1e6)] | None = None
    truncate: bool = True


ROPES: dict[str, type[Rope]] = {"default": Rope, "linear": LinearRope, "llama3": Llama3Rope, "yarn": YarnRope}


class Common(Strict):
    """What all families have."""

    architectures: Annotated[list[str], Field(min_length=1, max_length=1)]
    vocab_size: Size
    hidden_size: Size
    intermediate_size: Size
    num_hidden_layers: Annotated[int, Field(ge=1, le=10_000)]
    num_attention_heads: Size
    max_position_embeddings: Size
    rms_norm_eps: Annotated[float, Field(ge=1e-12, lt=1)]
    tie_word_embeddings: bool = False
    attention_bias: Literal[False, None] = False
    attention_dropout: Dropout = 0.0
    rope_theta: Theta | None = None
    rope_scaling: dict[str, Any] | None = None
    rope_parameters: dict[str, Any] | None = None
    partial_rotary_factor: One = 1.0
    chunk_size_feed_forward: Annotated[int, Field(ge=0, le=0)] = 0
    is_encoder_decoder: Literal[False, None] = False
    add_cross_attention: Literal[False, None] = False
    pruned_heads: Annotated[dict[str, Any], Field(max_length=0)] | None = None
    quantization_config: None = None


class Llama(Common):
    """Llama 3 and SmolLM2. Llama reads no sliding windows."""

    model_type: Literal["llama"] = "llama"
    num_key_value_heads: Size | None = None
    head_dim: Size | None = None
    hidden_act: Literal["silu"] = "silu"
    mlp_bias: Literal[False, None] = False
    rope_interleaved: Literal[False, None] = False


class _Windowed(Common):
    num_key_value_heads: Size | None  # transformers' default is a number: a file has to say it
    hidden_act: Literal["silu"] = "silu"
    use_sliding_window: bool = False
    sliding_window: Size | None = 4096
    max_window_layers: Annotated[int, Field(ge=0)] = 28
    layer_types: list[Layer] | None = None


class Qwen2(_Windowed):
    """Qwen2 and Qwen2.5."""

    model_type: Literal["qwen2"] = "qwen2"
    use_mrope: Literal[False, None] = False
    head_dim: Size | None = None


class Qwen3(_Windowed):
    """Qwen3."""

    model_type: Literal["qwen3"] = "qwen3"
    head_dim: Size


class Gemma3(Common):
    """Gemma 3's text models."""

    model_type: Literal["gemma3_text"] = "gemma3_text"
    num_key_value_heads: Size
    head_dim: Size
    hidden_activation: Literal["gelu_pytorch_tanh"] = "gelu_pytorch_tanh"
    tie_word_embeddings: bool = True
    query_pre_attn_scalar: Positive = 256
    sliding_window: Size
    sliding_window_pattern: Size = 6
    # What transformers makes of the pattern, and writes; it reads layer_types.
    written_pattern: Size = Field(6, alias="_sliding_window_pattern")
    layer_types: list[Layer] | None = None
    rope_local_base_freq: Theta | None = None
    attn_logit_softcapping: None = None
    final_logit_softcapping: None = None
    use_bidirectional_attention: Literal[False, None] = False


FAMILIES: dict[str, type[Common]] = {"llama": Llama, "qwen2": Qwen2, "qwen3": Qwen3, "gemma3": Gemma3}


def check(
    schema: type[Model],
    raw: Mapping[str, Any],
    where: str,
    harmless: Collection[str] = (),
    way_out: str = "choose another model",
) -> Model:
    """``raw`` as a model of ``schema``; of fields that it does not declare, those that are null or harmless may stand.

    Raises:
      PretrainedError: names the first field that is missing, unknown, of another type, or out of its range, and what
        it may be; and ``way_out`` where it is a setting that is not implemented.
    """
    fields = {field.alias or name: field for name, field in schema.model_fields.items()}
    given = {k: v for k, v in raw.items() if k in fields or k == "type" or (v is not None and k not in harmless)}
    try:
        return schema.model_validate(given)
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
    top = found["loc"][0] if found["loc"] else ""
    if top in fields and (allowed := fields[str(top)].description):
        # Of several kinds pydantic says what each of them lacks, and names them in its own way.
        raise PretrainedError(f"{where} has {top} = {_short.repr(given[top])}: give {allowed}, or get the file again.")
    if found["type"] == "value_error":
        raise PretrainedError(f"{where} is wrong: {found['ctx']['error']}. Put it right, or get the file again.")
    name, value = ".".join(map(str, found["loc"])), _short.repr(found["input"])
    what = found["msg"].replace("Input should be", "it has to be")
    if found["type"] == "missing":
        raise PretrainedError(f"{where} has no field {name!r}: the file is incomplete, get it again.")
    if found["type"] in ("extra_forbidden", "literal_error", "none_required", "too_long"):
        expected = f" ({what})" if found["type"] == "literal_error" else ""
        raise PretrainedError(
            f"{where} sets {name[:80]} = {value}, which is not supported{expected}: {way_out}, or take the field out "
            "if it changes nothing."
        )
    raise PretrainedError(f"{where} has {name[:80]} = {value}: {what}. Put it right, or get the file again.")


_short = reprlib.Repr()
_short.maxstring, _short.maxother, _short.maxlong = 80, 80, 40
