"""What a config.json may say: real ones load, and every other setting ends in a sentence that names it."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import jax.numpy as jnp
import numpy as np
import pytest
from pydantic_core import PydanticUndefined

from mass_jax.models.attention import rotation
from mass_jax.models.config import ModelConfig
from mass_jax.models.pretrained import bpe, families, folder, known, peft_format  # noqa: F401 (declare schemas)
from mass_jax.models.pretrained.config_schema import FAMILIES, Strict
from mass_jax.models.pretrained.errors import PretrainedError

BASE: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-6,
}
OTHERS: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"},
    "qwen3": {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "head_dim": 16},
    "gemma3": {
        "architectures": ["Gemma3ForCausalLM"],
        "model_type": "gemma3_text",
        "head_dim": 16,
        "sliding_window": 20,
    },
}


def read(family: str = "llama", **changes: Any) -> ModelConfig:
    raw = BASE | OTHERS[family] | changes
    return families.from_hugging_face({k: v for k, v in raw.items() if v is not ...}, "x")


def refuse(words: str, family: str = "llama", **changes: Any) -> None:
    with pytest.raises(PretrainedError, match=words) as caught:
        read(family, **changes)
    assert len(str(caught.value)) < 500


# As the hub has them, but for their sizes.
OLD = {
    "initializer_range": 0.02,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "attention_dropout": 0.1,  # of its own training
    "attention_bias": False,
    "rope_scaling": None,
    "transformers_version": "4.43.0",
}
LLAMA_31 = known.ARCHITECTURES["meta-llama/Llama-3.1-8B"]["rope_scaling"]
HUB: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama 3.1": (
        "llama",
        OLD
        | {"bos_token_id": 1, "eos_token_id": [1, 2], "hidden_act": "silu", "mlp_bias": False, "pretraining_tp": 1}
        | {"rope_theta": 500000.0, "rope_scaling": LLAMA_31, "tie_word_embeddings": False},
    ),
    "SmolLM2": (
        "llama",
        OLD
        | {"is_llama_config": True, "rope_interleaved": False, "pad_token_id": 2, "rope_theta": 100000}
        | {"transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16"}}, "tie_word_embeddings": True},
    ),
    "Qwen2.5": (
        "qwen2",
        OLD
        | {"hidden_act": "silu", "max_window_layers": 28, "rope_theta": 1000000.0, "sliding_window": 131072}
        | {"use_sliding_window": False, "use_mrope": False, "bos_token_id": 3, "eos_token_id": 4},
    ),
    "Qwen3": (
        "qwen3",
        OLD
        | {"hidden_act": "silu", "max_window_layers": 36, "rope_theta": 1000000, "sliding_window": None}
        | {"use_sliding_window": False, "tie_word_embeddings": True},
    ),
    "Gemma 3": (
        "gemma3",
        OLD
        | {"attn_logit_softcapping": None, "final_logit_softcapping": None, "cache_implementation": "hybrid"}
        | {"hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 256, "rope_local_base_freq": 10000}
        | {"rope_theta": 1000000, "sliding_window": 512, "sliding_window_pattern": 6, "eos_token_id": [1, 106]},
    ),
}


@pytest.mark.parametrize("name", HUB)
def test_configs_of_the_hub_load(name: str):
    family, raw = HUB[name]
    config = read(family, **raw)
    assert families.family_of(config) == family
    assert config.rope_theta == raw["rope_theta"]
    assert (config.rope_scaling is not None) == (name == "Llama 3.1")
    assert any(config.sliding_layers) == (name == "Gemma 3")


@pytest.mark.parametrize("family", FAMILIES)
def test_configs_that_transformers_writes_load(family: str, tmp_path: Path):
    transformers = pytest.importorskip("transformers")
    names = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3", "gemma3": "Gemma3Text"}
    sizes = {name: value for name, value in BASE.items() if name not in ("architectures", "model_type")}
    config = getattr(transformers, f"{names[family]}Config")(**sizes, architectures=OTHERS[family].get("architectures"))
    everything = config.to_dict() | {"architectures": (BASE | OTHERS[family])["architectures"]}
    found = families.from_hugging_face(json.loads(json.dumps(everything)), "x")
    config.architectures = everything["architectures"]
    config.save_pretrained(tmp_path)
    assert folder.read_config(tmp_path) == found
    assert found.rope_scaling is None and found.layers == 3
    # What is not said has transformers' default, or has to be said.
    defaults = type(config)(**{"use_sliding_window": True} if family.startswith("qwen") else {})
    for name, field in FAMILIES[family].model_fields.items():
        if hasattr(defaults, name) and name != "use_sliding_window" and field.default not in (None, PydanticUndefined):
            assert field.default == getattr(defaults, name), name


@pytest.mark.parametrize(
    ("family", "change", "words"),
    [
        ("llama", {"hidden_act": "relu"}, "sets hidden_act = 'relu', which is not supported .*'silu'"),
        ("qwen2", {"hidden_act": "gelu"}, "sets hidden_act = 'gelu'"),
        ("gemma3", {"hidden_activation": "gelu"}, "sets hidden_activation = 'gelu'"),
        ("llama", {"mlp_bias": True}, "sets mlp_bias = True"),
        ("qwen3", {"attention_bias": True}, "sets attention_bias = True"),
        ("llama", {"layer_types": ["sliding_attention"] * 3}, "sets layer_types = .* is not supported: choose another"),
        ("llama", {"sliding_window": 20}, "sets sliding_window = 20"),
        ("qwen3", {"layer_types": ["chunked_attention"] * 3}, "sets layer_types.0 = 'chunked_attention'"),
        ("qwen3", {"layer_types": ["full_attention"] * 2}, "has 2 layer_types for 3 layers"),
        ("qwen2", {"layer_types": ["sliding_attention"] * 3}, "but no window: set use_sliding_window"),
        ("gemma3", {"use_bidirectional_attention": True}, "sets use_bidirectional_attention = True"),
        ("gemma3", {"final_logit_softcapping": 30.0}, "final_logit_softcapping = 30.0"),
        (
            "llama",
            {"quantization_config": {"quant_method": "fp8"}},
            "sets quantization_config = {'quant_method': 'fp8'}",
        ),
        ("llama", {"pruned_heads": {"0": [1]}}, "sets pruned_heads = .*, which is not supported: choose another"),
        ("llama", {"attention_dropout": 1.0}, "has attention_dropout = 1.0"),
        ("llama", {"some_new_switch": True}, "sets some_new_switch = True, which is not supported"),
        ("llama", {"partial_rotary_factor": 0.5}, "has partial_rotary_factor = 0.5"),
        ("llama", {"rope_interleaved": True}, "sets rope_interleaved = True"),
        ("llama", {"auto_map": {"AutoModel": "x.Y"}}, "sets auto_map"),
        ("qwen2", {"model_type": "llama"}, "sets model_type = 'llama'"),
        ("llama", {"architectures": 5}, "is a 5; supported"),
        ("llama", {"architectures": [["x"]]}, "supported are"),
        ("llama", {"vocab_size": "259"}, "has vocab_size = '259': .*integer. Put it right"),
        ("llama", {"hidden_size": -16}, "has hidden_size = -16"),
        ("llama", {"hidden_size": 16.5}, "has hidden_size = 16.5"),
        ("llama", {"hidden_size": 34, "head_dim": None}, "num_attention_heads = 4 does not divide"),
        ("llama", {"num_attention_heads": 0}, "has num_attention_heads = 0"),
        ("llama", {"num_attention_heads": True}, "has num_attention_heads = True"),
        ("llama", {"num_key_value_heads": 3}, "kv_heads = 3 does not divide"),
        ("qwen3", {"head_dim": ...}, "has no field 'head_dim'"),
        ("gemma3", {"num_key_value_heads": ...}, "has no field 'num_key_value_heads'"),
        ("llama", {"rms_norm_eps": math.nan}, "has rms_norm_eps = nan: it has to be a finite number"),
        ("llama", {"rms_norm_eps": "1e-6"}, "has rms_norm_eps = '1e-6'"),
        ("llama", {"rms_norm_eps": 0}, "has rms_norm_eps = 0"),
        ("llama", {"rope_theta": 0}, "has rope_theta = 0"),
        ("llama", {"rope_theta": math.nan}, "has rope_theta = nan"),
        ("llama", {"rope_theta": 10**400}, "has rope_theta = 1000"),
        ("llama", {"tie_word_embeddings": "false"}, "has tie_word_embeddings = 'false'"),
        ("gemma3", {"query_pre_attn_scalar": -1}, "has query_pre_attn_scalar = -1"),
        ("llama", {"rope_scaling": "yarn"}, "has rope_scaling = 'yarn'"),
        ("llama", {"rope_scaling": {"rope_type": "linear", "factor": 0}}, "rotary settings, has factor = 0"),
        ("llama", {"rope_scaling": {"rope_type": "linear", "factor": -2.0}}, "has factor = -2.0"),
        ("llama", {"rope_scaling": {"rope_type": "linear", "factor": math.nan}}, "has factor = nan"),
        ("llama", {"rope_scaling": {"rope_type": "linear", "factor": math.inf}}, "has factor = inf"),
        ("llama", {"rope_scaling": {"rope_type": "default", "factor": 2.0}}, "sets factor = 2.0"),
        (
            "llama",
            {"rope_scaling": {"rope_type": ["x"]}},
            'positions by "..x.."; supported are linear, llama3 and yarn',
        ),
        ("llama", {"rope_scaling": {"type": "linear", "rope_type": "yarn", "factor": 2.0}}, "contradicts rope_type"),
        ("llama", {"rope_scaling": LLAMA_31 | {"high_freq_factor": 1.0}}, "is wrong: low_freq_factor = 1.0 has to"),
        (
            "llama",
            {"rope_scaling": {"type": "linear", "factor": 2.0}, "rope_parameters": {"rope_type": "default"}},
            "rope_scaling beside rope_parameters, and they contradict",
        ),
        (
            "gemma3",
            {"rope_parameters": {"sliding_attention": {"rope_type": "linear", "factor": 2.0}}},
            "stretches its sliding layers by 'linear'",
        ),
        ("gemma3", {"rope_parameters": {"rope_type": "default"}}, "has rope_parameters of rope_type, but a Gemma"),
        ("llama", {"rope_parameters": {"full_attention": {"rope_type": "default"}}}, "sets full_attention"),
    ],
)
def test_what_this_decoder_does_not_have_is_named(family: str, change: dict[str, Any], words: str):
    read(family)
    refuse(words, family, **change)


def schemas(kind: type[Strict] = Strict) -> Iterator[type[Strict]]:
    for each in kind.__subclasses__():
        yield from (each, *schemas(each))


def test_what_may_be_of_several_kinds_says_so_in_words():
    """Pydantic's own words name each of them in its own way."""
    several = set()
    for schema in schemas():
        for name, field in schema.model_fields.items():
            kinds = [kind for kind in get_args(field.annotation) if kind is not type(None)]
            if get_origin(field.annotation) in (Union, UnionType) and len(kinds) > 1:
                assert field.description, (schema, name)
                several.add(name)
    assert {"eos_token_id", "chat_template", "pad_token", "target_modules"} <= several


def test_older_and_newer_names_mean_the_same():
    yarn = {"factor": 4.0, "original_max_position_embeddings": 64}
    expected = read(rope_parameters=yarn | {"rope_type": "yarn", "rope_theta": 5000.0})
    assert expected.rope_scaling is not None and expected.rope_scaling.kind == "yarn"
    assert read(rope_parameters=yarn | {"type": "yarn"}, rope_theta=5000) == expected
    assert read(rope_scaling=yarn | {"type": "yarn"}, rope_theta=5000.0) == expected
    both = {"rope_scaling": yarn | {"type": "yarn"}, "rope_parameters": yarn | {"rope_type": "yarn"}}
    assert read(**both, rope_theta=5000.0) == expected
    assert read(rope_scaling={}, rope_parameters=None, rope_theta=5000.0).rope_scaling is None
    assert read("gemma3").query_scale == 1 / 16, "transformers' default of query_pre_attn_scalar is 256"
    assert read(head_dim=None, num_key_value_heads=None).kv_heads == 4


YARN = {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 64, "rope_theta": 20_000.0}


@pytest.mark.parametrize(
    "settings",
    [
        YARN,
        YARN | {"truncate": False, "beta_fast": 16.0, "beta_slow": 2.0},
        YARN | {"attention_factor": 1.25},
        YARN | {"mscale": 0.7, "mscale_all_dim": 1.2},
        YARN | {"beta_fast": 1.0, "beta_slow": 1.0},
    ],
)
def test_yarns_angles_are_those_of_transformers(settings: dict[str, Any]):
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    theirs = transformers.LlamaConfig(max_position_embeddings=512, head_dim=32, rope_parameters=dict(settings))
    frequencies, magnitude = ROPE_INIT_FUNCTIONS["yarn"](theirs)
    ours = read(rope_parameters=settings, max_position_embeddings=512, head_dim=32)
    cos, sin = rotation(jnp.arange(500)[None], 32, ours.rope_theta, jnp.float32, ours.rope_scaling)
    angles = np.arange(500)[:, None] * frequencies.numpy()
    np.testing.assert_allclose(cos[0, :, 0], np.cos(angles) * magnitude, atol=1e-4)
    np.testing.assert_allclose(sin[0, :, 0], np.sin(angles) * magnitude, atol=1e-4)
    assert families.from_hugging_face(families.to_hugging_face(ours), "x") == ours


def test_nesting_that_no_parser_reads_ends_in_a_sentence(tmp_path: Path):
    (tmp_path / "config.json").write_text("[" * 200_000 + "]" * 200_000)
    with pytest.raises(PretrainedError, match="config.json cannot be read .*nested"):
        folder.read_config(tmp_path)
    (tmp_path / "config.json").write_text('{"vocab_size": ' + "9" * 5000 + "}")
    with pytest.raises(PretrainedError, match="config.json cannot be read"):
        folder.read_config(tmp_path)
