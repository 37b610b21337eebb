"""GGUF files: counts, types, lengths, offsets, names and values of the header are mutated, one in each file."""

import struct
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import gguf
import jax
import numpy as np

from experiments.benchmarks.fuzz import mutations
from mass_jax.models.config import ModelConfig
from mass_jax.models.pretrained import families, folder, gguf_config, source

TINY = ModelConfig(300, width=32, layers=2, heads=2, kv_heads=1, head_dim=16, mlp_width=32, context=64)
FORMS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<B", 10: "<Q", 11: "<q", 12: "<d"}
ODD = (0, 1, 2, 3, 5, 7, 8, 9, 31, 62, 255, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1)
ODD_FLOATS = (0.0, -1.0, 1e-30, 0.5, 1e30, float("nan"), float("inf"), float("-inf"))


class Atom(NamedTuple):
    """A piece of the header: a number of the form given, or bytes."""

    place: int
    length: int
    form: str | None


def seeds(home: Path) -> list[Path]:
    """A model of each family, with one of both kinds of tokenizers, in several types."""
    paths = []
    kinds = {"llama": "Q8_0", "qwen2": "Q5_0", "qwen3": "F16", "gemma3": "Q4_1"}
    for family, kind in kinds.items():
        path = home / f"{family}.gguf"
        _write(path, family, gguf.GGMLQuantizationType[kind])
        paths.append(path)
    return paths


def mutate(origin: Path, target: Path, rng: np.random.Generator) -> bool:
    """Change one piece of the header, and leave the weights where the reader looks for them; or cut the file."""
    raw = origin.read_bytes()
    if rng.random() < 0.1:
        target.write_bytes(raw[: rng.integers(len(raw) - 64)])  # more than the filling at the end
        return True
    fields, atoms, end = walk(raw)
    header, data = raw[:end], raw[end + -end % gguf.GGUF_DEFAULT_ALIGNMENT :]
    action = rng.integers(7)
    start, stop, name = fields[rng.integers(len(fields))]
    value = start + 8 + len(name) + 4
    if action == 0:
        header = mutations.flip(header, rng)
    elif action == 1:  # a field less, or twice
        twice = rng.random() < 0.5
        header = _counted(header[:start] + header[start:stop] * 2 * twice + header[stop:], len(fields), 2 * twice - 1)
    elif action == 2:  # under another name
        other = str(rng.choice(_NAMES)).format(origin.stem).encode()
        header = header[:start] + _text(other) + header[value - 4 :]
    elif action == 3:  # a field more
        other = str(rng.choice(_NAMES)).format(origin.stem).encode()
        header = _counted(header[:24] + _text(other) + _value(rng) + header[24:], len(fields), 1)
    elif action == 4:  # a value of another type, or the same in another place
        given = fields[rng.integers(len(fields))]
        moved = header[given[0] + 8 + len(given[2]) : given[1]]
        header = header[: value - 4] + (_value(rng) if rng.random() < 0.5 else moved) + header[stop:]
    else:
        atom = atoms[rng.integers(len(atoms))]
        header = header[: atom.place] + _piece(raw, atom, rng) + header[atom.place + atom.length :]
    target.write_bytes(header + bytes(-len(header) % gguf.GGUF_DEFAULT_ALIGNMENT) + data)
    return False


def load(path: Path) -> None:
    """Every weight must be a number, and a text have ids and a text again."""
    with tempfile.TemporaryDirectory() as cache:
        model = source.load(str(path), cache_dir=cache)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(model.params)), "a weight is no number"
    model.tokenizer.decode(model.tokenizer.encode("abc 12 é"))


def walk(raw: bytes) -> tuple[list[tuple[int, int, bytes]], list[Atom], int]:
    """The fields of a valid file (start, end, name), all pieces of its header, and where that ends."""
    atoms: list[Atom] = []
    place = 4

    def number(form: str) -> Any:
        nonlocal place
        atoms.append(Atom(place, struct.calcsize(form), form))
        place += struct.calcsize(form)
        return struct.unpack_from(form, raw, place - struct.calcsize(form))[0]

    def text() -> bytes:
        nonlocal place
        length = number("<Q")
        atoms.append(Atom(place, length, None))
        place += length
        return raw[place - length : place]

    def value(kind: int) -> None:
        nonlocal place
        if kind == 8:
            text()
        elif kind == 9:
            of, count = number("<I"), number("<Q")
            before = len(atoms)
            for _ in range(count):
                value(of)
            del atoms[before + 8 :]  # a vocabulary would else be all of them
        else:
            number(FORMS[kind])

    number("<I")
    tensors, count = number("<Q"), number("<Q")
    fields = []
    for _ in range(count):
        start, name = place, text()
        value(number("<I"))
        fields.append((start, place, name))
    for _ in range(tensors):
        text()
        for _ in range(number("<I")):
            number("<Q")
        number("<I")
        number("<Q")
    return fields, atoms, place


_NAMES = (
    *("split.count", "split.no", "general.alignment", "general.type", "adapter.lora.alpha", "tokenizer.chat_template"),
    *("tokenizer.ggml.add_space_prefix", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.unknown"),
    *(f"{{}}.{name}" for name in (*gguf_config.KNOWN, "rope.scaling.type", "attention.scale", "unknown")),
)


def _piece(raw: bytes, atom: Atom, rng: np.random.Generator) -> bytes:
    before = raw[atom.place : atom.place + atom.length]
    if atom.form is None:
        letters = rng.integers(48, 123, atom.length, dtype=np.uint8).tobytes()
        return (letters, before.replace(b"0", b"1").replace(b"a", b"b"), rng.bytes(atom.length))[rng.integers(3)]
    if atom.form in ("<f", "<d"):
        return struct.pack(atom.form, np.clip(ODD_FLOATS[rng.integers(len(ODD_FLOATS))], -3e38, 3e38))
    (old,) = struct.unpack(atom.form, before)
    new = int(ODD[rng.integers(len(ODD))]) if rng.random() < 0.5 else old + int(rng.choice([-1, 1, 8, old]))
    return (new % 2 ** (8 * atom.length)).to_bytes(atom.length, "little")


def _value(rng: np.random.Generator) -> bytes:
    """A field's type and value."""
    kind = int(rng.choice([*FORMS, 8, 9, 9]))
    if kind == 8:
        return struct.pack("<I", 8) + _text(str(mutations.odd(rng)).encode("utf-8", "surrogatepass"))
    if kind == 9:
        of, count = int(rng.choice(list(FORMS))), int(rng.choice([0, 1, 2, 300, 100_000]))
        return struct.pack("<IIQ", 9, of, count) + rng.bytes(count * struct.calcsize(FORMS[of]))
    length = struct.calcsize(FORMS[kind])
    return struct.pack("<I", kind) + _piece(bytes(length), Atom(0, length, FORMS[kind]), rng)


def _text(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def _counted(header: bytes, fields: int, more: int) -> bytes:
    """With another number of fields at its beginning."""
    return header[:16] + struct.pack("<Q", fields + more) + header[24:]


def _write(path: Path, family: str, kind: gguf.GGMLQuantizationType) -> None:
    """A random model of the family."""
    config = ModelConfig(**{**TINY.__dict__, **families.SWITCHES[family]})
    writer, rng = gguf.GGUFWriter(path, family), np.random.default_rng(0)
    writer.add_name(family)
    writer.add_context_length(config.context)
    writer.add_embedding_length(config.width)
    writer.add_block_count(config.layers)
    writer.add_feed_forward_length(config.mlp_width)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_key_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    if family == "gemma3":
        writer.add_sliding_window(8)
    _add_tokenizer(writer, family, config.vocab_size)
    shapes = folder.shapes_of(config)
    for tensor in (*families.WHOLE, *families.layer_tensors(config)):
        whole = tensor in families.WHOLE
        leaf = (shapes if whole else shapes["layers"]).get(tensor.ours[0])
        leaf = leaf.get(tensor.ours[1]) if isinstance(leaf, dict) else leaf
        if leaf is None:
            continue
        for layer in [None] if whole else range(config.layers):
            shape = leaf.shape if whole else leaf.shape[1:]
            array = rng.normal(size=shape[::-1] if tensor.transposed else shape).astype(np.float32)
            stored = gguf.quants.quantize(array, kind) if array.ndim > 1 else array
            writer.add_tensor(tensor.gguf.format(layer), stored, raw_dtype=kind if array.ndim > 1 else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokenizer(writer: gguf.GGUFWriter, family: str, size: int) -> None:
    letters = [chr(0x100 + i) for i in range(size)]
    tokens = ["<unk>", "<s>", "</s>", *"abc 12", "ab", *letters][:size]
    writer.add_tokenizer_model("llama" if family == "gemma3" else "gpt2")
    writer.add_tokenizer_pre({"llama": "smollm", "gemma3": "default"}.get(family, "qwen2"))
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3] + [1] * (size - 3))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template("{{ messages[0]['content'] }}")
    if family == "gemma3":
        writer.add_token_scores([-float(i) for i in range(size)])
        writer.add_add_space_prefix(False)
    else:
        writer.add_token_merges(["a b"])
