"""Adapters against PEFT itself: the same logits from the same files, in both directions."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mass_jax.models import lora
from mass_jax.models.config import ModelConfig
from mass_jax.models.lora import LoraConfig
from mass_jax.models.pretrained import folder, peft_format
from mass_jax.models.pretrained.errors import PretrainedError
from mass_jax.types import Params, PyTree
from tests.models.pretrained.conftest import make, our_logits, their_logits, tokens

IDS = tokens(length=40)


def saved_base(name: str, path: Path) -> tuple[Path, Any, Params]:
    make(name).save_pretrained(path / "base")
    config = folder.read_config(path / "base")
    return path / "base", config, folder.read(path / "base", config)


@pytest.fixture
def base(tmp_path: Path) -> tuple[Path, Any, Params]:
    return saved_base("qwen2", tmp_path)  # with biases, and grouped queries


def random_adapter(params: Params, targets: str = ".*_proj") -> PyTree:
    adapter = lora.init(LoraConfig(4, targets), params, jax.random.key(0))
    return jax.tree.map(lambda leaf: 0.3 * jax.random.normal(jax.random.key(leaf.size), leaf.shape), adapter)


def open_base(path: Path) -> Any:
    return pytest.importorskip("transformers").AutoModelForCausalLM.from_pretrained(path).eval()


def double_logits(config: ModelConfig, params: Params, adapter: PyTree = None) -> np.ndarray:
    """Ours in float64: in float32 what a processor's products round decides how close two libraries come."""
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), (params, adapter))
        return our_logits(config, wide[0], IDS, wide[1])


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.dtype == expected.dtype == np.float64
    # Transformers' rotary angles stay float32.
    assert np.abs(found - expected).max() < 1e-5 * max(1, np.abs(expected).max())


@pytest.mark.parametrize(
    ("name", "targets"), [("llama, stretched", ".*_proj"), ("qwen2", "(q|v)_proj"), ("gemma3", ".*_proj")]
)
def test_peft_reads_what_we_write(name: str, targets: str, tmp_path: Path):
    peft = pytest.importorskip("peft")
    path, config, params = saved_base(name, tmp_path)
    adapter = random_adapter(params, targets)
    peft_format.save(tmp_path / "adapter", config, adapter, str(path))
    theirs = peft.PeftModel.from_pretrained(open_base(path), tmp_path / "adapter").eval()
    ours = double_logits(config, params, adapter)
    assert np.abs(ours - double_logits(config, params)).max() > 0.1
    assert_close(ours, their_logits(theirs.double(), IDS))
    jax.tree.map(np.testing.assert_array_equal, peft_format.load(tmp_path / "adapter", config), adapter)


@pytest.mark.parametrize("options", [{"lora_alpha": 12}, {"lora_alpha": 3, "use_rslora": True, "lora_dropout": 0.1}])
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
    assert sorted(adapter) == ["down_proj", "o_proj", "q_proj"]
    assert_close(double_logits(config, params, adapter), their_logits(theirs.double(), IDS))


def test_merged_is_adapted(base: tuple[Path, Any, Params], tmp_path: Path):
    _, config, params = base
    adapter = random_adapter(params)
    merged = peft_format.merge(params, adapter)
    expected = double_logits(config, params, adapter)
    assert_close(double_logits(config, merged), expected)
    with pytest.raises(PretrainedError, match="an adapter is part of the parameters: merge it into them"):
        folder.write(tmp_path / "merged", config, lora.attach(params, adapter))
    folder.write(tmp_path / "merged", config, merged)
    assert_close(their_logits(open_base(tmp_path / "merged").double(), IDS), expected)


def test_merging_keeps_the_dtype_and_adds_before_rounding(base: tuple[Path, Any, Params]):
    _, config, params = base
    adapter = random_adapter(params, "q_proj")
    rounded = jax.tree.map(lambda leaf: leaf.astype("bfloat16"), params)
    merged = peft_format.merge(rounded, adapter)
    jax.tree.map(
        lambda new, old: np.testing.assert_equal((new.dtype, new.shape), (old.dtype, old.shape)), merged, rounded
    )
    kernel = rounded["layers"]["q_proj"]["kernel"].astype("float32")
    expected = kernel + np.einsum("ldr,lro->ldo", adapter["q_proj"]["a"], adapter["q_proj"]["b"])
    np.testing.assert_array_equal(merged["layers"]["q_proj"]["kernel"], expected.astype("bfloat16"))
    assert merged["layers"]["k_proj"] is rounded["layers"]["k_proj"]


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
        ({"use_dora": True}, "sets use_dora = True, which is not supported .*: merge it into its base with peft"),
        ({"modules_to_save": ["lm_head"]}, r"sets modules_to_save = \['lm_head'\]"),
        ({"bias": "all"}, "sets bias = 'all'"),
        ({"lora_bias": True}, "sets lora_bias = True"),
        ({"rank_pattern": {"q_proj": 2}}, "sets rank_pattern = {'q_proj': 2}"),
        ({"alpha_pattern": {"q_proj": 2}}, "sets alpha_pattern = "),
        ({"exclude_modules": ["q_proj"]}, "sets exclude_modules = "),
        ({"layer_replication": [[0, 2]]}, "sets layer_replication = "),
        ({"trainable_token_indices": [1]}, "sets trainable_token_indices = "),
        ({"init_lora_weights": "pissa"}, "sets init_lora_weights = 'pissa'"),
        ({"of_a_later_peft": 1}, "sets of_a_later_peft = 1, which is not supported"),
        ({"layers_to_transform": [0, 1]}, r"layers_to_transform = \[0, 1\], but the model has the layers 0 to 2"),
        ({"target_modules": ["k_proj"]}, r"tensors of q_proj, which target_modules = \['k_proj'\] does not name"),
        ({"target_modules": r".*layers\.[01]\..*q_proj"}, "does not name in every layer"),
        ({"target_modules": "("}, "has target_modules = .: "),
        ({"target_modules": 5}, "has target_modules.* = 5"),
        ({"fan_in_fan_out": "no"}, "has fan_in_fan_out = 'no'"),
        ({"use_rslora": 1}, "has use_rslora = 1"),
        ({"r": None}, "has r = None: it has to be a valid integer"),
        ({"r": 0}, "has r = 0: "),
        ({"r": 4.0}, "has r = 4.0: "),
        ({"lora_alpha": "8"}, "has lora_alpha = '8': it has to be a valid number"),
        ({"lora_alpha": float("nan")}, "has lora_alpha = nan"),
        ({"lora_alpha": float("inf")}, "has lora_alpha = inf"),
        ({"lora_alpha": 10**400}, "has lora_alpha = 1000"),
        ({"lora_alpha": True}, "has lora_alpha = True"),
        ({"r": 5}, r"a lora_A of q_proj of the shape \(4, 32\), but the model asks for \(5, 32\)"),
    ],
)
def test_other_adapters_are_refused(saved: tuple[Path, Any], change: dict, words: str):
    path, config = saved
    raw = json.loads((path / "adapter_config.json").read_text())
    (path / "adapter_config.json").write_text(json.dumps(raw | change))
    with pytest.raises(PretrainedError, match=words):
        peft_format.load(path, config)


@pytest.mark.parametrize("targets", [["q_proj"], ["self_attn.q_proj"], ".*q_proj", "all-linear", None])
def test_all_ways_to_name_what_is_adapted(saved: tuple[Path, Any], targets: Any):
    path, config = saved
    raw = json.loads((path / "adapter_config.json").read_text())
    raw |= {"target_modules": targets, "layers_to_transform": [2, 1, 0], "lora_ga_config": None, "use_velora": False}
    (path / "adapter_config.json").write_text(json.dumps(raw))
    assert list(peft_format.load(path, config)) == ["q_proj"]


def test_tensors_that_do_not_belong_are_named(saved: tuple[Path, Any]):
    path, config = saved
    tensors = load_file(path / "adapter_model.safetensors")
    first = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    for changed, words in (
        ({k: v for k, v in tensors.items() if k != first}, r"no lora_A of q_proj in the layers \[0\]"),
        (tensors | {first.replace("q_proj", "x_proj"): tensors[first]}, "adapts .*x_proj.*which this architecture"),
        (tensors | {first.replace(".0.", ".7."): tensors[first]}, r"adapts .*layers.7.*which this architecture"),
        (tensors | {"base_model.model.lm_head.weight": tensors[first]}, "adapts base_model.model.lm_head.weight"),
        ({k: v for k, v in tensors.items() if ".1." not in k}, r"in the layers \[1\]: adapt all layers"),
        ({}, "holds no tensors"),
        (tensors | {first: np.full((4, 32), np.nan, np.float32)}, "q_proj.lora_A.weight of .* not finite"),
        (tensors | {first: np.ones((4, 32), np.int8)}, "q_proj.lora_A.weight of .* is stored as I8"),
    ):
        save_file(changed, path / "adapter_model.safetensors")
        with pytest.raises(PretrainedError, match=words):
            peft_format.load(path, config)
    (path / "adapter_model.safetensors").write_bytes(b"1234")
    with pytest.raises(PretrainedError, match="cannot be read"):
        peft_format.load(path, config)
    (path / "adapter_model.safetensors").unlink()
    with pytest.raises(PretrainedError, match="adapter_model.safetensors is missing: save the adapter"):
        peft_format.load(path, config)


def test_adapters_of_many_problems_are_refused(base: tuple[Path, Any, Params], tmp_path: Path):
    _, config, params = base
    many = jax.tree.map(lambda leaf: leaf[:, None], random_adapter(params))
    with pytest.raises(PretrainedError, match="axis of problems: choose one"):
        peft_format.save(tmp_path / "x", config, many, "base")
    with pytest.raises(PretrainedError, match="axis of problems: merge one"):
        peft_format.merge(params, many)


def test_adapters_of_other_models_are_refused(base: tuple[Path, Any, Params], tmp_path: Path):
    _, config, params = base
    adapter = random_adapter(params, "(q|k)_proj")
    short = jax.tree.map(lambda leaf: leaf[:2], adapter)
    mixed = adapter | {"q_proj": {"a": adapter["q_proj"]["a"][..., :2], "b": adapter["q_proj"]["b"][:, :2]}}
    for wrong, words in (
        (short, r"k_proj has the shapes \(2, 32, 4\) and .* ask for \(3, 32, 4\)"),
        (mixed, "the shapes .* and rank . ask for"),
        ({}, "adapts nothing"),
        ({"x_proj": adapter["q_proj"]}, "adapts x_proj: give an adapter of one or more of q_proj, k_proj"),
    ):
        with pytest.raises(PretrainedError, match=words):
            peft_format.save(tmp_path / "x", config, wrong, "base")
    assert not (tmp_path / "x").exists()
    for wrong, words in (
        (short, r"k_proj of the shape \(2, 32, 16\), but the model has \(3, 32, 16\)"),
        ({"x_proj": adapter["q_proj"]}, "for a x_proj of the shape .*, but the model has none"),
    ):
        with pytest.raises(PretrainedError, match=words):
            peft_format.merge(params, wrong)
