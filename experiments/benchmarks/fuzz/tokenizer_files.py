"""Folders of a tokenizer: any of its files is mutated."""

import json
import shutil
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from experiments.benchmarks.fuzz import mutations
from mass_jax.models.pretrained import source
from mass_jax.models.pretrained.bpe import BpeTokenizer, Settings

SPECIAL = ["<pad>", "<s>", "</s>", "<|im_end|>"]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {% generation %}{{ m.content | trim }}{% endgeneration %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}>{% endif %}"
)
TEXTS = ("", "a b  c\n", "Größe 12345 é\u0301 你好 🙂 \x00", "<s>x</s><|im_", "a" * 300)
MESSAGES = [{"role": "user", "content": " one "}, {"role": "assistant", "content": "two"}]


def seeds(home: Path) -> list[Path]:
    """Byte pairs over bytes, and over characters that fall back to bytes; one begins with BOS, and has a template."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["ab", "abc", "Ġa"]
    tokens = {token: i for i, token in enumerate([*SPECIAL, *alphabet, *words])}
    level = Tokenizer(models.BPE(tokens, [("a", "b"), ("ab", "c"), ("Ġ", "a")]))
    level.normalizer = normalizers.NFC()
    level.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    level.decoder = decoders.ByteLevel()
    level.add_special_tokens(SPECIAL)
    level.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    ours = BpeTokenizer(level, Settings(0, 1, 2, [3], TEMPLATE, names), eos_id=2)
    ours.save(home / "bytes")
    (home / "bytes" / "config.json").write_text(json.dumps({"vocab_size": len(tokens)}), encoding="utf-8")

    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    tokens = {token: i for i, token in enumerate([*SPECIAL, *fallback, *"▁abc", "ab"])}
    pieces = Tokenizer(models.BPE(tokens, [("a", "b")], unk_token="<pad>", fuse_unk=True, byte_fallback=True))
    pieces.normalizer = normalizers.Replace(" ", "▁")
    pieces.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    pieces.add_special_tokens(SPECIAL)
    names = {"eos_token": "</s>", "pad_token": "<pad>"}
    BpeTokenizer(pieces, Settings(0, None, 2, [], None, names), eos_id=2).save(home / "pieces")
    return [home / "bytes", home / "pieces"]


def mutate(origin: Path, target: Path, rng: np.random.Generator) -> bool:
    """Change one file; what ends a completion has to be a token."""
    shutil.copytree(origin, target)
    files = sorted(origin.iterdir())
    file = files[rng.integers(len(files))]
    place = mutations.json_file(file, target / file.name, rng)
    if file.name == "generation_config.json" and place[:1] == ("eos_token_id",):
        value = place[-1]
        return value is not None and not isinstance(value, list) and (type(value) is not int or not 0 <= value < 300)
    return False


def load(path: Path) -> None:
    """Texts become ids that the vocabulary has, and ids become texts."""
    tokenizer = source.load_tokenizer(str(path))
    texts = list(TEXTS)
    if tokenizer.has_chat_template:
        texts.append(tokenizer.for_chats().chat(MESSAGES))
    for text in texts:
        ids = tokenizer.encode(text)
        assert all(0 <= i < tokenizer.vocab_size for i in ids), ids
        assert isinstance(tokenizer.decode(ids), str)
    named = (tokenizer.eos_id, tokenizer.pad_id, *tokenizer.stop_ids)
    assert all(type(i) is int and 0 <= i < tokenizer.vocab_size for i in named), named
