"""GGUF: damaged files end in a sentence, and a written one is read back through every family's names."""

import copy
import dataclasses
import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from mass_jax.models.pretrained import folder, gguf_file, gguf_header, source
from mass_jax.models.pretrained.errors import PretrainedError
from mass_jax.models.pretrained.families import WHOLE, layer_tensors
from mass_jax.models.pretrained.gguf_file import GGUF
from tests.models.pretrained.conftest import make, our_logits, their_logits, tokens

Q8 = gguf.GGMLQuantizationType.Q8_0
NAMES = {"smollm2": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma3": "gemma3"}


def quantised(array: np.ndarray) -> np.ndarray | None:
    """A matrix as Q8_0; None where its rows are no whole blocks."""
    return gguf.quants.quantize(array, Q8) if array.ndim == 2 and array.shape[1] % 32 == 0 else None


def write(
    name: str, model_folder: Path, path: Path, tokenizer: bool = False, tokens: int = 61, quantise: bool = False
) -> None:
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
        letters = [chr(97 + i % 26) + str(i // 26) for i in range(tokens)]
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("smollm")
        writer.add_token_list(["<s>", "</s>", "<pad>", "a", "b", "ab", *letters[6:]])
        writer.add_token_types([3, 3, 3] + [1] * (tokens - 3))
        writer.add_token_merges(["a b"])
        writer.add_eos_token_id(1)
    state = {key: value.detach().numpy() for key, value in make(name).state_dict().items()}

    def add(name: str, array: np.ndarray) -> None:
        blocks = quantised(array) if quantise else None
        writer.add_tensor(name, array if blocks is None else blocks, raw_dtype=None if blocks is None else Q8)

    for tensor in WHOLE:
        if tensor.hugging_face in state and not (config.tie_embeddings and tensor.ours == ("unembed",)):
            array = state[tensor.hugging_face]
            add(tensor.gguf, array + 1 if family == "gemma3" and array.ndim == 1 else array)
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
            add(tensor.gguf.format(layer), np.ascontiguousarray(array))
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
    file = GGUF(written(name))
    config = file.config
    if name == "gemma3":  # the scale of queries is not in the file: this is none of the released sizes
        config = dataclasses.replace(config, query_scale=24**-0.5)
    np.testing.assert_allclose(
        our_logits(config, file.read(config), tokens()), their_logits(make(name), tokens()), atol=1e-4
    )


def test_a_quantised_model_equals_transformers_on_the_same_numbers(tmp_path: Path):
    """The way of a real Qwen2.5: untied, with biases, in blocks; loaded through the cache."""
    import torch

    theirs = copy.deepcopy(make("qwen2"))
    theirs.save_pretrained(tmp_path / "m")
    write("qwen2", tmp_path / "m", tmp_path / "model.gguf", tokenizer=True, quantise=True)
    with torch.no_grad():
        for parameter in theirs.parameters():
            blocks = quantised(parameter.numpy())
            if blocks is not None:
                parameter.copy_(torch.tensor(gguf.dequantize(blocks, Q8)))
    ours = source.load(str(tmp_path / "model.gguf"), cache_dir=tmp_path / "cache", scan_layers=True)
    expected = their_logits(theirs, tokens())
    np.testing.assert_allclose(our_logits(ours.config, ours.params, tokens()), expected, atol=1e-4)
    assert np.abs(expected - their_logits(make("qwen2"), tokens())).max() > 1e-3, "nothing was quantised"
    half = source.load(str(tmp_path / "model.gguf"), cache_dir=tmp_path / "cache", dtype="bfloat16").params
    for name in ("embed", "unembed"):
        assert half[name].dtype == "bfloat16"
        np.testing.assert_array_equal(half[name], ours.params[name].astype("bfloat16"))


@pytest.mark.parametrize("kind", ["Q4_K", "Q5_0", "Q6_K", "Q8_0"])
def test_pieces_of_a_tensor_are_the_whole(tmp_path: Path, kind: str):
    """A tensor of more numbers than are read at once, of every kind that a Q4_K_M file holds."""
    kind_ = gguf.GGMLQuantizationType[kind]
    block, size = gguf.GGML_QUANT_SIZES[kind_]
    raw = np.random.default_rng(0).integers(0, 256, (600, 256 // block, size), np.uint8)
    scales = {"Q4_K": (0, 2), "Q5_0": (0,), "Q6_K": (208,), "Q8_0": (0,)}[kind]
    for place in scales:  # half precision, finite
        raw[..., place : place + 2] = np.array([0.01], np.float16).view(np.uint8)
    raw = raw.reshape(600, -1)
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "qwen2")
    writer.add_tensor("t", raw, raw_dtype=kind_)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    stored = gguf_header.read(tmp_path / "x.gguf")[1]["t"]
    found = gguf_file._dequantised(stored, "t")
    assert found.size > gguf_file._AT_ONCE and found.shape == (600, 256)
    np.testing.assert_array_equal(found, gguf.dequantize(raw, kind_))
    if kind == "Q8_0":
        by_hand = raw.reshape(-1, size)[:, 2:].view(np.int8) * np.float32(np.float16(0.01))
        np.testing.assert_allclose(found.reshape(-1, 32), by_hand, rtol=1e-6)


def test_a_truncated_file_is_refused(written: Any):
    path = written("smollm2")
    whole = path.read_bytes()
    for size in [0, 3, 4, 8, 23, 24, 25, *np.random.default_rng(0).integers(26, len(whole), 60), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(PretrainedError, match="damaged or incomplete|not a GGUF file"):
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
    with pytest.raises(PretrainedError, match="is not a GGUF file: it begins with"):
        GGUF(path)
    writer = gguf.GGUFWriter(path, "mamba")
    writer.add_tensor("token_embd.weight", np.ones((4, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(PretrainedError, match="of architecture 'mamba'; supported are llama, qwen2"):
        GGUF(path)


def header(*fields: bytes, tensors: tuple[bytes, ...] = (), data: int = 4096) -> bytes:
    whole = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(fields)) + b"".join(fields + tensors)
    return whole + bytes(-len(whole) % 32 + data)


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def tensor(name: str, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


F32, Q8_0, Q8_1, I32 = 0, 8, 9, 26


def test_fields_that_nobody_asks_for_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "x.gguf"
    texts = text("texts") + struct.pack("<IIQ", 9, 8, 3) + text("ab") + text("") + text("é")
    flags = text("flags") + struct.pack("<IIQBB", 9, 7, 2, 1, 0)
    path.write_bytes(header(text("bytes") + struct.pack("<IIQ", 9, 0, 2_000_000) + bytes(2_000_000), texts, flags))
    decoded, asked = gguf_header._Reader.decoded, []
    monkeypatch.setattr(
        gguf_header._Reader, "decoded", lambda self, name, *place: (asked.append(name), decoded(self, name, *place))[1]
    )
    metadata, _ = gguf_header.read(path)
    assert (list(metadata), asked) == (["bytes", "texts", "flags"], [])
    assert (metadata["texts"], metadata["flags"], asked) == (["ab", "", "é"], [True, False], ["texts", "flags"])
    assert len(metadata["bytes"]) == 2_000_000


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (header(text("a") + struct.pack("<I", 13) + bytes(8)), "a is of type 13"),
        (header(text("a") + struct.pack("<IIQ", 9, 9, 1) + bytes(40)), "a announces 1 values of type 9"),
        (header(text("a") + struct.pack("<IIQ", 9, 4, 2**61)), "a announces 9223372036854775808 bytes, but"),
        (header(text("a") + struct.pack("<IIQ", 9, 8, 2**61)), "a announces 2305843009213693952 values of type 8"),
        (header(text("a") + struct.pack("<IIQQ", 9, 8, 2, 2**62)), "a announces 2 texts, but ends before"),
        (header(*[text("a") + struct.pack("<IB", 0, 1)] * 2), "it has the field 'a' twice"),
        (header(text("general.alignment") + struct.pack("<II", 4, 24)), "its alignment is 24"),
        (header(tensors=(tensor("t", (32,) * 5, F32, 0),)), "'t' has 5 dimensions"),
        (header(tensors=(tensor("t", (32, 0), F32, 0),)), "'t' of F32, shape .0, 32., at 0 cannot be"),
        (header(tensors=(tensor("t", (33, 1), Q8_0, 0),)), "'t' of Q8_0, shape .1, 33., at 0 cannot be"),
        (header(tensors=(tensor("t", (32,), F32, 4),)), "'t' of F32, shape .32,., at 4 cannot be"),
        (header(tensors=(tensor("t", (32,), 99, 0),)), "'t' is of type 99"),
        (header(tensors=(tensor("t", (32, 1), Q8_1, 0),)), "holds t as Q8_1, which is not read: quantise"),
        (header(tensors=(tensor("t", (32, 1), I32, 0),)), "holds t as I32, which is not read: quantise"),
        (header(tensors=(tensor("a", (32,), F32, 0), tensor("b", (8,), F32, 96))), "'a' and 'b' overlap"),
        (header(tensors=(tensor("a", (2**40,), F32, 0),)), "'a' ends at byte .*, but it has"),
        (header(tensors=(tensor("a", (2**62, 2**62), F32, 0),)), "'a' ends at byte .*, but it has"),
    ],
)
def test_headers_that_cannot_be(tmp_path: Path, raw: bytes, words: str):
    (tmp_path / "x.gguf").write_bytes(raw)
    with pytest.raises(PretrainedError, match=words):
        gguf_header.read(tmp_path / "x.gguf")


def test_a_field_that_is_not_of_its_type(tmp_path: Path):
    fields = text("a") + struct.pack("<IB", 7, 2), text("b") + struct.pack("<IQ", 8, 1) + b"\xff"
    (tmp_path / "x.gguf").write_bytes(header(*fields))
    metadata, _ = gguf_header.read(tmp_path / "x.gguf")
    with pytest.raises(PretrainedError, match="a is a truth value of 2"):
        metadata["a"]
    with pytest.raises(PretrainedError, match="b is not text"):
        metadata["b"]


def test_more_layers_than_tensors_are_refused_before_there_is_room_for_them(written: Any):
    path = written("smollm2")
    raw = path.read_bytes()
    place = raw.index(b"llama.block_count") + len(b"llama.block_count") + 4
    path.write_bytes(raw[:place] + struct.pack("<I", 9999) + raw[place + 4 :])
    with pytest.raises(PretrainedError, match="lacks 29988 tensors: blk.3.attn_q.weight"):
        GGUF(path).read(new=lambda *_: pytest.fail("room was made"))


def test_heads_that_do_not_fit_the_tensors(written: Any):
    path = written("smollm2")
    raw = path.read_bytes()
    for key, value in ((b"llama.attention.key_length", 6), (b"llama.attention.head_count", 6)):
        place = raw.index(key) + len(key) + 4
        path.write_bytes(raw[:place] + struct.pack("<I", value) + raw[place + 4 :])
        with pytest.raises(PretrainedError, match="blk.0.attn_q.weight of .* has the shape"):
            GGUF(path).read()


def test_weights_that_are_no_numbers(written: Any):
    path = written("smollm2")
    raw = path.read_bytes()
    path.write_bytes(raw[:-4] + struct.pack("<f", float("nan")))
    with pytest.raises(PretrainedError, match="holds weights in .* that are not finite"):
        GGUF(path).read()


def test_parts_are_read_together(written: Any, tmp_path: Path):
    whole = written("qwen2")
    paths = [tmp_path / f"m-0000{i}-of-00002.gguf" for i in (1, 2)]
    reader = gguf.GGUFReader(whole)
    for number, path in enumerate(paths):
        writer = gguf.GGUFWriter(path, "qwen2")
        writer.add_uint16("split.no", number)
        writer.add_uint16("split.count", 2)
        writer.add_int32("split.tensors.count", len(reader.tensors))
        for name, field in reader.fields.items():
            if number == 0 and name.startswith("qwen2."):
                writer.add_key_value(name, field.contents(), field.types[0])
        for stored in reader.tensors:
            if (stored.name == "output.weight") == bool(number):  # without it, the model would be taken for a tied one
                writer.add_tensor(stored.name, stored.data)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    assert not GGUF(paths[0]).config.tie_embeddings
    ours, theirs = GGUF(paths[0]).read(), GGUF(whole).read()
    np.testing.assert_array_equal(ours["unembed"], theirs["unembed"])
    np.testing.assert_array_equal(ours["embed"], theirs["embed"])
    with pytest.raises(PretrainedError, match="is part 2 of 2: give the first"):
        GGUF(paths[1])
    paths[1].unlink()
    with pytest.raises(PretrainedError, match="is part 1 of 2, and m-00002-of-00002.gguf is not beside it: get all 2"):
        GGUF(paths[0])
    with pytest.raises(PretrainedError, match="is part 1 of 2: give the first, named like model-00001-of-00002.gguf"):
        GGUF(paths[0].rename(tmp_path / "renamed.gguf"))


def test_more_tokens_than_rows_are_refused(tmp_path: Path, written: Any):
    make("smollm2").save_pretrained(tmp_path / "m")
    path = tmp_path / "model.gguf"
    write("smollm2", tmp_path / "m", path, tokenizer=True, tokens=62)
    with pytest.raises(PretrainedError, match="has 62 tokens, but an embedding of 61 rows"):
        source.load(str(path), cache_dir=tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())
