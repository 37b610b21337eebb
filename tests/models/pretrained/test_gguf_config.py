"""What the metadata of a GGUF file say is done as llama.cpp does it, or refused."""

from typing import Any

import pytest

from mass_jax.models.config import ModelConfig, RopeScaling
from mass_jax.models.pretrained import families
from mass_jax.models.pretrained.errors import PretrainedError
from mass_jax.models.pretrained.gguf_config import from_gguf


def describe(family: str = "llama", **changes: Any) -> ModelConfig:
    """The config of plain metadata with changes; a dot in a name is written ``__``, and None removes a field."""
    own = {
        "embedding_length": 64,
        "block_count": 7,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
        "feed_forward_length": 48,
        "context_length": 256,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "rope.freq_base": 5000.0,
    }
    own |= {"attention.sliding_window": 20} if family == "gemma3" else {}
    other = {name: value for name, value in changes.items() if name[0].isupper()}
    own |= {name.replace("__", "."): value for name, value in changes.items() if name not in other}
    metadata = {"general.architecture": family} | {f"{family}.{name}": v for name, v in own.items() if v is not None}
    metadata |= {name.lower().replace("__", "."): value for name, value in other.items()}
    return from_gguf(metadata, 61, True, "x.gguf")


@pytest.mark.parametrize(
    ("changes", "scaling"),
    [
        ({}, None),
        ({"rope__scaling__type": "none", "rope__scaling__factor": 4.0}, None),
        ({"rope__scaling__type": "linear", "rope__scaling__factor": 4.0}, RopeScaling("linear", 4.0)),
        ({"rope__scaling__factor": 4.0}, RopeScaling("linear", 4.0)),
        ({"rope__scale_linear": 4.0}, RopeScaling("linear", 4.0)),
        ({"rope__scale_linear": 4.0, "rope__scaling__factor": 4.0}, RopeScaling("linear", 4.0)),
        ({"rope__scaling__type": "none", "rope__scale_linear": 4.0}, None),
        ({"rope__scaling__factor": 0.0}, None),
        ({"rope__scaling__factor": 1.0, "rope__scaling__original_context_length": 64}, None),
    ],
)
def test_stretched_contexts(changes: dict[str, Any], scaling: RopeScaling | None):
    assert describe(**changes).rope_scaling == scaling


@pytest.mark.parametrize(
    "changes",
    [
        {"rope__dimension_count": 16, "attention__value_length": 16, "vocab_size": 61},
        {"attention__scale": 0.25, "attn_logit_softcapping": 0.0, "expert_count": 0},
        {"attention__sliding_window": 256},
        {"attention__sliding_window": 0},
        {"tensor_data_layout": "Meta AI original pth", "attention__causal": True},
        {"General__file_type": 15, "General__quantization_version": 2, "Mradermacher__quantized_by": "x"},
    ],
)
def test_what_changes_nothing_is_accepted(changes: dict[str, Any]):
    assert describe(**changes) == describe()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rope__scaling__type": "yarn"}, "stretches its context by 'yarn'; supported is linear"),
        ({"rope__scaling__type": 5}, "stretches its context by 5"),
        ({"rope__scaling__factor": -2.0}, "factor = -2.0, but it is a number from 0 to 1e.06"),
        ({"rope__scaling__factor": float("nan")}, "factor = nan, but it is a number"),
        ({"rope__scaling__factor": float("inf")}, "factor = inf, but it is a number"),
        ({"rope__scale_linear": 4.0, "rope__scaling__factor": 2.0}, r"by two factors, \[2.0, 4.0\]"),
        ({"rope__scaling__attn_factor": 1.2}, "attn_factor = 1.2, but this decoder has only 1.0"),
        ({"rope__dimension_count": 8}, "llama.rope.dimension_count = 8, but this decoder has only 16"),
        ({"attention__scale": 0.3}, "attention.scale = 0.3, but this decoder has only 0.25"),
        ({"attention__value_length": 8}, "value_length = 8, but this decoder has only 16"),
        ({"final_logit_softcapping": 30.0}, "softcapping = 30.0, but this decoder has only 0.0"),
        ({"expert_count": 8}, "expert_count = 8, but this decoder has only 0"),
        ({"attention__causal": 1}, "attention.causal = 1, but this decoder has only True"),
        ({"attention__sliding_window": 20}, "sliding_window = 20, which this decoder does not have in a llama"),
        ({"attention__sliding_window_pattern": 6}, "sliding_window_pattern = 6, which is not known here"),
        ({"rope__freq_base_swa": 1e4}, "freq_base_swa = 10000.0, which is not known here"),
        ({"attention__temperature": 1.0}, "attention.temperature = 1.0, which is not known here and may change"),
        ({"feed_forward_length": [48] * 7}, "feed_forward_length = .*, but it is a whole number from 1"),
        ({"attention__head_count": 0}, "head_count = 0, but it is a whole number from 1"),
        ({"block_count": True}, "block_count = True, but it is a whole number from 1 to 10000"),
        ({"block_count": 2**31}, "block_count = 2147483648, but"),
        ({"context_length": 256.0}, "context_length = 256.0, but it is a whole number"),
        ({"attention__layer_norm_rms_epsilon": float("nan")}, "epsilon = nan, but it is a number"),
        ({"attention__layer_norm_rms_epsilon": "1e-6"}, "epsilon = '1e-6', but it is a number"),
        ({"rope__freq_base": 0.0}, "freq_base = 0.0, but it is a number from 1"),
        ({"attention__head_count": 3}, "3 heads do not divide the width 64"),
        ({"attention__head_count_kv": 3}, "kv_heads = 3 does not divide"),
        ({"vocab_size": 60}, "vocab_size = 60, but this decoder has only 61"),
        ({"feed_forward_length": None}, "no metadata field 'llama.feed_forward_length'"),
        ({"General__type": "adapter"}, "general.type = 'adapter', but this decoder has only 'model'"),
        ({"General__quantization_version": 1}, "quantization_version = 1, but this decoder has only 2"),
        ({"Adapter__lora__alpha": 1.0}, "adapter.lora.alpha = 1.0, which is not known here"),
        ({"Qwen2__block_count": 7}, "qwen2.block_count = 7, which is not known here"),
        ({"General__architecture": 5}, "is of architecture 5; supported are llama, qwen2"),
    ],
)
def test_what_is_not_done_is_refused(changes: dict[str, Any], words: str):
    with pytest.raises(PretrainedError, match=words):
        describe(**changes)


def test_gemmas_layers_slide_as_the_file_says():
    usual = describe("gemma3")
    assert usual.sliding_layers == (True,) * 5 + (False, True)
    assert (usual.sliding_window, usual.local_rope_theta, usual.query_scale) == (20, 10_000.0, 16**-0.5)
    assert describe("gemma3", attention__sliding_window_pattern=3).sliding_layers == (True, True, False) * 2 + (True,)
    listed = [True, False, False, True, False, True, True]
    assert describe("gemma3", attention__sliding_window_pattern=listed).sliding_layers == tuple(listed)
    assert describe("gemma3", rope__freq_base_swa=500.0).local_rope_theta == 500.0
    for changes in ({"attention__sliding_window": None}, {"attention__sliding_window_pattern": 1}):
        plain = describe("gemma3", **changes)
        assert (plain.sliding_window, plain.sliding_layers) == (None, ())
    with pytest.raises(PretrainedError, match="sliding_window_pattern = .True, False., but it is a whole number"):
        describe("gemma3", attention__sliding_window_pattern=[True, False])
    with pytest.raises(PretrainedError, match="no metadata field 'gemma3.rope.freq_base'"):
        describe("gemma3", rope__freq_base=None)


def test_the_deepest_gemma_scales_its_queries_otherwise():
    changes = {"attention__key_length": 8, "embedding_length": 96}
    assert describe("gemma3", block_count=62, **changes).query_scale == (96 / 4) ** -0.5
    assert describe("gemma3", block_count=48, **changes).query_scale == 8**-0.5


@pytest.mark.parametrize("family", families.SWITCHES)
def test_an_architecture_has_words_in_the_cache(family: str):
    for changes in ({}, {"rope__scaling__factor": 4.0}, {"block_count": 62}):
        config = describe(family, **changes)
        assert families.from_hugging_face(families.to_hugging_face(config), "x") == config
