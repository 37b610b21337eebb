"""GGUF: damaged files end in a sentence, and a written one is read back through every family's names."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from mass_jax.models.pretrained import folder
from mass_jax.models.pretrained.errors import PretrainedError
from mass_jax.models.pretrained.families import WHOLE, layer_tensors
from mass_jax.models.pretrained.gguf_file import GGUF
from tests.models.pretrained.conftest import make, our_logits, their_logits, tokens

NAMES = {"smollm2": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma3": "gemma3"}


def write(name: str, model_folder: Path, path: Path, tokenizer: bool = False) -> None:
    """What llama.cpp's converter makes of a checkpoint: its names, its order of q and k, its norms."""
    config, family = folder.read_config(model_folder), NAMES[name]
    writer = gguf.GGUFWriter(path, family)
    writer.add_uint32(f"{family}.embedding_length", config.width)
    writer.add_uint32(f"{family}.block_count", config.layers)
    writer.add_uint32(f"{family}.attention.head_count", config.heads)
    writer.add_uint32(f"{family}.attention.head_count_kv", config.kv_heads)
    writer.add_uint32(f"{family}.attention.key_length", config.head_dim)
    writer.add_uint32(f"{family}.feed_forward_length", config.mlp_width)
    writer.add_uint32(f"{family}.context_length", config.context)
    writer.add_float32(f"{family}.attention.layer_norm_rms_epsilon", config.norm_eps)
    writer.add_float32(f"{family}.rope.freq_base", config.rope_theta)
    if config.sliding_window:
        writer.add_uint32(f"{family}.attention.sliding_window", config.sliding_window)
    if tokenizer:
        letters = [chr(97 + i % 26) + str(i // 26) for i in range(config.vocab_size)]
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("smollm")
        writer.add_token_list(["<s>", "</s>", "<pad>", "a", "b", "ab", *letters[6:]])
        writer.add_token_types([3, 3, 3] + [1] * (config.vocab_size - 3))
        writer.add_token_merges(["a b"])
        writer.add_eos_token_id(1)
    state = {key: value.detach().numpy() for key, value in make(name).state_dict().items()}
    for tensor in WHOLE:
        if tensor.hugging_face in state and not (config.tie_embeddings and tensor.ours == ("unembed",)):
            array = state[tensor.hugging_face]
            writer.add_tensor(tensor.gguf, array + 1 if family == "gemma3" and array.ndim == 1 else array)
    for layer in range(config.layers):
        for tensor in layer_tensors(config):
            array = state.get(tensor.hugging_face.format(layer))
            if array is None:
                continue
            if family == "llama" and tensor.ours in (("q_proj", "kernel"), ("k_proj", "kernel")):
                heads = config.heads if tensor.ours[0] == "q_proj" else config.kv_heads
                array = array.reshape(heads, 2, -1, array.shape[1]).swapaxes(1, 2).reshape(array.shape)
            if family == "gemma3" and tensor.ours[1] == "scale":
                array = array + 1
            writer.add_tensor(tensor.gguf.format(layer), np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture
def written(tmp_path: Path) -> Any:
    def at(name: str) -> Path:
        make(name).save_pretrained(tmp_path / "m")
        write(name, tmp_path / "m", tmp_path / "model.gguf")
        return tmp_path / "model.gguf"

    return at


@pytest.mark.parametrize("name", NAMES)
def test_logits_equal_those_of_transformers(name: str, written: Any):
    import dataclasses

    file = GGUF(written(name))
    config = file.config
    if (
        name == "gemma3"
    ):  # the scale of queries is not in the file: every released size has the usual one, or 1/sqrt(168)
        config = dataclasses.replace(config, query_scale=24**-0.5)
    np.testing.assert_allclose(
        our_logits(config, file.read(config), tokens()), their_logits(make(name), tokens()), atol=1e-4
    )


def test_a_truncated_file_is_refused(written: Any):
    path = written("smollm2")
    whole = path.read_bytes()
    for size in [0, 3, 4, 8, 23, 24, 25, *np.random.default_rng(0).integers(26, len(whole), 60), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(PretrainedError, match="damaged or incomplete|no GGUF file"):
            GGUF(path).read()


def test_a_flipped_bit_never_crashes_or_hangs(written: Any):
    path = written("smollm2")
    whole = path.read_bytes()
    rng, refused = np.random.default_rng(0), 0
    for place in [*range(24), *rng.integers(24, 2500, 300)]:
        broken = bytearray(whole)
        broken[place] ^= 1 << rng.integers(8)
        path.write_bytes(broken)
        try:
            GGUF(path).read()
        except PretrainedError:
            refused += 1
    assert refused > 150


@pytest.mark.parametrize("place", [8, 16, 24])
def test_endless_lengths_are_refused_at_once(written: Any, place: int):
    path = written("smollm2")
    broken = bytearray(path.read_bytes())
    broken[place : place + 8] = (2**62).to_bytes(8, "little")
    path.write_bytes(broken)
    with pytest.raises(PretrainedError, match="damaged or incomplete .*announces"):
        GGUF(path)


def test_a_table_of_rotary_frequencies_is_refused_and_not_ignored(tmp_path: Path):
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "llama")
    writer.add_tensor("token_embd.weight", np.ones((4, 4), np.float32))
    writer.add_tensor("rope_freqs.weight", np.ones(2, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(PretrainedError, match="stretches its rotary frequencies by a table.*use the safetensors"):
        GGUF(tmp_path / "x.gguf")


def test_other_files_are_refused(tmp_path: Path):
    path = tmp_path / "x.gguf"
    with pytest.raises(PretrainedError, match="there is no file"):
        GGUF(path)
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(PretrainedError, match="is no GGUF file: it begins with"):
        GGUF(path)
    writer = gguf.GGUFWriter(path, "mamba")
    writer.add_tensor("token_embd.weight", np.ones((4, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(PretrainedError, match="of architecture 'mamba'; supported are llama, qwen2"):
        GGUF(path)
