"""Folders of safetensors: the same logits as transformers, both ways, and a sentence for whatever is wrong."""

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mass_jax.models.pretrained import families, folder
from mass_jax.models.pretrained.errors import PretrainedError
from tests.models.pretrained.conftest import MODELS, make, our_logits, their_logits, tokens


def test_logits_equal_those_of_transformers(checkpoint: tuple[Any, Path]):
    model, path = checkpoint
    config = folder.read_config(path)
    found = our_logits(config, folder.read(path, config), tokens())
    expected = their_logits(model, tokens())
    assert np.std(expected) > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-4)
    scanned = dataclasses.replace(config, scan_layers=True)
    np.testing.assert_allclose(our_logits(scanned, folder.read(path, config), tokens()), expected, atol=1e-4)


def test_what_we_write_transformers_reads(checkpoint: tuple[Any, Path], tmp_path: Path):
    transformers = pytest.importorskip("transformers")
    model, path = checkpoint
    config = folder.read_config(path)
    params = folder.read(path, config)
    folder.write(tmp_path / "ours", config, params)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours").eval()
    np.testing.assert_allclose(their_logits(theirs, tokens()), their_logits(model, tokens()), atol=1e-4)
    assert folder.read_config(tmp_path / "ours") == config
    again = folder.read(tmp_path / "ours", config)
    jax.tree.map(np.testing.assert_array_equal, again, params)
    assert sorted(p.name for p in (tmp_path / "ours").iterdir()) == ["config.json", "model.safetensors"]


def test_shards_are_read_as_one(tmp_path: Path):
    model = make("qwen2")
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 3
    config = folder.read_config(tmp_path)
    np.testing.assert_allclose(
        our_logits(config, folder.read(tmp_path, config), tokens()), their_logits(model, tokens()), atol=1e-4
    )
    next(iter(sorted(tmp_path.glob("*.safetensors")))).unlink()
    with pytest.raises(PretrainedError, match=r"lacks model-00001-of-\d+.safetensors of its \d+ shards"):
        folder.read(tmp_path, config)


def test_the_dtype_is_the_callers(saved: Path):
    config = folder.read_config(saved)
    leaves = jax.tree.leaves(folder.read(saved, config, "bfloat16"))
    assert {str(leaf.dtype) for leaf in leaves} == {"bfloat16"}


def test_leaves_go_where_the_shardings_say(saved: Path):
    config = folder.read_config(saved)
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    place = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    plain = folder.read(saved, config)
    placed = folder.read(saved, config, sharding=jax.tree.map(lambda _: place, plain))
    assert all(leaf.sharding == place for leaf in jax.tree.leaves(placed))
    jax.tree.map(np.testing.assert_array_equal, placed, plain)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    make("smollm2").save_pretrained(tmp_path / "m")
    return tmp_path / "m"


def change_tensors(path: Path, **changes: Any) -> None:
    tensors = load_file(path / "model.safetensors")
    for name, value in changes.items():
        if value is None:
            del tensors[name]
        else:
            tensors[name] = value
    save_file(tensors, path / "model.safetensors")


def refuse(path: Path, words: str) -> None:
    with pytest.raises(PretrainedError, match=words):
        folder.read(path, folder.read_config(path))


def test_every_missing_and_unknown_tensor_is_named(saved: Path):
    gone = ["model.layers.1.mlp.up_proj.weight", "model.norm.weight"]
    change_tensors(saved, **dict.fromkeys(gone))
    refuse(saved, "lacks 2 tensors: model.norm.weight, model.layers.1.mlp.up_proj.weight")


def test_unknown_tensors_are_named_and_harmless_ones_are_not(saved: Path):
    embed = load_file(saved / "model.safetensors")["model.embed_tokens.weight"]
    spare = {"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(4), "lm_head.weight": embed}
    change_tensors(saved, **spare)
    folder.read(saved, folder.read_config(saved))
    change_tensors(saved, **{"lm_head.weight": embed + 1})
    refuse(saved, "ties its embeddings .* holds an lm_head.weight that differs .*: set tie_word_embeddings to false")
    change_tensors(saved, **{"lm_head.weight": embed})
    change_tensors(saved, **{"model.layers.0.extra": np.ones(3)})
    refuse(saved, "holds tensors that its architecture does not have: model.layers.0.extra")


def test_a_wrong_shape_is_named(saved: Path):
    change_tensors(saved, **{"model.layers.2.self_attn.k_proj.weight": np.ones((32, 16), np.float32)})
    refuse(saved, r"k_proj.weight of .* has the shape \(16, 32\), but the config asks for \(32, 16\)")


@pytest.mark.parametrize("size", [0, 4, 8, 200, 20_000])
def test_a_truncated_file_is_refused(saved: Path, size: int):
    file = saved / "model.safetensors"
    file.write_bytes(file.read_bytes()[:size])
    refuse(saved, "model.safetensors cannot be read .*the download is incomplete")


def test_a_header_that_lies_is_refused(saved: Path):
    file = saved / "model.safetensors"
    whole = bytearray(file.read_bytes())
    rng = np.random.default_rng(0)
    for place in [*range(9), *rng.integers(9, 2000, 40)]:
        broken = whole.copy()
        broken[place] ^= 1 << rng.integers(8)
        file.write_bytes(broken)
        with contextlib.suppress(PretrainedError):  # of a name or a shape an error of ours; of padding none
            folder.read(saved, folder.read_config(saved))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_weight_that_is_no_number_is_refused(saved: Path, value: float, dtype: str):
    weight = load_file(saved / "model.safetensors")["model.layers.1.mlp.up_proj.weight"].astype(dtype)
    change_tensors(saved, **{"model.layers.1.mlp.up_proj.weight": weight})
    folder.read(saved, folder.read_config(saved))
    weight[3, 5] = value
    change_tensors(saved, **{"model.layers.1.mlp.up_proj.weight": weight})
    refuse(saved, "layers.1.mlp.up_proj.weight of .* not finite: the file is damaged")


@pytest.mark.parametrize(("dtype", "words"), [("float8_e4m3fn", "F8_E4M3"), ("int8", "I8")])
def test_quantised_weights_are_refused(saved: Path, dtype: str, words: str):
    weight = load_file(saved / "model.safetensors")["model.layers.1.mlp.up_proj.weight"].astype(dtype)
    change_tensors(saved, **{"model.layers.1.mlp.up_proj.weight": weight})
    refuse(saved, f"up_proj.weight of .* is stored as {words}; supported are F64, F32, F16, BF16")


def test_the_index_decides_which_shard_counts(saved: Path, tmp_path: Path):
    config, tensors = folder.read_config(saved), load_file(saved / "model.safetensors")
    expected = folder.read(saved, config)
    name = "model.norm.weight"
    (saved / "model.safetensors").unlink()
    save_file(tensors, saved / "b.safetensors")
    norms = {f"{shard}.safetensors": f"model.layers.{i}.input_layernorm.weight" for i, shard in enumerate("ac")}
    for other, norm in norms.items():  # a shard before b and one after it
        save_file({name: tensors[name] + 1, norm: tensors[norm]}, saved / other)
    index = {"weight_map": dict.fromkeys(tensors, "b.safetensors") | {norm: other for other, norm in norms.items()}}

    def write_index() -> None:
        (saved / folder.INDEX).write_text(json.dumps(index))

    write_index()
    jax.tree.map(np.testing.assert_array_equal, folder.read(saved, config), expected)
    index["weight_map"]["model.layers.0.input_layernorm.weight"] = "c.safetensors"
    write_index()
    refuse(saved, "lacks model.layers.0.input_layernorm.weight, which model.safetensors.index.json names")
    del index["weight_map"]["model.layers.0.input_layernorm.weight"]
    write_index()
    refuse(saved, "b.safetensors holds model.layers.0.input_layernorm.weight, which .* does not name")
    for wrong in (5, "../b.safetensors", "b.bin", ""):
        index["weight_map"]["model.layers.0.input_layernorm.weight"] = wrong
        write_index()
        refuse(saved, "which is not a shard: get it again")
    for content in ({}, {"weight_map": []}, {"weight_map": {}}):
        (saved / folder.INDEX).write_text(json.dumps(content))
        refuse(saved, "index.json has no weight_map")
    with pytest.raises(PretrainedError, match="holds a model in shards .*: write to another folder"):
        folder.write(saved, config, expected)
    assert not (saved / "model.safetensors").exists()
    save_file(tensors, saved / "model.safetensors")  # the whole file comes before a stale index
    jax.tree.map(np.testing.assert_array_equal, folder.read(saved, config), expected)


def test_pickles_are_not_opened(saved: Path):
    (saved / "model.safetensors").rename(saved / "pytorch_model.bin")
    refuse(saved, "pickles only .pytorch_model.bin., which can run code")


def test_nothing_there(tmp_path: Path):
    with pytest.raises(PretrainedError, match="config.json is missing: give a folder"):
        folder.read_config(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(families.to_hugging_face(folder_config())))
    refuse(tmp_path, "has neither model.safetensors nor model.safetensors.index.json")
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(PretrainedError, match="holds a list, not an object"):
        folder.read_config(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(PretrainedError, match="cannot be read"):
        folder.read_config(tmp_path)


def folder_config() -> Any:
    return families.from_hugging_face(make("smollm2").config.to_dict() | {"architectures": ["LlamaForCausalLM"]}, "x")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"architectures": ["MixtralForCausalLM"]}, "is a MixtralForCausalLM; supported are LlamaForCausalLM, Qwen2"),
        ({"architectures": None}, "is a none; supported"),
        ({"attention_bias": True}, "sets attention_bias = True, which is not supported"),
        (
            {"rope_parameters": {"rope_type": "longrope"}},
            "positions by 'longrope'; supported are linear, llama3 and yarn",
        ),
        ({"rope_scaling": {"type": "dynamic", "factor": 2}, "rope_parameters": None}, "by 'dynamic'"),
        ({"hidden_size": None}, "has no field 'hidden_size'"),
        (
            {"num_hidden_layers": 10**12},
            "has num_hidden_layers = 1000000000000: it has to be less than or equal to 10000",
        ),
    ],
)
def test_an_unsupported_architecture_is_named(change: dict, words: str):
    raw = make("smollm2").config.to_dict() | {"architectures": ["LlamaForCausalLM"]} | change
    raw = {name: value for name, value in raw.items() if value is not None or name == "architectures"}
    with pytest.raises(PretrainedError, match=words):
        families.from_hugging_face(raw, "x")


def test_older_configs_have_the_rotary_settings_at_the_top():
    for name in ("llama, stretched", "gemma3"):
        raw = make(name).config.to_dict() | {"architectures": [f"{MODELS[name][0]}ForCausalLM"]}
        rope = raw.pop("rope_parameters")
        old = dict(raw)
        if name == "gemma3":
            old |= {"rope_theta": rope["full_attention"]["rope_theta"], "sliding_window_pattern": 6}
            old |= {"rope_local_base_freq": rope["sliding_attention"]["rope_theta"]}
            del old["layer_types"]
        else:
            old |= {"rope_theta": rope.pop("rope_theta"), "rope_scaling": rope}
        new = families.from_hugging_face(raw | {"rope_parameters": make(name).config.to_dict()["rope_parameters"]}, "x")
        assert families.from_hugging_face(old, "x") == new
        assert (new.rope_scaling is None) == (name == "gemma3")
