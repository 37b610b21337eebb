"""Adapters against PEFT itself: the same logits from the same files, in both directions."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mass_jax.models import lora
from mass_jax.models.lora import LoraConfig
from mass_jax.models.pretrained import folder, peft_format
from mass_jax.models.pretrained.errors import PretrainedError
from mass_jax.types import Params, PyTree
from tests.models.pretrained.conftest import make, our_logits, their_logits, tokens

IDS = tokens(length=40)


@pytest.fixture(params=["llama, stretched", "qwen2", "gemma3"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Any, Params]:
    make(request.param).save_pretrained(tmp_path / "base")
    config = folder.read_config(tmp_path / "base")
    return tmp_path / "base", config, folder.read(tmp_path / "base", config)


def random_adapter(params: Params, targets: str = ".*_proj") -> PyTree:
    adapter = lora.init(LoraConfig(4, targets), params, jax.random.key(0))
    return jax.tree.map(lambda leaf: 0.3 * jax.random.normal(jax.random.key(leaf.size), leaf.shape), adapter)


def open_base(path: Path) -> Any:
    return pytest.importorskip("transformers").AutoModelForCausalLM.from_pretrained(path).eval()


@pytest.mark.parametrize("targets", [".*_proj", "(q|v)_proj"])
def test_peft_reads_what_we_write(base: tuple[Path, Any, Params], targets: str, tmp_path: Path):
    peft = pytest.importorskip("peft")
    path, config, params = base
    adapter = random_adapter(params, targets)
    peft_format.save(tmp_path / "adapter", config, adapter, str(path))
    theirs = peft.PeftModel.from_pretrained(open_base(path), tmp_path / "adapter").eval()
    ours = our_logits(config, params, IDS, adapter)
    assert np.abs(ours - our_logits(config, params, IDS)).max() > 0.1
    np.testing.assert_allclose(ours, their_logits(theirs, IDS), atol=1e-4)
    jax.tree.map(np.testing.assert_array_equal, peft_format.load(tmp_path / "adapter", config), adapter)


@pytest.mark.parametrize("options", [{"lora_alpha": 12}, {"lora_alpha": 3, "use_rslora": True}])
def test_we_read_what_peft_writes(base: tuple[Path, Any, Params], options: dict, tmp_path: Path):
    peft = pytest.importorskip("peft")
    torch = pytest.importorskip("torch")
    path, config, params = base
    torch.manual_seed(1)
    settings = peft.LoraConfig(r=4, target_modules=["q_proj", "o_proj", "down_proj"], **options)
    theirs = peft.get_peft_model(open_base(path), settings).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.3 * torch.randn_like(parameter))
    theirs.save_pretrained(tmp_path / "adapter")
    adapter = peft_format.load(tmp_path / "adapter", config)
    np.testing.assert_allclose(our_logits(config, params, IDS, adapter), their_logits(theirs, IDS), atol=1e-4)


def test_merged_is_adapted(base: tuple[Path, Any, Params], tmp_path: Path):
    _, config, params = base
    adapter = random_adapter(params)
    merged = peft_format.merge(params, adapter)
    expected = our_logits(config, params, IDS, adapter)
    np.testing.assert_allclose(our_logits(config, merged, IDS), expected, atol=1e-4)
    folder.write(tmp_path / "merged", config, merged)
    np.testing.assert_allclose(their_logits(open_base(tmp_path / "merged"), IDS), expected, atol=2e-4)


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, Any]:
    make("qwen2").save_pretrained(tmp_path / "base")
    config = folder.read_config(tmp_path / "base")
    adapter = random_adapter(folder.read(tmp_path / "base", config), "q_proj")
    peft_format.save(tmp_path / "adapter", config, adapter, "base")
    return tmp_path / "adapter", config


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"peft_type": "IA3"}, "is a IA3 adapter; supported is LORA"),
        ({"use_dora": True}, "uses use_dora = True, which is not supported"),
        ({"modules_to_save": ["lm_head"]}, r"uses modules_to_save = \['lm_head'\]"),
        ({"bias": "all"}, "uses bias = 'all'"),
        ({"r": 5}, r"a lora_A of q_proj of the shape \(4, 32\), but the model asks for \(5, 32\)"),
    ],
)
def test_other_adapters_are_refused(saved: tuple[Path, Any], change: dict, words: str):
    path, config = saved
    raw = json.loads((path / "adapter_config.json").read_text())
    (path / "adapter_config.json").write_text(json.dumps(raw | change))
    with pytest.raises(PretrainedError, match=words):
        peft_format.load(path, config)


def test_tensors_that_do_not_belong_are_named(saved: tuple[Path, Any]):
    path, config = saved
    tensors = load_file(path / "adapter_model.safetensors")
    first = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    for changed, words in (
        ({k: v for k, v in tensors.items() if k != first}, r"no lora_A of q_proj in the layers \[0\]"),
        (tensors | {first.replace("q_proj", "x_proj"): tensors[first]}, "adapts .*x_proj.*which this architecture"),
        (tensors | {first.replace(".0.", ".7."): tensors[first]}, r"adapts .*layers.7.*which this architecture"),
    ):
        save_file(changed, path / "adapter_model.safetensors")
        with pytest.raises(PretrainedError, match=words):
            peft_format.load(path, config)
    (path / "adapter_model.safetensors").write_bytes(b"1234")
    with pytest.raises(PretrainedError, match="cannot be read"):
        peft_format.load(path, config)


def test_adapters_of_many_problems_are_refused(base: tuple[Path, Any, Params], tmp_path: Path):
    _, config, params = base
    many = jax.tree.map(lambda leaf: leaf[:, None], random_adapter(params))
    with pytest.raises(PretrainedError, match="axis of problems: choose one"):
        peft_format.save(tmp_path / "x", config, many, "base")
    with pytest.raises(PretrainedError, match="axis of problems: merge one"):
        peft_format.merge(params, many)
